"""What is certainly wrong with a split, found without opening an image: for `check` and the trainers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lowmed import answer
from lowmed.errors import DataError
from lowmed.sample import Sample

FindingName = Literal["shared-images", "shared-groups", "unreadable-gold"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that makes training wrong: its name, by which a user may allow it, and what it is, for every table."""

    name: FindingName
    what: str


def find_problems(train: Sequence[Sample], held_out: Mapping[str, Sequence[Sample]]) -> tuple[Finding, ...]:
    """What is wrong between the samples trained on and those measured on, and with the gold answers of either.

    In a prepared folder an image's reference stands for its pixels, so that equal pixels are found by name.
    """
    result: list[Finding] = []
    images, groups = _images(train), {sample.group for sample in train}
    for name, samples in held_out.items():
        own = _images(samples)
        if shared := own & images:
            result.append(Finding("shared-images", f"{len(shared)} of {len(own)} {name} images are trained on"))
        own = {sample.group for sample in samples}
        if (shared := own & groups) and shared - images:
            result.append(Finding("shared-groups", f"{len(shared)} of {len(own)} {name} groups are trained on"))
    unread = [sample for part in (train, *held_out.values()) for sample in part if not reads_back(sample)]
    if unread:
        told = f"{len(unread)} gold answers do not read back as themselves (first: {unread[0].id})"
        result.append(Finding("unreadable-gold", told))
    return tuple(result)


def raise_unless_allowed(findings: Sequence[Finding], allowed: Collection[str] = ()) -> tuple[str, ...]:
    """What every later table must say, of the findings that the user allowed by name.

    Raises:
        DataError: there is a finding that was not allowed.
    """
    refused = [finding for finding in findings if finding.name not in allowed]
    if refused:
        raise DataError(
            "training on these data would be wrong",
            "\n".join(f"{finding.name}: {finding.what}" for finding in refused),
            "split by image (data.split_by=image), run `lowmed data audit DIR --resplit image`, or mend the rows",
        )
    return tuple(finding.what for finding in findings)


def reads_back(sample: Sample) -> bool:
    """Whether the gold answer, given as a completion, is read and graded as right."""
    said = sample.letter if sample.kind == "choice" else sample.answer
    read = answer.read(f"<answer>{said}</answer>", sample)
    return answer.grade(read, sample).strict_outcome == "correct"


def _images(samples: Sequence[Sample]) -> set[str]:
    return {image for sample in samples for image in sample.images}
