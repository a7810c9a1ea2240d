"""Problems of a split that make training wrong, detected without opening an image."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from lowmed import answer
from lowmed.answer import fields
from lowmed.answer.equality import has_order
from lowmed.data.dataset import DataSet
from lowmed.data.group_split import patient_groups
from lowmed.errors import DataError
from lowmed.sample import Sample

SHOWN_REJECTED = 3
ProblemName = Literal["shared-images", "shared-groups", "unreadable-gold"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem: its name, by which a user may allow it, and a sentence for every table."""

    name: ProblemName
    what: str


def find_problems(train: Sequence[Sample], held_out: Mapping[str, Sequence[Sample]]) -> tuple[Problem, ...]:
    """Images and groups that are both trained on and held out, and gold answers that cannot be read back.

    In a prepared folder and in merged data sets, equal images have equal references, so that comparing references
    compares pixels.
    """
    problems: list[Problem] = []
    train_images, train_groups = _images(train), patient_groups(train)
    for name, samples in held_out.items():
        images, groups = _images(samples), patient_groups(samples)
        if shared := images & train_images:
            problems.append(Problem("shared-images", f"{len(shared)} of {len(images)} {name} images are trained on"))
        if shared := groups & train_groups:
            problems.append(Problem("shared-groups", f"{len(shared)} of {len(groups)} {name} groups are trained on"))
    unread = [sample for part in (train, *held_out.values()) for sample in part if not reads_back(sample)]
    if unread:
        what = f"{len(unread)} gold answers do not read back as themselves (first: {unread[0].id})"
        problems.append(Problem("unreadable-gold", what))
    return tuple(problems)


def raise_unless_allowed(problems: Sequence[Problem], allowed: Collection[str] = ()) -> tuple[str, ...]:
    """The sentences that every later table must state, about the problems that the user allows by name.

    Raises:
        DataError: there is a problem that is not allowed.
    """
    refused = [problem for problem in problems if problem.name not in allowed]
    if refused:
        raise DataError(
            "training on these data would be wrong",
            "\n".join(f"{problem.name}: {problem.what}" for problem in refused),
            "split by image (data.split_by=image), run `lowmed data audit DIR --resplit image`, or correct the rows",
        )
    return tuple(problem.what for problem in problems)


def check_rejected(
    dataset: DataSet, max_rejected: float, exclude: str = "leave them out with data.max_rejected={share:g}"
) -> None:
    """Refuse a data set with too many rows that cannot be used.

    Args:
        dataset: the data set.
        max_rejected: the largest accepted share of such rows.
        exclude: how to leave them out, for the error message; `{share}` is the share that would be accepted.

    Raises:
        DataError: the share is larger.
    """
    rejected, total = dataset.rejected, len(dataset.samples) + len(dataset.rejected)
    if len(rejected) <= max_rejected * total:
        return
    lines = [f"{row.where}: {row.reason}" for row in rejected[:SHOWN_REJECTED]]
    more = len(rejected) - len(lines)
    share = -(-1000 * len(rejected) // total) / 1000  # rounded up
    raise DataError(
        f"{len(rejected):,} of {total:,} rows of {dataset.source} cannot be used",
        "\n".join([*lines, *([f"and {more:,} more"] if more else [])]),
        f"correct them, or {exclude.format(share=share)}",
    )


def require_right_or_wrong(samples: Sequence[Sample], source: str) -> None:
    """Refuse reports where answers must be right or wrong: probes, bridges and distillation.

    Raises:
        DataError: a sample is a report.
    """
    reports = sum(sample.kind == "report" for sample in samples)
    if reports:
        raise DataError(
            f"{reports:,} of {len(samples):,} training questions are reports, which are neither right nor wrong",
            source,
            "use data without reports; `lowmed eval` compares reports with their references",
        )


def reads_back(sample: Sample) -> bool:
    """Whether the gold answer, as a completion, is read and graded as correct."""
    question = answer.question_of(sample)
    return _reads_back(
        question if _text_matters(sample) else answer.Question(question.kind, question.golds, question.options),
        sample.written_answer,
    )


def _text_matters(sample: Sample) -> bool:
    """Whether the text of a question can change how its gold answer is read. If not, equal golds are read once."""
    if sample.kind == "boxes":
        return True  # with the size of the image
    if sample.kind == "open":
        return has_order(sample.question)
    return not (sample.kind == "choice" or (sample.kind == "closed" and answer.is_yes_no(sample.answer)))


@lru_cache(maxsize=10_000)
def _reads_back(question: answer.Question, gold: str) -> bool:
    if question.kind == "json" and fields.parse(gold)[0] is None:
        return False
    read = answer.read(f"<answer>{gold}</answer>", question)
    return answer.grade(read, question).strict_outcome == "correct"


def _images(samples: Sequence[Sample]) -> set[str]:
    return {image for sample in samples for image in sample.images}
