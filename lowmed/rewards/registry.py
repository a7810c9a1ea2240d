"""Rewards by name, built from a recipe with their options checked."""

import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from lowmed import judge as judges
from lowmed.errors import RecipeError
from lowmed.prompt import CompletionFormat
from lowmed.recipe import Recipe, RewardSpec
from lowmed.rewards import custom
from lowmed.rewards.accuracy import Accuracy
from lowmed.rewards.answer_follows import AnswerFollows
from lowmed.rewards.clinical import Clinical
from lowmed.rewards.consistency import Consistency
from lowmed.rewards.extraction import Extraction
from lowmed.rewards.format import Format
from lowmed.rewards.judge import JudgeReward
from lowmed.rewards.length import Chain, ChainIfCorrect, Overlong
from lowmed.rewards.modality import Modality
from lowmed.rewards.reasoning import Reasoning
from lowmed.rewards.repetition import Repetition
from lowmed.rewards.score import Reward
from lowmed.rewards.semantic import Semantic
from lowmed.rewards.weighted import Weighted

REWARDS: dict[str, Callable[..., Reward]] = {
    "accuracy": Accuracy,
    "format": Format,
    "reasoning": Reasoning,
    "semantic": Semantic,
    "chain": Chain,
    "chain_if_correct": ChainIfCorrect,
    "overlong": Overlong,
    "repetition": Repetition,
    "consistency": Consistency,
    "answer_follows": AnswerFollows,
    "modality": Modality,
    "extraction": Extraction,
    "judge": JudgeReward,
    "clinical": Clinical,
}

Spec = RewardSpec | tuple[str, float, Mapping[str, Any]]


def for_recipe(recipe: Recipe) -> list[Weighted]:
    """The rewards of a recipe, in its order, with the judge that they ask; none where it does not train by them.

    Raises:
        RecipeError: as `build`, or the judge is missing or was not found fit for rewards.
        SetupError: the judge's address is none.
    """
    specs = recipe.method.reward_specs
    judge = judges.judge_for_rewards(recipe.judge, [spec.name for spec in specs])
    completion_format = recipe.prompts.training.completion_format
    return build(specs, completion_format, judge=judge, max_new_tokens=recipe.method.max_sampled_tokens)


def build(
    specs: Sequence[Spec],
    completion_format: CompletionFormat = "think_answer",
    *,
    judge: object | None = None,
    max_new_tokens: int = 256,
) -> list[Weighted]:
    """The rewards of a recipe, in its order.

    Args:
        specs: `method.rewards`, or (name, weight, options) of each.
        completion_format: the form that the prompts ask for.
        judge: who is asked by the rewards that need a judge.
        max_new_tokens: the length at which a completion is cut.

    Raises:
        RecipeError: a name or an option is unknown, an option has a wrong value, a reward is named twice, or it needs
            a judge and there is none.
    """
    given = {"completion_format": completion_format, "judge": judge, "max_new_tokens": max_new_tokens}
    wanted = [
        spec if isinstance(spec, RewardSpec) else RewardSpec(name=spec[0], weight=spec[1], **spec[2]) for spec in specs
    ]
    names = [spec.name for spec in wanted]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"the reward `{name}` is named twice", "method.rewards", "name it once, with one weight")
    return [Weighted(spec.name, spec.weight, _reward(spec.name, spec.options, given), spec.gate) for spec in wanted]


def options(name: str) -> dict[str, tuple[Any, Any]]:
    """The options of a reward that a recipe may set: type and default of each.

    Raises:
        RecipeError: there is no such reward.
    """
    if name not in REWARDS:
        raise RecipeError(f"there is no reward `{name}`", "method.rewards", _instead(name, list(REWARDS)))
    constructor = REWARDS[name]
    hints = {option: hint for option, hint in get_type_hints(constructor).items() if get_origin(hint) is not ClassVar}
    fields = getattr(constructor, "__dataclass_fields__", {})
    return {option: (hint, fields[option].default) for option, hint in hints.items() if option != "judge"}


def _reward(name: str, chosen: Mapping[str, Any], given: Mapping[str, Any]) -> Reward:
    where = f"method.rewards, {name}"
    known = {} if custom.named(name) else options(name)
    for option, value in chosen.items():
        if option not in known:
            fix = _instead(option, list(known)) if known else f"leave it out: `{name}` has no options"
            raise RecipeError(f"the reward `{name}` has no option `{option}`", where, fix)
        hint = known[option][0]
        if not _fits(value, hint):
            raise RecipeError(f"the option `{option}` cannot be {value!r}", where, f"use {type_name(hint)}")
    if custom.named(name):
        return custom.load(name)
    constructor = REWARDS[name]
    fields = getattr(constructor, "__dataclass_fields__", {})
    if "judge" in fields and given["judge"] is None:
        raise RecipeError(
            f"the reward `{name}` asks a judge, and there is none",
            where,
            "set judge.url, judge.model and judge.calibration (`lowmed judge calibrate`), or leave the reward out",
        )
    injected = {option: value for option, value in given.items() if option in fields}
    try:
        return constructor(**{**injected, **chosen})
    except ValueError as error:
        raise RecipeError(f"the reward `{name}` cannot be set up: {error}", where, "correct the option") from error


def _fits(value: object, hint: Any) -> bool:
    if isinstance(hint, UnionType):
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return type(value) is hint


def type_name(hint: Any) -> str:
    """What values an option takes, in words."""
    if isinstance(hint, UnionType):
        return " or ".join(type_name(one) for one in get_args(hint))
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    return {
        bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "nothing",
    }[hint]  # fmt: skip


def _instead(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"use one of {', '.join(known)}"
