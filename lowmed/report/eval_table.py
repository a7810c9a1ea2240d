"""An evaluation as a table for the terminal."""

from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from lowmed.evaluation.records import (
    Accuracy,
    Cell,
    ConditionalShare,
    EvalReport,
    JudgedAccuracy,
    JudgeScores,
    Metrics,
    OpenTiers,
    ReasoningCells,
    ScoreMetrics,
    SplitReport,
)
from lowmed.evaluation.report import UNSEEN
from lowmed.report import classification_table, probability_table
from lowmed.report.box_table import box_rows
from lowmed.report.console import FEW, NOTICE, STEPS_AVERAGED, console, interval
from lowmed.report.field_table import field_rows
from lowmed.report.report_rows import NOT_APPLICABLE, add_reports, control_cell
from lowmed.run import Run

TIER_ROWS = {"exact": "exact", "exact or in a sentence": "span"}
CELLS_SHOWN = 12  # a stratum with more cells is only in report.json
REASONING_ROWS = (
    ("reasoning right", "both_right", "only_reasoning_right"),
    ("reasoning wrong", "only_answer_right", "both_wrong"),
    ("reasoning unread", "unread_answer_right", "unread_answer_wrong"),
)
CONDITIONAL_ROWS = {
    "answer right if reasoning right": "answer_right_if_reasoning_right",
    "reasoning right if answer right": "reasoning_right_if_answer_right",
}
CONTROL_LABELS = {
    "blind": "no image",
    "grey": "gray image",
    "shuffled": "another group's image",
    "options": "options reordered",
    "flipped": "mirrored, sides exchanged",
    "contrastive": "decoded against gray",
}
EFFECT_LABELS = {
    "shuffled": "visual reliance, real - another's",
    "contrastive": "ordinary - contrastive decoding",
}


def show_eval(report: EvalReport, run: Run | None = None) -> None:
    """Print accuracies with intervals, baselines, controls, unread shares and strata; for a run also training cost."""
    shown = console()
    systems = report.systems
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in ("label", *systems):
        table.add_column()
    for split, part in report.splits.items():
        _add_split(table, split, part, systems)
        _add_judged(table, split, report.judged, systems)
        table.add_row("")
    _add_controls(table, report, systems)
    _add_sampled(table, report, systems)
    if run:
        for label, value in training(run).items():
            table.add_row(label, *[""] * (len(systems) - 1), value)
    shown.print(f"[bold]{escape(title(report))}[/bold]\n")
    shown.print(table)
    blocks = {
        split: ([part.results[system].classification for system in systems], part.classification)
        for split, part in report.splits.items()
    }
    classification_table.show(shown, blocks, systems)
    probability_table.show(shown, report)
    for split, part in report.splits.items():
        if warning := few_strata(part.results[systems[0]].by_strata):
            shown.print(f"\n{escape(split)}: {escape(warning)}")
    for system, controls in report.controls.items():
        if controls.verdict:
            shown.print(f"\n{system}: {escape(controls.verdict)}")
    shown.print("\nAccuracy is lenient unless called strict. Intervals are 95 %, for questions that share images.")
    shown.print("(few): under 30 questions or 10 images. macro: mean of the cells, each counted once.")
    for change in report.changes:
        examples = escape(", ".join(change.examples)) + (", ..." if change.questions > len(change.examples) else "")
        shown.print(
            f"changed by the answer rules {report.rules}, {change.system}: {change.before} -> {change.after}, "
            f"{change.questions} questions ({examples})"
        )
    for scores in report.judged:
        usage = scores.usage
        cost = f", cost {usage.cost:.4f}" if usage.cost else ""
        shown.print(
            f"Judge: question, gold answer and extracted answer were sent to {escape(', '.join(usage.hosts))}, "
            f"no image; {usage.requests} requests, {usage.prompt_tokens} + {usage.completion_tokens} tokens{cost}. "
            "No other metric uses its verdicts."
        )
    shown.print(NOTICE)


def title(report: EvalReport) -> str:
    """Model, data and prompts, and the splits that share images with training."""
    overlapping = [split for split, part in report.splits.items() if part.images_trained_on]
    stamp = f"  SHARES IMAGES WITH TRAINING ({', '.join(overlapping)}): not a measure of generalization"
    # "seen in training" refers to the source; in a title it would read as if these questions were trained on.
    seen = f" ({UNSEEN})" if report.seen == UNSEEN else ""
    return f"{report.model} on {report.source}{seen}, prompts `{report.prompts}`{stamp if overlapping else ''}"


