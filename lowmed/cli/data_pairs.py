"""`lowmed data pairs`: parse options, make pairs of a probe's completions, print."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowmed.cli import options

if TYPE_CHECKING:
    from lowmed.evaluation.preference_pairs import PairsReport

Probe = Annotated[Path, typer.Argument(metavar="PROBE", help="The folder of a probe.")]
Out = Annotated[Path, typer.Option("--out", help="The file to write, JSON lines.")]
PerQuestion = Annotated[int, typer.Option("--per-question", min=1, help="Most pairs of a question.")]


def pairs(probe: Probe, out: Out, per_question: PerQuestion = 2, as_json: options.Json = False) -> None:
    """Make pairs of completions for DPO from a probe.

    Of each training question, a right and a wrong sampled completion in full form and of similar length.

    \b
    lowmed probe nano --on phantom --out probe
    lowmed data pairs probe --out pairs.jsonl
    lowmed dpo --recipe mdpo --nano data.pairs=pairs.jsonl
    """
    from lowmed.api import pairs as api

    report = api.make_pairs(probe, out, per_question=per_question)
    if as_json:
        print(json.dumps(_summary(report), indent=2))
        return
    _print(report, out)


def _summary(report: "PairsReport") -> dict[str, object]:
    chosen, rejected = report.mean_tokens
    return {
        "pairs": len(report.pairs),
        "questions": report.questions,
        "questions_with_pairs": len({row.id for row in report.pairs}),
        "mean_tokens": {"chosen": round(chosen, 1), "rejected": round(rejected, 1)},
        "completions": report.completions,
        "questions_without_pairs": report.without,
    }


def _print(report: "PairsReport", out: Path) -> None:
    chosen, rejected = report.mean_tokens
    questions = len({row.id for row in report.pairs})
    print(f"{out}: {len(report.pairs):,} pairs of {questions:,} of {report.questions:,} probed questions")
    print(f"  tokens       chosen {chosen:.1f}, rejected {rejected:.1f} on average")
    print(f"  completions  {_counts(report.completions)}")
    if report.without:
        print(f"  no pair      {_counts(report.without)}")
    print(f"next: lowmed dpo --recipe mdpo data.pairs={out}")


def _counts(counts: "dict[str, int] | object") -> str:
    assert isinstance(counts, dict)
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
