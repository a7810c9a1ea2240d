"""Run an evaluation or a probe with a loaded model or an endpoint, and write its results."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from lowmed import prompt
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.split import DataSplit
from lowmed.evaluate import difficulty, endpoint, results_folder, runner
from lowmed.evaluate.answerer import Answerer, Completion, OpenImage
from lowmed.evaluate.controls import REAL, SAMPLED, SAMPLED_BLIND, Condition
from lowmed.evaluate.metrics import scored
from lowmed.evaluate.probe import SUPPORT
from lowmed.evaluate.probe import probe as probe_report
from lowmed.evaluate.report import eval_settings, report
from lowmed.evaluate.target import EvalTarget
from lowmed.files import write_json
from lowmed.recipe import ModelSpec
from lowmed.sample import Sample

SEED = 0  # for sampled completions
Progress = Callable[[str, int], AbstractContextManager[runner.Advance]]


def evaluate(
    target: EvalTarget,
    data_split: DataSplit,
    seen: str,
    folder: Path,
    *,
    controls: int,
    samples: int,
    url: str | None,
    rescore: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Answer the questions without a stored completion, and write report.json from all completions.

    Args:
        target: the model. If it has both an adapter and a base, the base gets no controls.
        data_split: the questions.
        seen: `seen in training`, `unseen`, or empty without a run.
        folder: of the results.
        controls: questions in each control.
        samples: sampled completions for each question.
        url: of the endpoint that serves the model, or None.
        rescore: score the stored completions only.
        progress: shows a progress bar.

    Returns:
        The report.

    Raises:
        LowmedError: the model, the data or the folder does not fit.
    """
    tokens = target.eval.max_new_tokens
    if not rescore:
        settings = eval_settings(
            target.model, target.family, data_split, max_new_tokens=tokens, seen=seen, endpoint=url is not None
        )
        results_folder.open_folder(folder, settings)
        for name, adapter in target.adapters.items():
            is_baseline = name == "base" and len(target.adapters) > 1
            conditions = runner.list_conditions(data_split, controls=0 if is_baseline else controls, samples=samples)
            make_answerer = partial(_make_answerer, target, adapter, url)
            with progress(f"eval {name}", runner.total(conditions)) as advance:
                runner.run_conditions(folder, name, conditions, make_answerer, train=data_split.train, advance=advance)
    eval_report = report(folder)
    write_json(folder / "report.json", eval_report)
    return eval_report


def probe(
    target: EvalTarget,
    data_split: DataSplit,
    seen: str,
    folder: Path,
    *,
    samples: int,
    temperature: float,
    support: float | None,
    progress: Progress,
) -> dict[str, Any]:
    """Answer each training question greedily, and several times with and without its image; write the verdict.

    Args:
        target: the model.
        data_split: the training questions, as its only split `train`.
        seen: `seen in training`, `unseen`, or empty without a run.
        folder: of the results; gets probe.json and difficulty.jsonl.
        samples: sampled completions for each question.
        temperature: of sampling.
        support: the threshold of the verdict; None for the documented default.
        progress: shows a progress bar.

    Returns:
        The content of probe.json.

    Raises:
        LowmedError: the model, the data or the folder does not fit.
    """
    [(name, adapter)] = target.adapters.items()
    tokens = target.eval.max_new_tokens
    settings = {
        **eval_settings(target.model, target.family, data_split, max_new_tokens=tokens, seen=seen),
        "temperature": temperature,
    }
    results_folder.open_folder(folder, settings)
    real = Condition(REAL, "train", data_split.held_out["train"], data_split.open_image)
    sampled = Condition(SAMPLED, "train", real.samples, real.open_image, samples, temperature)
    conditions = [real, sampled, runner.sampled_blind(real, samples, temperature)]
    make_answerer = partial(_make_answerer, target, adapter, None)
    with progress("probe", runner.total(conditions)) as advance:
        runner.run_conditions(folder, name, conditions, make_answerer, train=(), advance=advance)
    rows = {
        condition: scored(results_folder.read(results_folder.path(folder, name, condition)))
        for condition in (REAL, SAMPLED, SAMPLED_BLIND)
    }
    threshold = SUPPORT if support is None else support
    verdict = probe_report(rows[REAL], rows[SAMPLED], rows[SAMPLED_BLIND], support=threshold)
    result = {**settings, **verdict}
    write_json(folder / "probe.json", result)
    difficulty.write(folder / difficulty.FILE, rows[SAMPLED])
    return result


def answerer(model: ModelSpec, adapter: Path | None, family: prompt.Family, max_new_tokens: int) -> Answerer:
    """Load the model and return a function that answers samples.

    Args:
        model: the base.
        adapter: folder of the adapter, or None for the base itself.
        family: of prompts.
        max_new_tokens: longer completions are truncated.

    Raises:
        LowmedError: the device or the model does not fit.
    """
    from lowmed.engine import device, load

    loaded = load.load_base(model, device.find_device(model))
    if adapter:
        loaded = load.with_adapter(loaded, adapter)
    import torch

    from lowmed.engine.generate import complete

    torch.manual_seed(SEED)

    def answer(
        samples: Sequence[Sample], open_image: OpenImage, *, copies: int, temperature: float
    ) -> Iterator[Completion]:
        return complete(
            loaded,
            samples,
            family,
            open_image,
            max_new_tokens=max_new_tokens,
            copies=copies,
            temperature=temperature,
        )

    return answer


def _make_answerer(target: EvalTarget, adapter: Path | None, url: str | None) -> Answerer:
    tokens = target.eval.max_new_tokens
    if url:
        policy = PixelPolicy(target.model.max_image_tokens)
        return endpoint.answerer(url, target.model.name, target.family, policy, tokens)
    return answerer(target.model, adapter, target.family, tokens)
