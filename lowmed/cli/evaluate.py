"""`lowmed eval`: held-out questions answered, graded, and put beside what needs no image."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowmed.cli import options
from lowmed.cli.progress import info, progress

if TYPE_CHECKING:
    from lowmed.evaluate.target import EvalTarget
    from lowmed.judge import Judge

Target = Annotated[
    str | None, typer.Argument(metavar="RUN_OR_MODEL", help="A run folder, `nano`, a hub id or a model folder.")
]
On = Annotated[str | None, typer.Option("--on", help="Data sources, a,b=FOLDER; default: what the run holds out.")]
PathTo = Annotated[str | None, typer.Option("--path", help="Local copy of the source.")]
Base = Annotated[bool, typer.Option("--base", help="Put the untrained base model beside the run.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Use the first so many questions of each split.")]
Controls = Annotated[int, typer.Option("--controls", min=0, help="Questions that the controls ask again; 0 = none.")]
Samples = Annotated[int, typer.Option("--samples", min=0, max=64, help="Also so many sampled replies: Pass@K, maj@K.")]
Rescore = Annotated[bool, typer.Option("--rescore", help="Score stored replies anew; no model is loaded.")]
Endpoint = Annotated[str | None, typer.Option("--endpoint", help="Ask the model served at this address, .../v1")]
ServedAs = Annotated[str | None, typer.Option("--model", help="What the endpoint calls the model.")]
JudgeUrl = Annotated[str | None, typer.Option("--judge-url", help="Have open answers judged at this address, .../v1")]
JudgeModel = Annotated[str | None, typer.Option("--judge-model", help="What the judge's server calls it.")]
JudgePrices = Annotated[
    tuple[float, float] | None,
    typer.Option("--judge-prices", metavar="IN OUT", help="Per million prompt and completion tokens, for the cost."),
]
Out = Annotated[str | None, typer.Option("--out", help="Folder for replies and report; default: inside the run.")]


def evaluate(
    target: Target = None,
    on: On = None,
    path: PathTo = None,
    base: Base = False,
    limit: Limit = None,
    controls: Controls = 200,
    samples: Samples = 0,
    rescore: Rescore = False,
    endpoint: Endpoint = None,
    model: ServedAs = None,
    judge_url: JudgeUrl = None,
    judge_model: JudgeModel = None,
    judge_prices: JudgePrices = None,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Answer held-out questions and grade them, beside floors and controls that need no image.

    \b
    lowmed eval runs/20260101-rarl-nano --base                 tuned and base on the run's held-out questions
    lowmed eval runs/20260101-rarl --on vqa-rad --path ~/vqa-rad
    lowmed eval runs/20260101-rarl --on phantom,vqa-rad=~/vqa-rad --samples 16
    lowmed eval nano --on phantom                              a model without a run
    lowmed eval --endpoint http://127.0.0.1:8000/v1 --model qwen --on vqa-rad --path ~/vqa-rad
    lowmed eval runs/20260101-rarl --rescore --judge-url http://127.0.0.1:8000/v1 --judge-model qwen3

    Completions are stored one by one: the same command goes on where it was, and scores anew what is there.
    """
    from lowmed.engine import evaluator
    from lowmed.errors import RecipeError
    from lowmed.evaluate.target import open_target, splits_to_evaluate
    from lowmed.judge import Judge
    from lowmed.report import eval_table

    if (endpoint is None) != (model is None):
        raise RecipeError("--endpoint and --model go together", "--endpoint, --model", "give both, or none")
    if (judge_url is None) != (judge_model is None):
        raise RecipeError(
            "--judge-url and --judge-model go together", "--judge-url, --judge-model", "give both, or none"
        )
    if judge_url and judge_model:
        Judge(judge_url, judge_model)  # a wrong address ends here, before any model is asked
    who = open_target(target, base=base, served_as=model)
    asked = splits_to_evaluate(who, on, path, limit, progress)
    reports = []
    for data_split, seen in asked:
        folder = _folder(who, target or str(model), data_split.source, out, several=len(asked) > 1)
        report = evaluator.evaluate(
            who,
            data_split,
            seen,
            folder,
            controls=controls,
            samples=samples,
            url=endpoint,
            rescore=rescore,
            progress=progress,
        )
        if judge_url and judge_model:
            report = _judged(folder, Judge(judge_url, judge_model, prices=judge_prices))
        reports.append((folder, report))
    if as_json:
        result = [report for _, report in reports]
        print(json.dumps(result if len(result) > 1 else result[0], indent=2))
        return
    for number, (folder, report) in enumerate(reports, 1):
        eval_table.show_eval(report, who.run if number == len(reports) else None)
        info(f"\nreport and replies  {folder}\n")
    if len(reports) > 1:
        eval_table.show_generalisation([report for _, report in reports])
    if who.run:
        info(f"run and adapter     {who.run.folder}, {who.run.adapter}")
        info(f"next                lowmed report {who.run.folder}; lowmed probe, lowmed compare")


def _judged(folder: Path, judge: "Judge") -> dict[str, Any]:
    """The report with the verdicts of that judge in it, given now or before."""
    from lowmed.evaluate import judge_scores
    from lowmed.evaluate.report import report
    from lowmed.files import write_json

    total = sum(len(judge_scores.open_rows(folder, who)) for who in judge_scores.judged_systems(folder))
    with progress(f"judge {judge.model}", total) as advance:
        judge_scores.collect_verdicts(folder, judge, advance)
    result = report(folder)
    write_json(folder / "report.json", result)
    return result


def _folder(who: "EvalTarget", target: str, source: str, out: str | None, *, several: bool) -> Path:
    from lowmed.run import FOLDER

    name = source + ("-endpoint" if "endpoint" in who.adapters else "")
    if out:
        return Path(out) / name if several else Path(out)
    return who.run.folder / "evals" / name if who.run else Path(FOLDER) / f"eval-{Path(target).name}-{name}"
