"""`lowmed data pairs`: parse options, make pairs or labeled completions of a probe's completions, print."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowmed.cli import options

if TYPE_CHECKING:
    from lowmed.evaluation.labeled_completions import LabeledReport
    from lowmed.evaluation.preference_pairs import PairsReport

Probe = Annotated[Path, typer.Argument(metavar="PROBE", help="The folder of a probe.")]
Out = Annotated[Path, typer.Option("--out", help="The file to write, JSON lines.")]
PerQuestion = Annotated[
    int,
    typer.Option("--per-question", min=1, help="Most pairs of a question; with --unpaired, most of each label."),
]
Unpaired = Annotated[bool, typer.Option("--unpaired", help="Label each completion good or bad, for KTO.")]


def pairs(
    probe: Probe, out: Out, per_question: PerQuestion = 2, unpaired: Unpaired = False, as_json: options.Json = False
) -> None:
    """Make pairs of completions for DPO, or labeled ones for KTO, from a probe.

    Of each training question, a right and a wrong sampled completion in full form and of similar length. With
    --unpaired every right one is good and every wrong one is bad.

    \b
    lowmed probe nano --on phantom --out probe
    lowmed data pairs probe --out pairs.jsonl
    lowmed dpo --recipe mdpo --nano data.pairs=pairs.jsonl
    lowmed data pairs probe --unpaired --out unpaired.jsonl
    lowmed kto --recipe kto --nano data.unpaired=unpaired.jsonl
    """
    from lowmed.api import pairs as api

    if unpaired:
        labeled = api.make_unpaired(probe, out, per_question=per_question)
        print(json.dumps(_labeled_summary(labeled), indent=2)) if as_json else _print_labeled(labeled, out)
        return
    report = api.make_pairs(probe, out, per_question=per_question)
    print(json.dumps(_summary(report), indent=2)) if as_json else _print(report, out)


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


def _labeled_summary(report: "LabeledReport") -> dict[str, object]:
    names = {"good": True, "bad": False}
    return {
        **{name: report.count(label) for name, label in names.items()},
        "questions": report.questions,
        "questions_with_completions": len({row.id for row in report.rows}),
        "mean_tokens": {name: round(report.mean_tokens(label), 1) for name, label in names.items()},
        "completions": report.completions,
    }


def _print_labeled(report: "LabeledReport", out: Path) -> None:
    questions = len({row.id for row in report.rows})
    print(f"{out}: {len(report.rows):,} completions of {questions:,} of {report.questions:,} probed questions")
    print(f"  labels       good {report.count(True):,}, bad {report.count(False):,}")
    print(f"  tokens       good {report.mean_tokens(True):.1f}, bad {report.mean_tokens(False):.1f} on average")
    print(f"  completions  {_counts(report.completions)}")
    print(f"next: lowmed kto --recipe kto data.unpaired={out}")


def _counts(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
