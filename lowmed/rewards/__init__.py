"""What a completion earns, one idea a file: pure, one sample at a time; None has nothing to say, 0 is a verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args, get_type_hints

from lowmed.errors import RecipeError, RunError
from lowmed.prompt import ReplyForm
from lowmed.rewards.accuracy import Accuracy
from lowmed.rewards.format import Format
from lowmed.rewards.reasoning import Reasoning
from lowmed.rewards.score import Reward, Score
from lowmed.sample import Sample

__all__ = ["REWARDS", "Reward", "Score", "Weighted", "build"]

REWARDS: dict[str, Callable[..., Reward]] = {"accuracy": Accuracy, "format": Format, "reasoning": Reasoning}


@dataclass(frozen=True)
class Weighted:
    """A reward under its name, with its weight."""

    name: str
    weight: float
    reward: Reward

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion.

        Raises:
            RunError: the reward failed; a failure is never a score.
        """
        try:
            return self.reward(sample, completion)
        except Exception as error:
            raise RunError(
                f"the reward `{self.name}` failed: {type(error).__name__}: {error}",
                f"sample {sample.id}, completion {completion[:80]!r}",
                "correct the reward, or leave it out of method.rewards",
            ) from error


def build(
    specs: Sequence[tuple[str, float, Mapping[str, object]]], reply: ReplyForm = "think_answer"
) -> list[Weighted]:
    """The rewards of a recipe, from name, weight and options; `reply` is the form that the prompts ask for.

    Raises:
        RecipeError: a name or an option is unknown, or an option has a wrong value.
    """
    return [Weighted(name, weight, _reward(name, options, reply)) for name, weight, options in specs]


def _reward(name: str, options: Mapping[str, object], reply: ReplyForm) -> Reward:
    constructor = REWARDS.get(name)
    if constructor is None:
        raise RecipeError(f"there is no reward `{name}`", "method.rewards", _instead(name, list(REWARDS)))
    known = get_type_hints(constructor)
    for option, value in options.items():
        if option not in known:
            fix = _instead(option, list(known)) if known else f"leave it out: `{name}` has no options"
            raise RecipeError(f"the reward `{name}` has no option `{option}`", f"method.rewards, {name}", fix)
        if not _fits(value, known[option]):
            fix = "use true or false" if known[option] is bool else f"use one of {', '.join(get_args(known[option]))}"
            raise RecipeError(f"the option `{option}` cannot be {value!r}", f"method.rewards, {name}", fix)
    return constructor(**({"reply": reply, **options} if "reply" in known else options))


def _fits(value: object, hint: Any) -> bool:
    return isinstance(value, bool) if hint is bool else value in get_args(hint)


def _instead(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"use one of {', '.join(known)}"
