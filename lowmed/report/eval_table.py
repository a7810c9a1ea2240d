"""An evaluation as one table for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lowmed.evaluate.controls import CONTROLS
from lowmed.evaluate.report import UNSEEN
from lowmed.run import Run

NOTICE = "Research figures; not a diagnostic device, not for clinical use."
AVERAGED = 5  # updates at either end of training whose reward is shown
ERRORS = ("laterality_errors", "polarity_errors")
WIDTH = 120
CELLS_SHOWN = 12  # a stratum with more cells is in report.json alone
CONTROL_LABELS = {
    "blind": "blind, no image",
    "grey": "grey image",
    "shuffled": "another's image",
    "options": "options reordered",
    "flipped": "flipped, sides exchanged",
}


def show_eval(report: Mapping[str, Any], run: Run | None = None) -> None:
    """Print accuracies with intervals, floors, controls, what could not be read, strata; and what training cost."""
    shown = console()
    people = list(next(iter(report["splits"].values()))["results"])
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in ("label", *people):
        table.add_column()
    for split, part in report["splits"].items():
        _add_split(table, split, part, people)
        _add_judged(table, split, report.get("judged", ()), people)
        table.add_row("")
    _add_controls(table, report["controls"], people)
    _add_sampled(table, report["sampled"], people)
    if run:
        for label, value in training(run).items():
            table.add_row(label, *[""] * (len(people) - 1), value)
    shown.print(f"[bold]{escape(title(report))}[/bold]\n")
    shown.print(table)
    for who, result in report["controls"].items():
        if result.get("verdict"):
            shown.print(f"\n{who}: {result['verdict']}")
    shown.print(
        "\nAccuracy is lenient unless called strict. Intervals: 95 %, Wilson; below it a bootstrap that draws images."
    )
    shown.print("(few): under 30 questions. macro: mean of the cells, each counted once.")
    for each in report.get("judged", ()):
        sent = each["sent"]
        cost = f", cost {sent['cost']:.4f}" if sent["cost"] else ""
        shown.print(
            f"judged: question, gold and given answer were sent to {escape(', '.join(sent['hosts']))}, no image; "
            f"{sent['requests']} requests, {sent['prompt_tokens']} + {sent['completion_tokens']} tokens{cost}. "
            "A judge's verdict is in no other figure."
        )
    shown.print(NOTICE)


def show_generalisation(reports: Sequence[Mapping[str, Any]]) -> None:
    """Print the data sets of one evaluation under each other, marked by what training saw, with their means."""
    shown = console()
    people = list(next(iter(reports[0]["splits"].values()))["results"])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("data", "training", "n", *(f"{who}, lenient accuracy" for who in people)):
        table.add_column(heading)
    for name, seen, questions, values in generalisation(reports):
        table.add_row(name, seen, questions, *values)
    shown.print(table)


def generalisation(reports: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, list[str]]]:
    """One line a split of each data set, then micro (each question once) and macro (each split once)."""
    people = list(next(iter(reports[0]["splits"].values()))["results"])
    parts = [
        (f"{report['source']} {split}", part["seen"], part)
        for report in reports
        for split, part in report["splits"].items()
    ]
    lines = []
    for name, seen, part in parts:
        stamp = " IMAGES SHARED" if part["images_trained_on"] else ""
        values = [accuracy(part["results"][who]["lenient"]) for who in people]
        lines.append((name, seen + stamp, str(part["questions"]), values))
    total = sum(part["questions"] for _, _, part in parts)
    weights = {"micro": [part["questions"] / total for _, _, part in parts], "macro": [1 / len(parts)] * len(parts)}
    for name, weight in weights.items():
        scores = [
            sum(w * part["results"][who]["lenient"]["accuracy"] for w, (_, _, part) in zip(weight, parts, strict=True))
            for who in people
        ]
        lines.append((name, "", str(total), [f"{score:.3f}" for score in scores]))
    return lines


def title(report: Mapping[str, Any]) -> str:
    """What was evaluated on what; a split that shares images with training is named at once."""
    overlapping = [split for split, part in report["splits"].items() if part["images_trained_on"]]
    stamp = f"  IMAGE-OVERLAPPING SPLIT ({', '.join(overlapping)}): no measure of generalisation" if overlapping else ""
    # "seen" is said of the source where sources stand side by side; here it would be read as said of these questions.
    seen = f" ({UNSEEN})" if report["seen"] == UNSEEN else ""
    return f"{report['model']} on {report['source']}{seen}, asked by `{report['prompts']}`{stamp}"


def training(run: Run) -> dict[str, str]:
    """What the training of a run did and cost, label -> text."""
    record, rows = run.record, run.rows("metrics.jsonl")
    result = {}
    for name in ("reward", "loss"):
        values = [row[name] for row in rows if name in row]
        if values:
            first, last = values[:AVERAGED], values[-AVERAGED:]
            result[f"{name}, first {len(first)} and last {len(last)} updates"] = (
                f"{sum(first) / len(first):.3f} -> {sum(last) / len(last):.3f}"
            )
            break
    result["training time"] = f"{record['seconds']:.0f} s, {record['steps']} updates on {record['card']}"
    result["peak memory"] = f"{record['peak_gib']:.2f} GiB"
    return result


def accuracy(result: Mapping[str, Any]) -> str:
    """An accuracy with both its intervals."""
    return f"{result['accuracy']:.3f} {interval(result['wilson'])} | {interval(result['by_image'])}"


def console() -> Console:
    """A console that cuts no table off where there is no terminal, or a narrow one."""
    return Console(highlight=False, soft_wrap=True, width=max(WIDTH, Console().width))


def interval(bounds: Sequence[float]) -> str:
    """An interval in brackets."""
    return f"[{bounds[0]:.3f}, {bounds[1]:.3f}]"


def _with_wilson(result: Mapping[str, Any]) -> str:
    return f"{result['accuracy']:.3f} {interval(result['wilson'])}"


def _add_split(table: Table, split: str, part: Mapping[str, Any], people: list[str]) -> None:
    results = [part["results"][who] for who in people]
    table.add_row(f"[bold]{escape(split)}[/bold], n={part['questions']} on {part['images']} images", *people)
    if part["seen"].startswith("unseen m"):
        table.add_row(f"  {escape(part['seen'])}")
    if part["stamp"]:
        table.add_row(f"  {part['stamp']}")
    for name in ("strict", "lenient"):
        table.add_row(f"  {name} accuracy", *(_with_wilson(result[name]) for result in results))
        table.add_row("    drawing images", *("      " + interval(result[name]["by_image"]) for result in results))
    floor = part["no_image_floor"]
    table.add_row("  answer-prior floor", *("not known" if floor is None else f"{floor:.3f}" for _ in results))
    for label, names in (("  unread, cut", ("unread", "truncated")), ("  side, polarity errors", ERRORS)):
        table.add_row(label, *(", ".join(f"{result[name]:.3f}" for name in names) for result in results))
    for stratum in ("kind", "modality", "topic"):
        cells = results[0][f"by_{stratum}"]
        if not 2 <= len(cells) <= CELLS_SHOWN:
            continue
        for name, cell in cells.items():
            few = " (few)" if cell["few"] else ""
            label = f"    {stratum} {escape(name)}, n={cell['questions']}{few}"
            table.add_row(label, *(f"{result[f'by_{stratum}'][name]['lenient']:.3f}" for result in results))
        table.add_row(f"    {stratum} macro", *(f"{result[f'macro_{stratum}']['lenient']:.3f}" for result in results))


def _add_judged(table: Table, split: str, judged: Sequence[Mapping[str, Any]], people: list[str]) -> None:
    """Open questions by each judge that was asked; named, and beside the reader's exact match on the same completions."""
    for each in judged:
        result = [each["splits"].get(split, {}).get(who) for who in people]
        anybody = next((one for one in result if one), None)
        if anybody is None:
            continue
        name, digest = each["judge"]["model"], each["judge"]["rubric_digest"]
        table.add_row(f"  open, n={anybody['questions']}, judged by {escape(name)} ({digest})")
        table.add_row("    judged right", *(_with_wilson(one) if one else "" for one in result))
        table.add_row("    drawing images", *("      " + interval(one["by_image"]) if one else "" for one in result))
        table.add_row("    exact match on the same", *(f"{one['exact']:.3f}" if one else "" for one in result))
        counts = (f"{one['no_verdict']}, {one['against_gate']}" if one else "" for one in result)
        table.add_row("    no verdict, against the gate", *counts)


