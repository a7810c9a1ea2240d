"""All that is asked about an image as one question, answered by one JSON object; and questions for some of its keys.

After Efficient Medical VIE (arXiv:2506.13363), which extracts a fixed schema and asks per query for a random subset of
its keys. Here the keys are the topics of the questions about an image, and the questions describe them.
"""

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lowmed.data.dataset import DataSet
from lowmed.sample import Sample

_HEAD = "Fill in one JSON object with these keys:"
_ONLY = "Give these keys alone:"


def as_json_task(data: DataSet) -> DataSet:
    """The data set with one `json` sample for the images of each sample, split by split.

    A question asked twice about the same images counts once. Split and group stay what they were.
    """
    return replace(data, splits={split: _gathered(split, samples) for split, samples in data.splits.items()})


def with_key_subset(sample: Sample, draw: random.Random) -> Sample:
    """The same sample asked for a random subset of its keys, at least one; the gold answer follows.

    Anything but an object with several keys is left as it is.
    """
    gold = json.loads(sample.answer) if sample.kind == "json" else None
    if not isinstance(gold, dict) or len(gold) < 2:
        return sample
    kept = set(draw.sample(sorted(gold), draw.randint(1, len(gold))))
    if len(kept) == len(gold):
        return sample
    answer = {key: value for key, value in gold.items() if key in kept}
    return replace(sample, question=_about(sample.question, gold, kept), answer=_json(answer))


def _gathered(split: str, samples: Sequence[Sample]) -> tuple[Sample, ...]:
    about: dict[tuple[str, ...], list[Sample]] = {}
    for sample in samples:
        about.setdefault(sample.images or (sample.id,), []).append(sample)
    return tuple(_one(split, own) for own in about.values())


def _one(split: str, samples: Sequence[Sample]) -> Sample:
    first = samples[0]
    asked = {sample.question: sample for sample in reversed(samples)}
    keyed = _keyed([asked[question] for question in dict.fromkeys(sample.question for sample in samples)])
    lines = [f"{_json(key)}: {_description(sample)}" for key, sample in keyed.items()]
    return replace(
        first,
        id=f"{split}:{'+'.join(first.images) or first.id}",
        question="\n".join([_HEAD, *lines]),
        answer=_json({key: _value(sample) for key, sample in keyed.items()}),
        kind="json",
        options=(),
        explanation=" ".join(dict.fromkeys(filter(None, (sample.explanation for sample in keyed.values())))),
        topic="",
    )


def _keyed(samples: Sequence[Sample]) -> dict[str, Sample]:
    """Each sample under its topic as a key; a topic that comes again is numbered from 2."""
    result: dict[str, Sample] = {}
    for sample in samples:
        topic = re.sub(r"\W+", "_", sample.topic.casefold()).strip("_") or "finding"
        key, number = topic, 1
        while key in result:
            number += 1
            key = f"{topic}_{number}"
        result[key] = sample
    return result


def _description(sample: Sample) -> str:
    question = " ".join(sample.question.split())
    return f"{question} (one of {', '.join(sample.options)})" if sample.options else question


def _value(sample: Sample) -> object:
    if sample.kind != "json":
        return sample.answer
    try:
        return json.loads(sample.answer)
    except ValueError:
        return sample.answer


def _about(question: str, gold: Mapping[str, object], kept: set[str]) -> str:
    """The question without the lines that describe the other keys; where it has none, the kept keys are named."""
    described = {key: f"{_json(key)}: " for key in gold}
    lines = question.split("\n")
    if all(any(line.startswith(head) for line in lines) for head in described.values()):
        others = tuple(head for key, head in described.items() if key not in kept)
        return "\n".join(line for line in lines if not line.startswith(others))
    return f"{question}\n{_ONLY} {', '.join(_json(key) for key in gold if key in kept)}."


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
