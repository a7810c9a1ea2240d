"""What the controls say: the same questions, asked with and without what the image shows."""

from collections.abc import Mapping, Sequence
from typing import Any

from lowmed.evaluate.intervals import clustered, wilson
from lowmed.evaluate.metrics import correct_flags, mean

Row = Mapping[str, Any]


def effect(real: Sequence[Row], control: Sequence[Row]) -> dict[str, Any]:
    """A control's figures beside those of the real completions to the same questions; all rows scored.

    `lost` is real minus control accuracy with its paired interval by image: for the shuffled image it is the visual
    reliance (VRS of arXiv:2603.03437), and an interval that reaches 0 shows no use of the image. `changed` is the share
    of questions whose answer as read is another one.
    """
    before = {(row["split"], row["id"]): row for row in real}
    pairs = [(before[row["split"], row["id"]], row) for row in control]
    result: dict[str, Any] = {"questions": len(pairs)}
    if not pairs:
        return result
    groups = [one["group"] for one, _ in pairs]
    for name, field in (("strict", "strict_outcome"), ("lenient", "outcome")):
        was, now = correct_flags([one for one, _ in pairs], field), correct_flags([other for _, other in pairs], field)
        lost = [a - b for a, b in zip(was, now, strict=True)]
        result[name] = {
            "real": mean(was),
            "accuracy": mean(now),
            "wilson": wilson(round(sum(now)), len(now)),
            "lost": mean(lost),
            "lost_by_image": clustered(lost, groups),
        }
    result["changed"] = mean([one["parsed"] != other["parsed"] for one, other in pairs])
    result["unread"] = mean([other["outcome"] == "unread" for _, other in pairs])
    return result


def verdict(controls: Mapping[str, Mapping[str, Any]]) -> str:
    """Whether the model's answers depend on the image, in one sentence, from the shuffled control; "" without it."""
    result = controls.get("shuffled", {})
    if not result.get("questions"):
        return ""
    score = result["lenient"]
    low, high = score["lost_by_image"]
    shown = f"another picture costs {score['lost']:+.3f} [{low:+.3f}, {high:+.3f}] accuracy"
    if low > 0:
        return f"the image is used: {shown}"
    return f"NO EVIDENCE THAT THE IMAGE IS USED: {shown}"
