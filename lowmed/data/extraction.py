"""Merge all questions about an image into one question with a JSON answer, and sample subsets of its keys.

After Efficient Medical VIE (arXiv:2506.13363), which extracts a fixed schema and draws a random subset of its keys per
query. Here the keys are the topics of the questions about an image, and the questions describe them.
"""

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lowmed.answer import normalize
from lowmed.data.dataset import DataSet
from lowmed.errors import DataError
from lowmed.prompt.json_question import json_question, key_head
from lowmed.sample import Sample

_ONLY = "Give these keys alone:"


def as_json_task(data: DataSet) -> DataSet:
    """The data set with one `json` sample for each distinct set of images, in each split.

    A repeated question about the same images counts once. Splits and groups do not change, and questions of merged data
    sets stay apart.

    Raises:
        DataError: a question has earlier turns, without which it may mean something else.
    """
    later = next((sample for sample in data.samples if sample.history), None)
    if later is not None:
        raise DataError(
            "questions with earlier turns cannot be merged into one JSON question",
            f"data.task=extraction, {data.source}, {later.id}",
            "prepare the data without earlier turns: lowmed data prepare ... --map history=",
        )
    splits = {
        split: _merge_by_images(split, samples, by_source=bool(data.merged)) for split, samples in data.splits.items()
    }
    return replace(data, splits=splits)


def with_key_subset(sample: Sample, draw: random.Random) -> Sample:
    """The sample with a random subset of its keys, at least one, in question and gold answer.

    A sample whose answer is not an object with several keys is returned unchanged.
    """
    gold = json.loads(sample.answer) if sample.kind == "json" else None
    if not isinstance(gold, dict) or len(gold) < 2:
        return sample
    kept = set(draw.sample(sorted(gold), draw.randint(1, len(gold))))
    if len(kept) == len(gold):
        return sample
    answer = {key: value for key, value in gold.items() if key in kept}
    return replace(sample, question=_question_about(sample.question, gold, kept), answer=_json(answer))


def _merge_by_images(split: str, samples: Sequence[Sample], *, by_source: bool) -> tuple[Sample, ...]:
    by_images: dict[tuple[str, tuple[str, ...]], list[Sample]] = {}
    for sample in samples:
        prefix = f"{sample.source}:{split}" if by_source else split
        by_images.setdefault((prefix, sample.images or (sample.id,)), []).append(sample)
    return tuple(_merge(prefix, group) for (prefix, _), group in by_images.items())


def _merge(prefix: str, samples: Sequence[Sample]) -> Sample:
    first = samples[0]
    by_question = {sample.question: sample for sample in reversed(samples)}
    keyed = _by_key([by_question[question] for question in dict.fromkeys(sample.question for sample in samples)])
    return replace(
        first,
        id=f"{prefix}:{'+'.join(first.images) or first.id}",
        question=json_question({key: _description(sample) for key, sample in keyed.items()}),
        answer=_json({key: _value(sample) for key, sample in keyed.items()}),
        kind="json",
        options=(),
        explanation=" ".join(dict.fromkeys(filter(None, (sample.explanation for sample in keyed.values())))),
        topic="",
    )


def _by_key(samples: Sequence[Sample]) -> dict[str, Sample]:
    """Each sample by its topic as a key; topics with one normal form are numbered from 2."""
    keyed: dict[str, Sample] = {}
    normal_keys: set[str] = set()
    for sample in samples:
        topic = re.sub(r"\W+", "_", sample.topic.casefold()).strip("_") or "finding"
        key, number = topic, 1
        while normalize(key) in normal_keys:
            number += 1
            key = f"{topic}_{number}"
        normal_keys.add(normalize(key))
        keyed[key] = sample
    return keyed


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


def _question_about(question: str, gold: Mapping[str, object], kept: set[str]) -> str:
    """The question without the lines of the other keys; if it has no such lines, the kept keys are added by name."""
    described = {key: key_head(key) for key in gold}
    lines = question.split("\n")
    if all(any(line.startswith(head) for line in lines) for head in described.values()):
        others = tuple(head for key, head in described.items() if key not in kept)
        return "\n".join(line for line in lines if not line.startswith(others))
    return f"{question}\n{_ONLY} {', '.join(_json(key) for key in gold if key in kept)}."


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
