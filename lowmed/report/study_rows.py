"""The rows of a study's tables, shared by its page and its LaTeX table."""

from collections.abc import Sequence
from dataclasses import dataclass

from lowmed.evaluation.paired_tests import LEVEL
from lowmed.report.console import FEW, interval
from lowmed.study.records import StudyAccuracy, StudyCell, StudyDifference, StudyRecord, StudyRun
from lowmed.study.spec import BASE

BY_IMAGE = "95 % interval over images (or patients) of the mean over seeds: other questions, the same trained models"
OVER_SEEDS = "95 % t interval over seeds: other trainings, the same questions; none with one seed or without training"
TEST = (
    "p: exact sign-flip test over images, on changes averaged over seeds; Holm corrects over all comparisons of the "
    "study. It holds for the trained models; the interval over seeds shows how much training varies"
)
UNEQUAL = "seeds differ in their questions"


@dataclass(frozen=True)
class Part:
    """The rows of one split of one source."""

    source: str
    split: str
    seen: str
    stamp: str
    accuracies: tuple[StudyAccuracy, ...]
    comparisons: tuple[StudyDifference, ...]


def parts(record: StudyRecord) -> list[Part]:
    """The rows of a study by source and split, so that seen and unseen questions stay apart."""
    cells: list[StudyCell] = [*record.accuracies, *record.comparisons]
    result = []
    for source, split in dict.fromkeys((cell.source, cell.split) for cell in cells):
        shown = tuple(one for one in record.accuracies if (one.source, one.split) == (source, split))
        compared = tuple(one for one in record.comparisons if (one.source, one.split) == (source, split))
        seen = "; ".join(dict.fromkeys(one.seen for one in (*shown, *compared) if one.seen))
        stamp = "; ".join(dict.fromkeys(one.stamp for one in shown if one.stamp))
        result.append(Part(source, split, seen, stamp, shown, compared))
    return result


def label(arm: str) -> str:
    """The name of an arm in a table."""
    return f"untrained base of {arm.removeprefix(BASE)}" if arm.startswith(BASE) else arm


def counted(cell: StudyCell) -> tuple[str, str, str]:
    """Questions, images and seeds of a figure."""
    questions = f"{cell.questions:,}{FEW if cell.few else ''}"
    return questions, f"{cell.images:,}", f"{cell.seeds}{'' if cell.same_questions else f', {UNEQUAL}'}"


def seeds_text(cell: StudyAccuracy | StudyDifference, sign: str = "") -> str:
    """The figure of each seed, in the order of the seeds, and their standard deviation."""
    values = " ".join(f"{value:{sign}.3f}" for value in cell.by_seed.values())
    return values if cell.seed_sd is None else f"{values} (SD {cell.seed_sd:.3f})"


def over_seeds_text(cell: StudyAccuracy | StudyDifference) -> str:
    """The interval over seeds; a dash with one seed."""
    return "-" if cell.over_seeds is None else interval(cell.over_seeds)


def p_text(value: float) -> str:
    """A p value."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def is_significant(cell: StudyDifference) -> bool:
    """Whether the corrected test and the interval both exclude no difference."""
    low, high = cell.by_image
    return cell.p_holm < LEVEL and not low <= 0 <= high


def unfinished(record: StudyRecord) -> list[StudyRun]:
    """The runs that are not in the table."""
    return [run for run in record.runs if run.status != "finished"]


def versions(runs: Sequence[StudyRun]) -> list[tuple[str, str]]:
    """Package versions, with the runs that used them where they differ."""
    used: dict[str, list[str]] = {}
    for run in runs:
        if run.versions:
            text = ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))
            used.setdefault(text, []).append(f"{run.arm}-seed{run.seed}")
    everywhere = len(used) == 1
    return [(text, "all runs" if everywhere else ", ".join(names)) for text, names in used.items()]
