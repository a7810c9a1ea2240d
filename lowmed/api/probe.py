"""Probe whether RL can help a model, as `lowmed probe` does."""

from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from lowmed import processes
from lowmed.progress import Progress, silent

if TYPE_CHECKING:
    from lowmed.evaluation.records import ProbeReport


def probe(
    target: str | PathLike[str] | None,
    *,
    on: str | None = None,
    path: str | None = None,
    questions: int = 200,
    samples: int = 16,
    temperature: float = 1.0,
    support: float | None = None,
    endpoint: str | None = None,
    model: str | None = None,
    max_concurrency: int = 16,
    out: str | PathLike[str] | None = None,
    progress: Progress = silent,
) -> "ProbeReport":
    """Sample completions of training questions with and without image, and recommend RL, SFT or neither.

    Args:
        target: run directory, model directory, hub id or `nano`; None for an endpoint without a run.
        on: data source; default: the run's own.
        path: local copy of the source.
        questions: number of training questions, the first ones.
        samples: sampled completions per question, with and without image.
        temperature: temperature of the sampled completions.
        support: share of questions that must be supported for RL; default 0.25.
        endpoint: URL of an OpenAI-compatible API that serves the model.
        model: the endpoint's name for its model.
        max_concurrency: most requests to the endpoint at once.
        out: directory for completions, probe.json and difficulty.jsonl.
        progress: shows progress.

    Raises:
        LowmedError: invalid arguments, or a problem with the run, the data, the model or the server.
    """
    from lowmed.evaluation.results_folder import SETTINGS
    from lowmed.files import require_own_folder

    processes.join()
    if out:  # before the data and the model are loaded
        folder = Path(out)
        processes.from_first(lambda: require_own_folder(folder, SETTINGS))
    from lowmed.engine import evaluator
    from lowmed.evaluation.target import open_target, require_endpoint_with_model, split_to_probe
    from lowmed.run import FOLDER

    require_endpoint_with_model(endpoint, model)
    opened = open_target(None if target is None else fspath(target), served_as=model)
    data_split, seen = split_to_probe(opened, on, path, questions, progress)
    parent = opened.run.folder / "probes" if opened.run else Path(FOLDER)
    source = data_split.source + ("-endpoint" if endpoint else "")
    name = source if opened.run else f"probe-{Path(target or str(model)).name}-{source}"
    return evaluator.probe(
        opened,
        data_split,
        seen,
        Path(out) if out else parent / name,
        samples=samples,
        temperature=temperature,
        support=support,
        url=endpoint,
        max_concurrency=max_concurrency,
        progress=progress,
    )