def _add_controls(table: Table, controls: Mapping[str, Mapping[str, Any]], people: list[str]) -> None:
    asked = [name for name in CONTROLS if any(controls[who].get(name, {}).get("questions") for who in people)]
    if not asked:
        return
    table.add_row("[bold]controls[/bold], real -> altered", *people)
    for name in asked:
        result = [controls[who].get(name) for who in people]
        questions = next(one["questions"] for one in result if one)
        cells = (f"{one['lenient']['real']:.3f} -> {one['lenient']['accuracy']:.3f}" if one else "" for one in result)
        table.add_row(f"  {CONTROL_LABELS[name]}, n={questions}", *cells)
    lost = [controls[who].get("shuffled", {}).get("lenient") for who in people]
    if any(lost):
        cells = (f"{one['lost']:+.3f} {interval(one['lost_by_image'])}" if one else "" for one in lost)
        table.add_row("  visual reliance, real - another's", *cells)
    table.add_row("")


def _add_sampled(table: Table, sampled: Mapping[str, Mapping[str, Any]], people: list[str]) -> None:
    if not sampled:
        return
    anybody = next(iter(sampled.values()))
    table.add_row(f"[bold]{anybody['replies']} sampled replies[/bold], n={anybody['questions']}, strict", *people)
    for k, row in anybody["at"].items():
        cells = (f"{sampled[who]['at'][k]['pass']:.3f} {interval(sampled[who]['at'][k]['by_image'])}" for who in people)
        table.add_row(f"  Pass@{k}, chance {row['chance']:.3f}", *cells)
    last = list(anybody["at"])[-1]
    table.add_row(f"  maj@{last}", *(f"{sampled[who]['at'][last]['majority']:.3f}" for who in people))
    table.add_row("  calibration error (ECE)", *(f"{sampled[who]['calibration']['ece']:.3f}" for who in people))
    table.add_row("")
