"""The page of a study."""

from lowmed.report import study_rows
from lowmed.report.console import NOTICE
from lowmed.report.interval_rows import Bar, IntervalRow, Section
from lowmed.report.templates import render
from lowmed.report.verdict import Verdict, against
from lowmed.study.records import StudyRecord
from lowmed.study.spec import BASE


def verdict(record: StudyRecord) -> Verdict:
    """Each comparison in a sentence; the test is corrected over all of them."""
    findings, problems = [], []
    for one in record.comparisons:
        text = against(one.first_accuracy, one.second_accuracy, one, one.p_holm)
        findings.append(f"{one.label} ({one.source}, {one.split}): {text}")
    for run in study_rows.unfinished(record):
        reason = f": {run.error}" if run.error else ""
        problems.append(f"Not in the tables: {run.arm}, seed {run.seed}: {run.status}{reason}.")
    stamps = dict.fromkeys((one.source, one.split, one.stamp) for one in record.accuracies if one.stamp)
    problems += [f"Images of `{split}` of {source}: {stamp}." for source, split, stamp in stamps]
    return Verdict(tuple(findings), tuple(problems))


def _rows(part: study_rows.Part) -> tuple[IntervalRow, ...]:
    return tuple(
        IntervalRow(
            f"{study_rows.label(one.arm)}, {one.prompts}",
            one.questions,
            one.few,
            (Bar(one.arm, "base" if one.arm.startswith(BASE) else "tuned", one.accuracy, *one.by_image),),
        )
        for one in part.accuracies
    )


def study_page(record: StudyRecord) -> str:
    """Render the page of a study."""
    parts = study_rows.parts(record)
    return render(
        "study.html",
        study=record,
        verdict=verdict(record),
        sections=[
            Section(f"{part.source}, {part.split}{', ' * bool(part.seen)}{part.seen}", _rows(part)) for part in parts
        ],
        parts=parts,
        versions=study_rows.versions(record.runs),
        rows=study_rows,
        notice=NOTICE,
    )
