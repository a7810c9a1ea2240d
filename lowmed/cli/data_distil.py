"""`lowmed data distil`: parse options, distil, print."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowmed.cli import options
from lowmed.cli.progress import info, progress

if TYPE_CHECKING:
    from lowmed.distillation.records import DistilRecord, SamplingCounts

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="A known source, or a data folder.")]
Out = Annotated[Path, typer.Option("--out", help="The folder of the new data set.")]
PathTo = Annotated[str | None, typer.Option("--path", help="Local copy of a known source.")]
By = Annotated[
    str | None, typer.Option("--by", metavar="RUN_OR_MODEL", help="The teacher: a run, `nano`, a hub id or a folder.")
]
Endpoint = Annotated[str | None, typer.Option("--endpoint", help="The teacher is served at this URL, .../v1")]
Model = Annotated[str | None, typer.Option("--model", help="The endpoint's name for its model.")]
SendImages = Annotated[bool, typer.Option("--send-images", help="Allow images to be sent to the endpoint.")]
Probe = Annotated[
    Path | None, typer.Option("--probe", help="Use the completions of this folder of `lowmed probe`; sample none.")
]
Prompts = Annotated[
    str | None, typer.Option("--prompts", help="Prompt family; default: that of the run, else `reasoning`.")
]
Questions = Annotated[
    int | None, typer.Option("--questions", min=1, help="Number of training questions; takes the first ones.")
]
Samples = Annotated[int, typer.Option("--samples", min=1, max=64, help="Completions sampled per question.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0.01, help="Sampling temperature.")]
MaxNewTokens = Annotated[
    int | None, typer.Option("--max-new-tokens", min=1, help="Completion limit; default: that of the run, else 256.")
]
Keep = Annotated[int, typer.Option("--keep", min=1, help="Largest number of kept completions per question.")]
KeepAll = Annotated[
    bool, typer.Option("--keep-all", help="Also write training questions without a kept completion, unchanged.")
]
Rationalize = Annotated[
    bool, typer.Option("--rationalize", help="Show the gold answer where no completion was kept; rows are marked.")
]
Prices = Annotated[
    tuple[float, float] | None,
    typer.Option("--prices", metavar="IN OUT", help="Per million prompt and completion tokens, for the cost."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print how much would be generated, and stop.")]


def distil(
    source: Source,
    out: Out,
    path: PathTo = None,
    by: By = None,
    endpoint: Endpoint = None,
    model: Model = None,
    send_images: SendImages = False,
    probe: Probe = None,
    prompts: Prompts = None,
    questions: Questions = None,
    samples: Samples = 8,
    temperature: Temperature = 1.0,
    max_new_tokens: MaxNewTokens = None,
    keep: Keep = 1,
    keep_all: KeepAll = False,
    rationalize: Rationalize = False,
    prices: Prices = None,
    dry_run: DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Write explanations: right completions of a teacher.

    \b
    lowmed data distil vqa-rad --path ~/vqa-rad --by runs/20260101-rarl --out data/distilled
    lowmed data distil data/mine --endpoint http://127.0.0.1:8000/v1 --model qwen --send-images --out data/distilled
    lowmed data distil vqa-rad --path ~/vqa-rad --probe runs/20260101-rarl/probes/vqa-rad --out data/distilled
    lowmed sft --recipe rarl-sft data.source=folder data.path=data/distilled

    Samples completions of the training questions and keeps the reasoning of those that are right, in full form and
    without contradiction. All other splits stay as they are. Completions are stored one by one, and the same command
    resumes. Nothing is sent anywhere unless --endpoint names a server; its key is read from LOWMED_API_KEY.
    """
    from lowmed.api import distil as api

    record = api.distil(
        source,
        out,
        path=path,
        by=by,
        endpoint=endpoint,
        model=model,
        send_images=send_images,
        probe=probe,
        prompts=prompts,
        questions=questions,
        samples=samples,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        keep=keep,
        keep_all=keep_all,
        rationalize=rationalize,
        prices=prices,
        dry_run=dry_run,
        progress=progress,
        log=info,
    )
    if as_json:
        print(json.dumps(record.as_json(), indent=2, ensure_ascii=False))
    elif record.result:
        _show(record, out)


def _show(record: "DistilRecord", out: Path) -> None:
    result = record.result
    assert result is not None
    print(f"{out}: {', '.join(f'{split} {rows:,}' for split, rows in result.rows.items())} rows")
    print(f"  questions    {result.questions_kept:,} of {result.questions:,} have a kept completion")
    _show_counts("sampled", result.sampled)
    if result.rationalized:
        _show_counts("answer shown", result.rationalized)
    if result.cost is not None:
        print(f"  cost         {result.cost:,.4f}")
    print(f"next: lowmed data show {out}; lowmed sft --recipe rarl-sft data.source=folder data.path={out}")


def _show_counts(name: str, counts: "SamplingCounts") -> None:
    print(f"  {name:<12} {counts.completions:,} completions: {counts.right:,} right, {counts.kept:,} kept")
    for why, number in counts.dropped.items():
        print(f"    {number:,} x {why}")
