"""Evaluates and probes a model: generates the missing completions, then scores all of them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowmed import processes, prompt
from lowmed.data.image.policy import pixel_policy
from lowmed.data.split import DEV, DataSplit
from lowmed.evaluation import difficulty, endpoint, results_folder, runner
from lowmed.evaluation.answerer import Answerer, Completion, OpenImage
from lowmed.evaluation.controls import REAL, SAMPLED, SAMPLED_BLIND, Condition
from lowmed.evaluation.metrics import scored
from lowmed.evaluation.probabilities import options_of
from lowmed.evaluation.probe import SUPPORT
from lowmed.evaluation.probe import probe as probe_metrics
from lowmed.evaluation.records import EvalReport, ProbeReport
from lowmed.evaluation.report import eval_settings, write_report
from lowmed.evaluation.target import EvalTarget
from lowmed.progress import Progress
from lowmed.recipe import ModelSpec
from lowmed.sample import Sample

if TYPE_CHECKING:
    from lowmed.engine.load import Loaded

SEED = 0  # of sampled completions
PROBE_FILE = "probe.json"


def evaluate(
    target: EvalTarget,
    data_split: DataSplit,
    seen: str,
    folder: Path,
    *,
    controls: int,
    contrastive: bool,
    samples: int,
    probabilities: bool,
    url: str | None,
    max_concurrency: int,
    rescore: bool,
    progress: Progress,
) -> EvalReport:
    """Generate the missing completions, and write report.json from all stored ones.

    Args:
        target: the model. A base model next to a tuned one gets controls only if the run was trained to use the image.
        data_split: the questions.
        seen: how they relate to the run's training.
        folder: folder of the evaluation.
        controls: number of questions repeated under controls.
        contrastive: decode these questions contrastively too.
        samples: sampled completions per question.
        probabilities: also measure the probability of each option of yes/no and choice questions.
        url: URL of the endpoint that serves the model, if any.
        max_concurrency: most requests to it at once.
        rescore: generate nothing; only score again.
        progress: shows progress.

    Raises:
        LowmedError: a problem with the model, the data or the directory.
    """
    if not rescore:
        settings = eval_settings(
            target.model,
            target.family,
            data_split,
            max_new_tokens=target.eval.max_new_tokens,
            seen=seen,
            endpoint=url is not None,
        )
        processes.from_first(lambda: results_folder.open_folder(folder, settings))
        for system, adapter in target.adapters.items():
            is_baseline = system == "base" and len(target.adapters) > 1
            reliance_is_the_result = bool(target.run and target.run.recipe.method.altered_image)
            conditions = runner.list_conditions(
                data_split,
                controls=0 if is_baseline and not reliance_is_the_result else controls,
                contrasted=contrastive and not is_baseline,
                samples=samples,
            )
            load_answerer = partial(_load_answerer, target, adapter, url, max_concurrency)
            with progress(f"eval {system}", runner.total(conditions)) as advance:
                runner.run_conditions(
                    folder, system, conditions, load_answerer, train=data_split.train, advance=advance
                )
            if probabilities:
                _complete_dev(folder, system, data_split, load_answerer, progress)
                _store_probabilities(folder, system, target, adapter, data_split, progress)
    return processes.from_first(lambda: write_report(folder))


def probe(
    target: EvalTarget,
    data_split: DataSplit,
    seen: str,
    folder: Path,
    *,
    samples: int,
    temperature: float,
    support: float | None,
    url: str | None = None,
    max_concurrency: int = endpoint.MAX_CONCURRENCY,
    progress: Progress,
) -> ProbeReport:
    """Generate one greedy and K sampled completions of each training question, with and without image, and score them.

    Args:
        target: the model.
        data_split: the training questions, as its only split `train`.
        seen: how they relate to the run's training.
        folder: folder of the probe; gets probe.json and difficulty.jsonl.
        samples: completions per question.
        temperature: temperature of the sampled completions.
        support: threshold of the verdict; None for the default.
        url: URL of the endpoint that serves the model, if any.
        max_concurrency: most requests to it at once.
        progress: shows progress.

    Raises:
        LowmedError: a problem with the model, the data or the directory.
    """
    [(system, adapter)] = target.adapters.items()
    settings = eval_settings(
        target.model,
        target.family,
        data_split,
        max_new_tokens=target.eval.max_new_tokens,
        seen=seen,
        endpoint=url is not None,
        temperature=temperature,
    )
    processes.from_first(lambda: results_folder.open_folder(folder, settings))
    real = Condition(REAL, "train", data_split.held_out["train"], data_split.open_image)
    sampled = Condition(SAMPLED, "train", real.samples, real.open_image, samples, temperature)
    conditions = [real, sampled, runner.sampled_blind(real, samples, temperature)]
    with progress("probe", runner.total(conditions)) as advance:
        load_answerer = partial(_load_answerer, target, adapter, url, max_concurrency)
        runner.run_conditions(folder, system, conditions, load_answerer, train=(), advance=advance)

    def write_probe() -> ProbeReport:
        rows = {
            condition: scored(results_folder.read_rows(results_folder.completions_file(folder, system, condition)))
            for condition in (REAL, SAMPLED, SAMPLED_BLIND)
        }
        figures = probe_metrics(
            rows[REAL], rows[SAMPLED], rows[SAMPLED_BLIND], support=SUPPORT if support is None else support
        )
        result = ProbeReport(**dict(settings), **figures, folder=folder)
        difficulty.write(folder / difficulty.FILE, rows[SAMPLED])
        result.write(folder / PROBE_FILE)  # the last one: a resumed bridge takes it for the end of the probe
        return result

    return processes.from_first(write_probe)


def answerer(
    model: ModelSpec, adapter: Path | None, family: prompt.Family, max_new_tokens: int, seed: int = SEED
) -> Answerer:
    """Load a model and return an answerer for it.

    Args:
        model: the base model.
        adapter: directory of the adapter, or None for the base model alone.
        family: the prompts.
        max_new_tokens: completion limit.
        seed: seed of sampled completions.

    Raises:
        LowmedError: a problem with the machine or the model.
    """
    loaded = _load(model, adapter)
    import torch

    from lowmed.engine.generate import complete

    torch.manual_seed(seed + processes.place().rank)  # each process samples its own completions

    def answer(
        samples: Sequence[Sample],
        open_image: OpenImage,
        *,
        copies: int,
        temperature: float,
        contrast: OpenImage | None = None,
    ) -> Iterator[Completion]:
        return complete(
            loaded,
            samples,
            family,
            open_image,
            max_new_tokens=max_new_tokens,
            copies=copies,
            temperature=temperature,
            contrast=contrast,
        )

    return answer


def _complete_dev(
    folder: Path, system: str, data_split: DataSplit, load_answerer: Callable[[], Answerer], progress: Progress
) -> None:
    """Answer the closed questions of dev, on which a threshold is chosen. They are in no table."""
    closed = tuple(sample for sample in data_split.dev if sample.kind == "closed")
    condition = Condition(DEV, DEV, closed, data_split.open_image)
    if closed:
        with progress(f"dev {system}", len(closed)) as advance:
            runner.run_conditions(folder, system, [condition], load_answerer, train=(), advance=advance)


def _store_probabilities(
    folder: Path, system: str, target: EvalTarget, adapter: Path | None, data_split: DataSplit, progress: Progress
) -> None:
    """Measure the probabilities that are not stored yet, and store each question at once."""
    files = [results_folder.completions_file(folder, system, condition) for condition in (REAL, DEV)]

    def read() -> tuple[list[dict[str, Any]], set[tuple[str, str]]]:
        rows = [row for file in files for row in scored(results_folder.read_rows(file)) if options_of(row)]
        return rows, {(line["split"], line["id"]) for line in results_folder.read_probabilities(folder, system)}

    rows, stored = processes.from_first(read)
    missing = [row for row in rows if (row["split"], row["id"]) not in stored]
    if not missing:
        return
    loaded = _load(target.model, adapter)
    from lowmed.engine import patches
    from lowmed.engine.option_probabilities import option_probabilities

    if loaded.device.type == "cpu":
        patches.use_torch_log_probs()
    file = results_folder.probabilities_file(folder, system)
    with progress(f"probabilities {system}", len(rows), len(rows) - len(missing)) as advance:
        for split, samples in {**data_split.held_out, DEV: data_split.dev}.items():
            by_id = {sample.id: sample for sample in samples}
            part = [row for row in missing if row["split"] == split]

            def measure(rows: Sequence[dict[str, Any]], by_id: Any = by_id) -> Iterator[Any]:
                return option_probabilities(loaded, target.family, rows, by_id, data_split.open_image)

            for line in processes.divide(part, measure):
                results_folder.append_rows(file, [line])
                stored.add((split, line["id"]))
                advance(len(stored), split)


def _load(model: ModelSpec, adapter: Path | None) -> "Loaded":
    from lowmed.engine import device, load

    loaded = load.load_base(model, device.find_device(model))
    return load.sharded(load.with_adapter(loaded, adapter) if adapter else loaded, model)


def _load_answerer(target: EvalTarget, adapter: Path | None, url: str | None, max_concurrency: int) -> Answerer:
    tokens = target.eval.max_new_tokens
    if url:
        policy = pixel_policy(target.model)
        return endpoint.answerer(url, target.model.name, target.family, policy, tokens, max_concurrency=max_concurrency)
    return answerer(target.model, adapter, target.family, tokens)
