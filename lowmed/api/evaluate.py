"""Evaluate a run or a model, as `lowmed eval` does."""

from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from lowmed import processes
from lowmed.progress import Progress, silent

if TYPE_CHECKING:
    from lowmed.evaluation.records import EvalReport
    from lowmed.evaluation.target import EvalTarget
    from lowmed.judge import Judge


def evaluate(
    target: str | PathLike[str] | None,
    *,
    on: str | None = None,
    path: str | None = None,
    prompts: str | None = None,
    with_base: bool = False,
    questions: int | None = None,
    controls: int = 200,
    contrastive: bool = False,
    samples: int = 0,
    probabilities: bool = False,
    endpoint: str | None = None,
    model: str | None = None,
    max_concurrency: int = 16,
    judge_url: str | None = None,
    judge_model: str | None = None,
    judge_prices: tuple[float, float] | None = None,
    rescore: bool = False,
    allow_changed_data: bool = False,
    out: str | PathLike[str] | None = None,
    progress: Progress = silent,
) -> "list[EvalReport]":
    """Generate the missing completions of held-out questions, score all of them, and return one report a data source.

    Completions are stored one by one, so the same call resumes an interrupted evaluation.

    Args:
        target: run directory, model directory, adapter directory, hub id or `nano`; None for an endpoint without a run.
        on: data sources separated by commas, each with an optional folder (a,b=FOLDER); default: the run's held-out
            data.
        path: local copy of the only source.
        prompts: a prompt family in place of the recipe's `prompts.infer`; the default directory then carries its name.
        with_base: also evaluate the untrained base model of the run.
        questions: limit per split; default: the recipe's `eval.max_questions`.
        controls: number of questions repeated under controls; 0 for none.
        contrastive: decode these questions contrastively too, as one more control.
        samples: sampled completions per question, for Pass@K and maj@K; 0 for none.
        probabilities: also measure the probability of each option of yes/no and choice questions.
        endpoint: URL of an OpenAI-compatible API that serves the model.
        model: the endpoint's name for its model.
        max_concurrency: most requests to the endpoint at once.
        judge_url: URL of a judge for open answers.
        judge_model: the judge server's name for its model.
        judge_prices: per million prompt and completion tokens.
        rescore: score the stored completions again; loads no model.
        allow_changed_data: evaluate a run although its data have changed; the table states it.
        out: results directory; default: inside the run, or under runs/.
        progress: shows progress.

    Raises:
        LowmedError: invalid arguments, or a problem with the run, the data, the model or a server.
    """
    from lowmed.errors import RecipeError
    from lowmed.evaluation.results_folder import SETTINGS
    from lowmed.files import require_own_folder

    processes.join()
    if out:  # before the data and the model are loaded; several data sources have a folder each
        folder = Path(out)
        processes.from_first(lambda: require_own_folder(folder, SETTINGS, f"*/{SETTINGS}"))
    from lowmed.engine import evaluator
    from lowmed.evaluation.target import open_target, require_endpoint_with_model, splits_to_evaluate
    from lowmed.judge import Judge

    require_endpoint_with_model(endpoint, model)
    if (judge_url is None) != (judge_model is None):
        raise RecipeError(
            "--judge-url and --judge-model must be used together", "--judge-url, --judge-model", "set both or neither"
        )
    if contrastive and endpoint:
        raise RecipeError(
            "contrastive decoding needs the logits of the model, which an endpoint does not return",
            "--contrastive and --endpoint",
            "evaluate the model without a server, or leave --contrastive out",
        )
    if contrastive and not controls:
        raise RecipeError(
            "contrastive decoding is a control, and no question is repeated under controls",
            "--contrastive and --controls 0",
            "use a larger --controls",
        )
    if probabilities and (endpoint or rescore):
        option = "--endpoint" if endpoint else "--rescore"
        raise RecipeError(
            "the probabilities of options need the model on this machine",
            f"--probabilities and {option}",
            f"leave {option} or --probabilities out; stored probabilities are shown without the option",
        )
    if judge_url and judge_model:
        Judge(judge_url, judge_model)  # reports an invalid URL before any completion is generated
    name = None if target is None else fspath(target)
    opened = open_target(name, base=with_base, served_as=model, prompts=prompts)
    splits = splits_to_evaluate(opened, on, path, questions, progress, allow_changed_data)
    reports = []
    for data_split, seen in splits:
        source = f"{data_split.source}-{prompts}" if prompts else data_split.source
        folder = _results_folder(opened, fspath(target) if target else str(model), source, out, several=len(splits) > 1)
        report = evaluator.evaluate(
            opened,
            data_split,
            seen,
            folder,
            controls=controls,
            contrastive=contrastive,
            samples=samples,
            probabilities=probabilities,
            url=endpoint,
            max_concurrency=max_concurrency,
            rescore=rescore,
            progress=progress,
        )
        if judge_url and judge_model:  # a new judge, so that its requests are counted for this folder alone
            judge = Judge(judge_url, judge_model, prices=judge_prices)
            report = processes.from_first(partial(_judged, folder, judge, progress))
        reports.append(report)
    return reports


def _judged(folder: Path, judge: "Judge", progress: Progress) -> "EvalReport":
    """Judge the open completions and write the report again with all verdicts."""
    from lowmed.evaluation import judge_scores
    from lowmed.evaluation.report import write_report

    total = sum(len(judge_scores.open_rows(folder, system)) for system in judge_scores.judged_systems(folder))
    with progress(f"judge {judge.model}", total) as advance:
        judge_scores.collect_verdicts(folder, judge, advance)
    return write_report(folder)


def _results_folder(
    opened: "EvalTarget", target: str, source: str, out: str | PathLike[str] | None, *, several: bool
) -> Path:
    from lowmed.run import FOLDER

    name = source + ("-endpoint" if "endpoint" in opened.adapters else "")
    if out:
        return Path(out) / name if several else Path(out)
    return opened.run.folder / "evals" / name if opened.run else Path(FOLDER) / f"eval-{Path(target).name}-{name}"
