"""`lowmed eval`: parse options, evaluate, print."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lowmed.cli import launch, options
from lowmed.cli.progress import be_quiet, info, progress

Target = Annotated[
    str | None, typer.Argument(metavar="RUN_OR_MODEL", help="A run, `nano`, a hub id or a model directory.")
]
On = Annotated[str | None, typer.Option("--on", help="Data sources, a,b=FOLDER; default: the run's held-out data.")]
PathTo = Annotated[str | None, typer.Option("--path", help="Local copy of the source; NAME=FOLDER,... of several.")]
Prompts = Annotated[
    str | None, typer.Option("--prompts", help="A prompt family in place of the recipe's prompts.infer.")
]
WithBase = Annotated[bool, typer.Option("--with-base", help="Also evaluate the untrained base model of the run.")]
Questions = Annotated[
    int | None, typer.Option("--questions", min=1, help="Limit the questions of each split; takes the first ones.")
]
Controls = Annotated[int, typer.Option("--controls", min=0, help="Questions repeated under controls; 0 = none.")]
Contrastive = Annotated[
    bool, typer.Option("--contrastive", help="Decode the control questions against a gray image too; costs two passes.")
]
Samples = Annotated[
    int, typer.Option("--samples", min=0, max=64, help="Completions sampled per question: Pass@K, maj@K.")
]
Probabilities = Annotated[
    bool, typer.Option("--probabilities", help="Measure the probability of each option: AUROC, calibration.")
]
Rescore = Annotated[bool, typer.Option("--rescore", help="Score stored completions again; loads no model.")]
AllowChangedData = Annotated[
    bool,
    typer.Option("--allow-changed-data", help="Evaluate although the run's data have changed; the table states it."),
]
JudgeUrl = Annotated[str | None, typer.Option("--judge-url", help="Judge open answers with the model at this URL.")]
JudgeModel = Annotated[str | None, typer.Option("--judge-model", help="The judge server's name for its model.")]
JudgePrices = Annotated[
    tuple[float, float] | None,
    typer.Option("--judge-prices", metavar="IN OUT", help="Per million prompt and completion tokens, for the cost."),
]
Out = Annotated[str | None, typer.Option("--out", help="Results directory; default: inside the run.")]


def evaluate(
    target: Target = None,
    on: On = None,
    path: PathTo = None,
    prompts: Prompts = None,
    base: WithBase = False,
    questions: Questions = None,
    controls: Controls = 200,
    contrastive: Contrastive = False,
    samples: Samples = 0,
    probabilities: Probabilities = False,
    rescore: Rescore = False,
    allow_changed_data: AllowChangedData = False,
    endpoint: options.Endpoint = None,
    model: options.ServedAs = None,
    max_concurrency: options.MaxConcurrency = 16,
    judge_url: JudgeUrl = None,
    judge_model: JudgeModel = None,
    judge_prices: JudgePrices = None,
    out: Out = None,
    processes: launch.Processes = 1,
    full: options.Full = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Measure accuracy on held-out questions, with controls.

    \b
    lowmed eval runs/20260101-rarl-nano --with-base            tuned and base model, the run's held-out questions
    lowmed eval runs/20260101-rarl --on vqa-rad --path ~/vqa-rad
    lowmed eval runs/20260101-rarl --on phantom,vqa-rad=~/vqa-rad --samples 16
    lowmed eval runs/20260101-rarl-nano --prompts direct       with another prompt family
    lowmed eval nano --on phantom                              a model without a run
    lowmed eval --endpoint http://127.0.0.1:8000/v1 --model qwen --on vqa-rad --path ~/vqa-rad
    lowmed eval runs/20260101-rarl --rescore --judge-url http://127.0.0.1:8000/v1 --judge-model qwen3

    Prints the verdict and the accuracy of each split; --full adds strata, controls, errors and tests. Completions are
    stored one by one. The same command resumes an interrupted evaluation and scores all of them again.
    """
    launch.share_work(processes)
    be_quiet(quiet)
    from lowmed.api import evaluate as api
    from lowmed.report import eval_summary, eval_table, generalization_table
    from lowmed.run import Run

    reports = api.evaluate(
        target,
        on=on,
        path=path,
        prompts=prompts,
        with_base=base,
        questions=questions,
        controls=controls,
        contrastive=contrastive,
        samples=samples,
        probabilities=probabilities,
        endpoint=endpoint,
        model=model,
        max_concurrency=max_concurrency,
        judge_url=judge_url,
        judge_model=judge_model,
        judge_prices=judge_prices,
        rescore=rescore,
        allow_changed_data=allow_changed_data,
        out=out,
        progress=progress,
    )
    if as_json:
        documents = [report.as_json() for report in reports]
        print(json.dumps(documents if len(documents) > 1 else documents[0], indent=2))
        return
    run = Run(Path(target)) if target and (Path(target) / "run.json").is_file() else None
    for report in reports if full else ():
        eval_table.show_eval(report, run if report is reports[-1] else None)
    if full and len(reports) > 1:
        generalization_table.show_generalization(reports)
    if not full:
        eval_summary.show_summary(reports, verdict_only=quiet)
    info()
    for report in reports:
        info(f"completions  {report.folder}")
    if run and not full:
        info(f"all figures  lowmed eval {run.folder} --rescore --full, or as a page: lowmed report {run.folder}")