def training(run: Run) -> dict[str, str]:
    """Effect and cost of a run's training, label -> text."""
    record, rows = run.record, run.rows("metrics.jsonl")
    result = {}
    shown = {"reward": "reward", "loss": "loss"}
    if run.recipe.method.preferences:
        shown = {"loss": "loss", "rewards/margins": "margin", "rewards/accuracies": "pairs right", "kl": "z0"}
    for name, label in shown.items():
        values = [row[name] for row in rows if name in row]
        if values:
            first, last = values[:STEPS_AVERAGED], values[-STEPS_AVERAGED:]
            result[f"{label}, first {len(first)} and last {len(last)} steps"] = (
                f"{sum(first) / len(first):.3f} -> {sum(last) / len(last):.3f}"
            )
        if name == "reward" and values:
            break
    cards = [f"{one.card} until step {one.until_step}" for one in record.earlier_machines if one.card != record.card]
    card = ", ".join([*cards, record.card or "unknown"])
    result["training time"] = f"{record.seconds or 0:.0f} s, {record.steps or 0} steps on {card}"
    result["peak memory"] = f"{record.peak_gib or 0:.2f} GiB"
    return result


def few_strata(by_strata: Mapping[str, Mapping[str, Cell | ScoreMetrics]]) -> str:
    """A warning that names the strata with too few questions or images for a stable figure, or ""."""
    few = [f"{column} {name}" for column, cells in by_strata.items() for name, cell in cells.items() if cell.few]
    return f"TOO FEW DATA for a stable figure: {', '.join(few)} (under 30 questions or 10 images)" if few else ""


def accuracy(result: Accuracy | JudgedAccuracy | None) -> str:
    """An accuracy with its interval by image; reports have none."""
    if result is None:
        return NOT_APPLICABLE
    return f"{result.accuracy:.3f} {interval(result.by_image)}"


def _add_split(table: Table, split: str, part: SplitReport, systems: list[str]) -> None:
    results = [part.results[system] for system in systems]
    table.add_row(f"[bold]{escape(split)}[/bold], n={part.questions} on {part.images} images", *systems)
    if part.seen.startswith("unseen m"):
        table.add_row(f"  {escape(part.seen)}")
    if part.stamp:
        table.add_row(f"  {escape(part.stamp)}")
    _add_accuracies(table, part, results)
    table.add_row("  unread, truncated", *(f"{result.unread:.3f}, {result.truncated:.3f}" for result in results))
    errors = (f"{result.laterality_errors:.3f}, {result.polarity_errors:.3f}" for result in results)
    table.add_row("  laterality, polarity errors", *errors)
    add_tiers(table, [result.open_tiers for result in results])
    for label, shown in box_rows([result.boxes for result in results]):
        table.add_row(f"  boxes: {escape(label)}", *shown)
    _add_fields(table, results)
    add_reports(table, [result.reports for result in results])
    add_reasoning(table, [result.reasoning for result in results])
    for stratum in ("kind", "modality", "topic"):
        cells = [getattr(result, f"by_{stratum}") for result in results]
        if not 2 <= len(cells[0]) <= CELLS_SHOWN:
            continue
        _add_cells(table, stratum, cells)
        macros = (getattr(result, f"macro_{stratum}") for result in results)
        table.add_row(f"    {stratum} macro", *(f"{macro.lenient:.3f}" for macro in macros))
    for column in results[0].by_strata:
        _add_cells(table, column, [result.by_strata[column] for result in results])


def _add_accuracies(table: Table, part: SplitReport, results: Sequence[Metrics]) -> None:
    if results[0].lenient is None:
        table.add_row("  accuracy", *(NOT_APPLICABLE for _ in results))
        return
    for name in ("strict", "lenient"):
        accuracies: list[Accuracy | None] = [getattr(result, name) for result in results]
        without = ", without reports" if results[0].reports else ""
        table.add_row(f"  {name} accuracy{without}", *map(accuracy, accuracies))
        bounds = ("      " + interval(result.wilson) if result else "" for result in accuracies)
        table.add_row("    Wilson, if independent", *bounds)
    floor = "unknown" if part.no_image_floor is None else f"{part.no_image_floor:.3f}"
    table.add_row("  answer-prior baseline", *(floor for _ in results))


def _add_cells(table: Table, stratum: str, cells: Sequence[Mapping[str, Cell]]) -> None:
    for name, cell in cells[0].items():
        tier = ", exact" if (stratum, name) == ("kind", "open") else ""
        label = f"    {escape(f'{stratum} {name}')}{tier}, n={cell.questions}{FEW if cell.few else ''}"
        shares = (by_name[name] for by_name in cells)
        table.add_row(label, *(f"{share.lenient:.3f} {interval(share.by_image)}" for share in shares))


