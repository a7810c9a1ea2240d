"""The record of a distillation before it starts."""

from collections import Counter
from typing import Any

from lowmed import __version__
from lowmed.answer import RULES_VERSION
from lowmed.distillation import hints
from lowmed.distillation.data import DistilData
from lowmed.distillation.estimate import Prices, estimate
from lowmed.distillation.records import DistilRecord
from lowmed.distillation.teacher import OpenTeacher
from lowmed.plan.architecture import pixel_policy
from lowmed.sample import Sample


def new_record(
    teacher: OpenTeacher,
    data: DistilData,
    questions: tuple[Sample, ...],
    stored: Counter[str],
    *,
    samples: int,
    temperature: float,
    rationalize: bool,
    prices: Prices | None,
    **settings: Any,
) -> DistilRecord:
    """The record with settings and estimate.

    Args:
        teacher: the teacher.
        data: the data set.
        questions: the training questions to distill.
        stored: completions that are stored already, by the id of their question.
        samples: completions per question.
        temperature: sampling temperature.
        rationalize: whether questions without a kept completion are requested again with their answer.
        prices: per million prompt and completion tokens.
        settings: further fields of the record.
    """
    target = teacher.target
    tokens = target.eval.max_new_tokens
    policy = pixel_policy(target.model)
    return DistilRecord(
        teacher=teacher.identity,
        source=data.dataset.source,
        data_digest=data.dataset.digest,
        prompts=target.family.name,
        prompt_digest=target.family.digest,
        hint_digest=hints.DIGEST if rationalize else None,
        samples=samples,
        temperature=temperature,
        max_new_tokens=tokens,
        questions=len(questions),
        prices=prices,
        estimate=estimate(
            questions, target.family, policy, samples, tokens, rationalize=rationalize, stored=stored, prices=prices
        ),
        answer_rules=RULES_VERSION,
        lowmed=__version__,
        **settings,
    )
