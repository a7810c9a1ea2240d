"""A model asked the questions of an evaluation or of a probe, and what came of it."""

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
from lowmed.evaluate.probe import probe as judge
from lowmed.evaluate.report import eval_settings, report
from lowmed.evaluate.target import EvalTarget
from lowmed.files import write_json
from lowmed.recipe import ModelSpec
from lowmed.sample import Sample

SEED = 0  # of sampled completions
Progress = Callable[[str, int], AbstractContextManager[runner.Advance]]


def evaluate(
    who: EvalTarget,
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
    """Ask what was not asked yet, and write report.json from all that is there.

    Args:
        who: the model, and beside a run perhaps its base, which gets no controls.
        split: the questions.
        seen: how they stand to the run's training.
        folder: of the evaluation.
        controls: questions that the controls ask again.
        samples: sampled completions per question.
        url: of the endpoint that serves the model, if one does.
        rescore: ask nothing; only score anew.
        progress: shows how far it is.

    Raises:
        LowmedError: the model, the data or the folder does not allow it.
    """
    tokens = who.eval.max_new_tokens
    if not rescore:
        asked = eval_settings(
            who.model, who.family, data_split, max_new_tokens=tokens, seen=seen, endpoint=url is not None
        )
        results_folder.open_folder(folder, asked)
        for name, adapter in who.adapters.items():
            beside = name == "base" and len(who.adapters) > 1
            work = runner.list_conditions(data_split, controls=0 if beside else controls, samples=samples)
            ready = partial(_ready, who, adapter, url)
            with progress(f"eval {name}", runner.total(work)) as advance:
                runner.run_conditions(folder, name, work, ready, train=data_split.train, advance=advance)
    result = report(folder)
    write_json(folder / "report.json", result)
    return result


def probe(
    who: EvalTarget,
    data_split: DataSplit,
    seen: str,
    folder: Path,
    *,
    samples: int,
    temperature: float,
    support: float | None,
    progress: Progress,
) -> dict[str, Any]:
    """Ask each training question once greedily, and several times with and without image; judge; write both files.

    Args:
        who: the model.
        split: the training questions, as its one split `train`.
        seen: how they stand to the run's training.
        folder: of the probe; gets probe.json and difficulty.jsonl.
        samples: completions per question.
        temperature: of those.
        support: the threshold of the verdict; None for the documented default.
        progress: shows how far it is.

    Raises:
        LowmedError: the model, the data or the folder does not allow it.
    """
    [(name, adapter)] = who.adapters.items()
    asked = eval_settings(who.model, who.family, data_split, max_new_tokens=who.eval.max_new_tokens, seen=seen)
    about = {**asked, "temperature": temperature}
    results_folder.open_folder(folder, about)
    real = Condition(REAL, "train", data_split.held_out["train"], data_split.open_image)
    tries = Condition(SAMPLED, "train", real.samples, real.open_image, samples, temperature)
    work = [real, tries, runner.sampled_blind(real, samples, temperature)]
    with progress("probe", runner.total(work)) as advance:
        runner.run_conditions(folder, name, work, partial(_ready, who, adapter, None), train=(), advance=advance)
    rows = {
        each: scored(results_folder.read(results_folder.path(folder, name, each)))
        for each in (REAL, SAMPLED, SAMPLED_BLIND)
    }
    result = {
        **about,
        **judge(rows[REAL], rows[SAMPLED], rows[SAMPLED_BLIND], support=SUPPORT if support is None else support),
    }
    write_json(folder / "probe.json", result)
    difficulty.write(folder / difficulty.FILE, rows[SAMPLED])
    return result


def answerer(model: ModelSpec, adapter: Path | None, family: prompt.Family, max_new_tokens: int) -> Answerer:
    """The model, loaded once, as something that answers.

    Args:
        model: the base.
        adapter: folder of the adapter on it, or None for the base itself.
        family: how it is asked.
        max_new_tokens: a completion longer than this is cut.

    Raises:
        LowmedError: the machine or the model does not allow it.
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


def _ready(who: EvalTarget, adapter: Path | None, url: str | None) -> Answerer:
    tokens = who.eval.max_new_tokens
    if url:
        return endpoint.answerer(url, who.model.name, who.family, PixelPolicy(who.model.max_image_tokens), tokens)
    return answerer(who.model, adapter, who.family, tokens)
