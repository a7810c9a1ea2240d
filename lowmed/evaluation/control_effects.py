"""Effect of the controls: accuracy on the same questions with the real and with an altered input."""

from collections.abc import Mapping, Sequence
from typing import Any

from lowmed.evaluation.intervals import difference_interval, mean_interval
from lowmed.evaluation.metrics import correct_flags, groups_of, mean, right_or_wrong
from lowmed.evaluation.paired_tests import LEVEL, sign_flip
from lowmed.evaluation.records import ControlAccuracy, ControlEffect, ScoreDifference
from lowmed.evaluation.report_difference import main_difference, report_difference

Row = Mapping[str, Any]


def control_effect(real: Sequence[Row], control: Sequence[Row]) -> ControlEffect:
    """Compare a control's scored rows with the real completions of the same questions.

    The effect is real minus control accuracy with a paired interval over images. For the shuffled image it is visual
    reliance (VRS of arXiv:2603.03437); an interval that includes 0 shows no use of the image.
    """
    real_by_question = {(row["split"], row["id"]): row for row in real}
    pairs = [(real_by_question[row["split"], row["id"]], row) for row in control]
    if not pairs:
        return ControlEffect(questions=0)
    answered = [pair for pair in pairs if right_or_wrong(pair[:1])]
    reports = report_difference([after for _, after in pairs], [before for before, _ in pairs])
    return ControlEffect(
        questions=len(pairs),
        strict=_control_accuracy(answered, "strict_outcome") if answered else None,
        lenient=_control_accuracy(answered, "outcome") if answered else None,
        **({"reports": reports} if reports else {}),
        changed=mean([before["parsed"] != after["parsed"] for before, after in pairs]),
        unread=mean([after["outcome"] == "unread" for _, after in pairs]),
    )


def _control_accuracy(pairs: Sequence[tuple[Row, Row]], field: str) -> ControlAccuracy:
    before = correct_flags([row for row, _ in pairs], field)
    after = correct_flags([row for _, row in pairs], field)
    changes = [round(a - b) for a, b in zip(before, after, strict=True)]
    groups = groups_of([row for row, _ in pairs])
    return ControlAccuracy(
        real=mean(before),
        accuracy=mean(after),
        by_image=mean_interval(after, groups),
        effect=mean(changes),
        effect_by_image=difference_interval(changes, groups),
        p_by_image=sign_flip(changes, groups),
    )


def verdict(shuffled: ControlEffect | None) -> str:
    """Whether the answers depend on the image, in one sentence; empty without the shuffled control.

    Reports alone are decided by the F1 of their findings, or by ROUGE-L if no reference states findings.
    """
    if shuffled is None:
        return ""
    if shuffled.lenient is None:
        return _report_verdict(shuffled.reports or {})
    score = shuffled.lenient
    low, high = score.effect_by_image
    drop = f"another image costs {score.effect:+.3f} [{low:+.3f}, {high:+.3f}] accuracy"
    if low > 0 and score.p_by_image < LEVEL:
        return f"the image is used: {drop}"
    return f"NO EVIDENCE THAT THE IMAGE IS USED: {drop}"


def _report_verdict(differences: Mapping[str, ScoreDifference]) -> str:
    if not differences:
        return ""
    name, change = main_difference(differences)
    low, high = change.by_image
    figure = {"f1": "F1 of findings", "rouge_l": "ROUGE-L"}[name]
    drop = f"another image costs {change.difference:+.3f} [{low:+.3f}, {high:+.3f}] {figure}"
    if low > 0 and change.p_by_image < LEVEL:
        return f"the image is used: {drop}"
    return f"NO EVIDENCE THAT THE IMAGE IS USED: {drop}"