def add_tiers(table: Table, results: Sequence[OpenTiers | None]) -> None:
    """Rows of open answers: equal to the gold answer, and with it inside a sentence; none without open questions."""
    questions = next((tiers.questions for tiers in results if tiers), 0)
    if not questions:
        return
    for label, name in TIER_ROWS.items():
        shares = (getattr(tiers, name) if tiers else None for tiers in results)
        cells = (f"{one.share:.3f} {interval(one.by_image)}" if one else "" for one in shares)
        table.add_row(f"  open answers, n={questions}: {label}", *cells)


def add_reasoning(table: Table, results: Sequence[ReasoningCells | None]) -> None:
    """Rows with the reasoning by the answer; none if no completion reasons."""
    if not any(results):
        return
    for label, *fields in REASONING_ROWS:
        counts = (", ".join(str(getattr(cells, field)) for field in fields) if cells else "" for cells in results)
        table.add_row(f"  {label}: answer right, wrong", *counts)
    for label, field in CONDITIONAL_ROWS.items():
        shares: list[ConditionalShare | None] = [getattr(cells, field) if cells else None for cells in results]
        table.add_row(f"    {label}", *(f"{one.share:.3f} {interval(one.by_image)}" if one else "" for one in shares))


def _add_fields(table: Table, results: Sequence[Metrics]) -> None:
    """Rows of the fields of JSON answers, with intervals by image."""
    by_field = [result.fields for result in results]
    if documents := next((result.documents for result in by_field if result), 0):
        table.add_row(f"  fields of {documents} JSON answers, intervals by image")
    for label, cells in field_rows(by_field):
        table.add_row(f"    {escape(label)}", *cells)


def _add_judged(table: Table, split: str, judged: Sequence[JudgeScores], systems: list[str]) -> None:
    """Rows of each judge: accepted open answers, next to the exact match of the same completions."""
    for scores in judged:
        results = [scores.splits.get(split, {}).get(system) for system in systems]
        judged_result = next((result for result in results if result), None)
        if judged_result is None:
            continue
        name = f"{escape(scores.judge.model)} ({scores.judge.rubric_digest})"
        table.add_row(f"  open, n={judged_result.questions}, judged by {name}")
        table.add_row("    accepted by the judge", *(accuracy(result) if result else "" for result in results))
        exact = (f"{result.exact_match:.3f}" if result else "" for result in results)
        table.add_row("    exact match, same questions", *exact)
        counts = (f"{result.no_verdict}, {result.accepted_contradictions}" if result else "" for result in results)
        table.add_row("    no verdict, accepted contradictions", *counts)


def _add_controls(table: Table, report: EvalReport, systems: list[str]) -> None:
    effects = [report.controls[system].effects() for system in systems]
    names = [name for name in CONTROL_LABELS if any(name in by_name for by_name in effects)]
    if not names:
        return
    table.add_row("[bold]controls[/bold], real -> altered input", *systems)
    for name in names:
        results = [by_name.get(name) for by_name in effects]
        questions = next(result.questions for result in results if result)
        scores = [result.lenient if result else None for result in results]
        shown = (f"{score.real:.3f} -> {score.accuracy:.3f}" if score else "" for score in scores)
        of_reports = map(control_cell, results)
        table.add_row(f"  {CONTROL_LABELS[name]}, n={questions}", *(shown if any(scores) else of_reports))
    for name, label in EFFECT_LABELS.items():
        scores = [by_name[name].lenient if name in by_name else None for by_name in effects]
        if any(scores):
            cells = (f"{score.effect:+.3f} {interval(score.effect_by_image)}" if score else "" for score in scores)
            table.add_row(f"  {label}", *cells)
    table.add_row("")


def _add_sampled(table: Table, report: EvalReport, systems: list[str]) -> None:
    if not report.sampled:
        return
    results = [report.sampled[system] for system in systems]
    first = results[0]
    table.add_row(f"[bold]{first.completions} sampled completions[/bold], n={first.questions}, strict", *systems)
    for k, row in first.by_k.items():
        cells = (f"{result.by_k[k].pass_rate:.3f} {interval(result.by_k[k].by_image)}" for result in results)
        table.add_row(f"  Pass@{k}, chance {row.chance:.3f}", *cells)
    last = list(first.by_k)[-1]
    table.add_row(f"  maj@{last}", *(f"{result.by_k[last].majority:.3f}" for result in results))
    table.add_row("  calibration error (ECE)", *(f"{result.calibration.ece:.3f}" for result in results))
    table.add_row("")
