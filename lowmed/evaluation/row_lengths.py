"""Rows that cannot be learnt or answered because of their length in tokens.

A text has at most as many tokens as bytes in UTF-8. So the tokenizer is needed only for the few rows that are long in
bytes, and is loaded only if there are any.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lowmed import prompt
from lowmed.prompt import Family
from lowmed.sample import Sample

if TYPE_CHECKING:
    from lowmed.recipe import Recipe

MIN_CONTEXT = 8192  # tokens; every supported base has this context or a larger one
TEMPLATE_BYTES = 400  # a bound for the chat template around a prompt
CountTokens = Callable[[str], int]
Tokens = tuple[CountTokens, int]  # of a model: counts the tokens of a text; its context in tokens


def describe_row_lengths(
    recipe: "Recipe", train: Sequence[Sample], held_out: Sequence[Sample], load_tokens: Callable[[], Tokens | None]
) -> list[str]:
    """Lines about prompts, gold answers and reference completions that are too long; none if all fit.

    Args:
        recipe: the recipe, whose limits count.
        train: the questions to train on.
        held_out: the questions to evaluate on.
        load_tokens: loads the tokenizer of the recipe's model; returns None if it is not on this machine.
    """
    asking, training = recipe.prompts.asking, recipe.prompts.training
    longest = recipe.method.max_sampled_tokens
    checks = [
        _Check("held-out answers", "eval.max_new_tokens", recipe.eval.max_new_tokens, _shortest(held_out, asking)),
    ]
    if longest:
        answers = _shortest(train, training)
        checks.append(_Check("training answers", "method.max_completion_length", longest, answers))
    if recipe.method.with_completion:
        texts = ((sample, prompt.training_completion(training, sample) or "") for sample in train)
        checks.append(_Check("reference completions", "eval.max_new_tokens", recipe.eval.max_new_tokens, texts))
    suspects = [(check, check.longer_than_limit()) for check in checks]
    room = max(longest, recipe.eval.max_new_tokens)
    prompts = [
        (sample, text, images)
        for family, samples in ((training, train), (asking, held_out))
        for sample in samples
        for text, images in [_prompt(family, sample, recipe.model.max_image_tokens)]
        if len(text.encode()) + TEMPLATE_BYTES + images + room > MIN_CONTEXT
    ]
    if not prompts and not any(rows for _, rows in suspects):
        return []
    loaded = load_tokens()
    if loaded is None:
        count = len(prompts) + sum(len(rows) for _, rows in suspects)
        return [f"{count:,} long rows were not counted in tokens: the model's tokenizer is not on this machine"]
    tokens, context = loaded
    lines = [check.describe(rows, tokens) for check, rows in suspects]
    over = [sample for sample, text, images in prompts if tokens(text) + images + room > context]
    lines.append(_line(over, f"prompts and their completions need more than the model's {context:,} tokens"))
    return [line for line in lines if line]


class _Check:
    """A limit of tokens and the texts that it applies to."""

    def __init__(self, name: str, key: str, limit: int, texts: Iterable[tuple[Sample, str]]) -> None:
        self.name, self.key, self.limit, self.texts = name, key, limit, texts

    def longer_than_limit(self) -> list[tuple[Sample, str]]:
        """The texts with more bytes than the limit has tokens."""
        return [(sample, text) for sample, text in self.texts if len(text.encode()) > self.limit]

    def describe(self, texts: Sequence[tuple[Sample, str]], tokens: CountTokens) -> str:
        """A line about the texts with more tokens than the limit; "" if there are none."""
        over = [sample for sample, text in texts if tokens(text) > self.limit]
        return _line(over, f"{self.name} need more than the {self.limit} tokens of {self.key}")


def _line(samples: Sequence[Sample], what: str) -> str:
    return f"{len(samples):,} {what} (first: {samples[0].id})" if samples else ""


def _shortest(samples: Iterable[Sample], family: Family) -> Iterable[tuple[Sample, str]]:
    """The shortest right completion of each sample: its answer in tags, after the least reasoning."""
    return ((sample, prompt.reference_completion(family, replace(sample, explanation=".a"))) for sample in samples)


def _prompt(family: Family, sample: Sample, max_image_tokens: int) -> tuple[str, int]:
    """The texts of a prompt, and the most tokens of its images."""
    messages = prompt.build_messages(family, sample)
    texts = [part["text"] for message in messages for part in message["content"] if part["type"] == "text"]
    return "\n".join(texts), len(sample.images) * (max_image_tokens + 2)
