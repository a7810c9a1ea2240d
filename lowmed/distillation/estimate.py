"""The record of a distillation before it starts: its settings, and how much it generates at most."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lowmed import __version__, prompt
from lowmed.answer import RULES_VERSION
from lowmed.data.image.policy import PixelPolicy, pixel_policy
from lowmed.distillation import hints
from lowmed.distillation.data import DistilData
from lowmed.distillation.records import DistilRecord, SamplingEstimate
from lowmed.distillation.teacher import OpenTeacher
from lowmed.plan.sequence_lengths import CHARACTERS_PER_TOKEN, TURN_TOKENS
from lowmed.sample import Sample

Prices = tuple[float, float]


def estimate(
    samples: Sequence[Sample],
    family: prompt.Family,
    policy: PixelPolicy,
    copies: int,
    max_new_tokens: int,
    *,
    rationalize: bool,
    stored: Counter[str],
    prices: Prices | None,
) -> SamplingEstimate:
    """Upper bounds on completions, tokens and cost; only a server's own count of tokens is exact.

    Args:
        samples: the questions.
        family: the prompts.
        policy: pixel policy of the images.
        copies: completions per question.
        max_new_tokens: completion limit.
        rationalize: whether questions without a kept completion are requested again with their answer.
        stored: completions that are stored already, by the id of their question.
        prices: per million prompt and completion tokens.
    """
    missing = {sample.id: max(0, copies - stored[sample.id]) for sample in samples}
    again = copies * len(samples) if rationalize else 0
    prompts = sum(missing[sample.id] * prompt_tokens(sample, family, policy) for sample in samples)
    if rationalize:
        prompts += copies * sum(prompt_tokens(hints.with_hint(sample), family, policy) for sample in samples)
    completions = (sum(missing.values()) + again) * max_new_tokens
    return SamplingEstimate(
        completions=sum(missing.values()),
        rationalized=again,
        prompt_tokens=prompts,
        completion_tokens=completions,
        cost=cost(prompts, completions, prices),
    )


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


def describe(record: DistilRecord) -> str:
    """What will be generated, where, and its price, as lines to print."""
    bounds, teacher = record.estimate, record.teacher
    done = record.samples * record.questions - bounds.completions
    where = f" at {teacher.host}" if teacher.host else ""
    lines = [f"teacher  {teacher.name}{where}, {record.questions:,} training questions of {record.source}"]
    lines.append(
        f"sample   {bounds.completions:,} completions"
        + (f", {done:,} are stored already" if done else "")
        + (f"; at most {bounds.rationalized:,} more with the answer shown" if bounds.rationalized else "")
    )
    if bounds.completion_tokens:
        price = "" if bounds.cost is None else f"; cost at most {bounds.cost:,.2f}"
        lines.append(
            f"tokens   about {bounds.prompt_tokens:,} in prompts, at most {bounds.completion_tokens:,} in "
            f"completions{price}"
        )
    return "\n".join(lines)


def cost(prompt_tokens: int, completion_tokens: int, prices: Prices | None) -> float | None:
    """The price of these tokens; None without prices."""
    return (prompt_tokens * prices[0] + completion_tokens * prices[1]) / 1e6 if prices else None


def prompt_tokens(sample: Sample, family: prompt.Family, policy: PixelPolicy) -> int:
    """The most tokens of a prompt: texts by a low number of characters per token, each image by its budget."""
    messages = prompt.build_messages(family, sample)
    characters = sum(len(part.get("text", "")) for message in messages for part in message["content"])
    return characters // CHARACTERS_PER_TOKEN + TURN_TOKENS * len(messages) + len(sample.images) * policy.most_tokens
