"""What evaluations show, in a few plain sentences, and the problems with them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lowmed.evaluation.paired_tests import LEVEL
from lowmed.evaluation.records import (
    ControlEffect,
    EvalReport,
    PairedDifference,
    ScoreDifference,
    SplitReport,
)
from lowmed.evaluation.report import SEEN, UNSEEN
from lowmed.evaluation.report_difference import main_difference
from lowmed.report.console import percent, points
from lowmed.report.report_rows import LABELS
from lowmed.report.run_report import RunReport

MANY = 0.05  # share of unread or truncated completions that is a problem
ABSTAINS = 0.5  # share of the last rollouts without a value that is a problem


@dataclass(frozen=True)
class Verdict:
    """Sentences for a reader who reads nothing else.

    Attributes:
        findings: what was measured.
        problems: reasons not to trust the result or its figures.
    """

    findings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(self.findings + other.findings, self.problems + other.problems)


def run_verdict(content: RunReport, data: Mapping[str, Any]) -> Verdict:
    """The verdict on a run: its evaluations, its data and its rewards.

    Args:
        content: content of the run.
        data: the summary of `run_data.data_summary`.
    """
    run, problems = content.run, []
    if run.status != "finished":
        problems.append(f"This run is {run.status}: {run.error or run.reason or 'it has not ended'}.")
    own = evaluations_verdict(list(content.evaluations.values()))
    if not content.evaluations:
        own = Verdict(("Not evaluated yet: `lowmed eval` measures what training changed.",))
    problems += own.problems
    problems += [f"{_sentence(leak)}." for leak in data.get("leaks", ())]
    problems += _abstaining(content.rollouts)
    clean = "No id, image or patient of the training data is held out too." if data.get("leaks") == [] else ""
    return Verdict((*own.findings, *filter(None, [clean])), tuple(problems))


def evaluations_verdict(reports: Sequence[EvalReport]) -> Verdict:
    """The verdict on the data sets of one model: its own held-out questions first, then others."""
    parts = [(report, split, part) for report in reports for split, part in report.splits.items()]
    ordered = sorted(parts, key=lambda one: one[2].seen != SEEN)
    result = Verdict()
    for report, split, part in ordered:
        result += _change(report, split, part) + Verdict(problems=tuple(_split_problems(report, split, part)))
    several = len(reports) > 1
    return sum((_image_use(report, f" on {report.source}" * several) for report in reports), result)


def _change(report: EvalReport, split: str, part: SplitReport) -> Verdict:
    """What training changed on one split, or the figures of a single system."""
    sentences: list[str] = []
    problems: list[str] = []
    own = part.seen == SEEN
    questions = _questions(report, split, part)
    measured: list[tuple[str, PairedDifference | ScoreDifference]] = []
    if part.accuracy_change:
        measured.append(("Accuracy", part.accuracy_change))
    if part.report_change:
        name, difference = main_difference(part.report_change)
        measured.append((_sentence(LABELS[name]), difference))
    for figure, change in measured:
        text, direction = _comparison(f"{figure} on {questions}", change)
        (sentences if direction > 0 or (direction == 0 and not own) else problems).append(text)
    if measured:
        return Verdict(tuple(sentences), tuple(problems))
    result = part.results[report.systems[-1]]
    if result.lenient:
        low, high = (percent(bound) for bound in result.lenient.by_image)
        accuracy = percent(result.lenient.accuracy)
        sentences.append(f"Accuracy on {questions} is {accuracy} (95 % interval {low} to {high}).")
    if result.reports:
        written = result.reports.written
        value = (written.f1 or written.rouge_l).value
        sentences.append(f"{'Findings F1' if written.f1 else 'ROUGE-L'} on {questions} is {percent(value)}.")
    return Verdict(tuple(sentences))


def _comparison(what: str, change: PairedDifference | ScoreDifference) -> tuple[str, int]:
    """A difference in words, and whether it is up (1), down (-1) or not significant (0)."""
    direction = _direction(change, change.p_by_image)
    verb = {1: "rose", -1: "FELL", 0: "did not change significantly:"}[direction]
    figures = f"from {percent(change.first)} to {percent(change.second)}"
    return f"{what} {verb} {figures} ({points(change.difference, change.by_image)}).", direction


class Change(Protocol):
    """A difference, second minus first, with its interval by image."""

    @property
    def difference(self) -> float:
        """Second minus first."""

    @property
    def by_image(self) -> tuple[float, float]:
        """Its interval."""


def against(first: float, second: float, change: Change, p: float) -> str:
    """The second of two accuracies instead of the first, in words, and whether it is better.

    Args:
        first: accuracy of the first.
        second: accuracy of the second.
        change: their difference.
        p: the p value that decides.
    """
    result = {1: "better", -1: "worse", 0: "no significant difference"}[_direction(change, p)]
    return f"{percent(second)} instead of {percent(first)} ({points(change.difference, change.by_image)}), {result}."


def _direction(change: Change, p: float) -> int:
    low, high = change.by_image
    significant = p < LEVEL and not low <= 0 <= high
    return (1 if change.difference > 0 else -1) if significant else 0


def _questions(report: EvalReport, split: str, part: SplitReport) -> str:
    """The questions of a split, and how they relate to training."""
    counted = f"{part.questions:,}"
    if part.images_trained_on:
        return f"{counted} questions of `{split}`, which shares images with training,"
    if part.seen == SEEN:
        several = sum(other.seen == SEEN for other in report.splits.values()) > 1
        return f"{counted} held-out questions" + (f" (`{split}`)" if several else "")
    if part.seen == UNSEEN:
        return f"{counted} questions of {report.source} (`{split}`), which was not trained on,"
    if part.seen:  # unseen modality (NAME)
        modality = part.seen.partition("(")[2].rstrip(")")
        return f"{counted} questions about {modality}, which was not trained on,"
    return f"{counted} questions of {report.source} (`{split}`)"


def _split_problems(report: EvalReport, split: str, part: SplitReport) -> Iterable[str]:
    system = report.systems[-1]
    result, where = part.results[system], f"On `{split}` of {report.source}"
    if part.stamp:
        yield f"Images of `{split}` of {report.source}: {part.stamp}."
    accuracy, floor = result.lenient, part.no_image_floor
    if accuracy and floor is not None and accuracy.by_image[0] <= floor:
        yield (
            f"{where} the {system} model does not clearly exceed {percent(floor)}, the accuracy of the most frequent "
            "training answers."
        )
    if result.unread >= MANY:
        yield f"{where} {percent(result.unread)} of the {system} model's completions have no readable answer."
    if result.truncated >= MANY:
        limit = f"{report.max_new_tokens:,} tokens"
        yield f"{where} {percent(result.truncated)} of the {system} model's completions were cut at {limit}."
    if part.questions < 30 or part.images < 10:
        yield f"{where} there are {part.questions} questions on {part.images} images: too few for a stable figure."


def _image_use(report: EvalReport, where: str) -> Verdict:
    """Whether the last system's answers depend on the image, by the control with the image of another group."""
    controls = report.controls.get(report.systems[-1])
    if controls is None or not controls.verdict:
        return Verdict((f"Whether {report.source} is answered from the image was not tested.",))
    change = _control_change(controls.shuffled)
    if controls.verdict.startswith("NO"):
        return Verdict(problems=(f"Nothing shows that the model uses the image{where}: with another image, {change}.",))
    return Verdict((f"The model uses the image{where}: with another image, {change}.",))


def _control_change(shuffled: ControlEffect | None) -> str:
    if shuffled and shuffled.lenient:
        return f"accuracy is {percent(shuffled.lenient.accuracy)} instead of {percent(shuffled.lenient.real)}"
    if shuffled and shuffled.reports:
        name, change = main_difference(shuffled.reports)
        return f"{LABELS[name]} is {percent(change.first)} instead of {percent(change.second)}"
    return "it was not measured"


def _abstaining(rollouts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rewards that had no value for most completions of the last step."""
    names = dict.fromkeys(name for row in rollouts for name in row.get("scores", {}))
    result = []
    for name in names:
        values = [row["scores"][name]["value"] for row in rollouts if name in row["scores"]]
        missing = sum(value is None for value in values)
        if missing > ABSTAINS * len(values):
            result.append(f"The reward `{name}` abstained on {missing} of {len(values)} completions of the last step.")
    return result


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
