"""Rewards by name: their options, their needs, and how a recipe's rewards are built."""

import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from lowmed import judge as judges
from lowmed.errors import RecipeError
from lowmed.judge import Rubric
from lowmed.methods import RewardSpec
from lowmed.prompt import CompletionFormat
from lowmed.recipe import Recipe
from lowmed.rewards import custom
from lowmed.rewards.accuracy import Accuracy
from lowmed.rewards.answer_follows import AnswerFollows
from lowmed.rewards.boxes import Boxes, BoxIou
from lowmed.rewards.clinical import Clinical
from lowmed.rewards.consistency import Consistency
from lowmed.rewards.extraction import Extraction
from lowmed.rewards.format import Format
from lowmed.rewards.image_dependence import ImageDependence
from lowmed.rewards.judge import JudgeReward
from lowmed.rewards.length import Chain, ChainIfCorrect, Overlong
from lowmed.rewards.majority import Majority
from lowmed.rewards.modality import Modality
from lowmed.rewards.reasoning import Reasoning
from lowmed.rewards.repetition import Repetition
from lowmed.rewards.report_findings import ReportFindings
from lowmed.rewards.report_overlap import ReportOverlap
from lowmed.rewards.score import Need, Reward
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
    "image_dependence": ImageDependence,
    "majority": Majority,
    "modality": Modality,
    "extraction": Extraction,
    "report_overlap": ReportOverlap,
    "report_findings": ReportFindings,
    "boxes": Boxes,
    "box_iou": BoxIou,
    "judge": JudgeReward,
    "clinical": Clinical,
}

Spec = RewardSpec | tuple[str, float, Mapping[str, Any]]  # a tuple is (name, weight, options)


def for_recipe(recipe: Recipe) -> list[Weighted]:
    """Build the rewards of a recipe, in its order, with its judge; empty if its method uses no rewards.

    Raises:
        RecipeError: as `build`, or a reward needs a judge and the judge is missing or did not pass its calibration.
        SetupError: the URL of the judge is invalid.
    """
    specs = recipe.method.reward_specs
    judge = judges.judge_for_rewards(recipe.judge, _rubrics(specs))
    completion_format = recipe.prompts.training.completion_format
    return build(specs, completion_format, judge=judge, max_new_tokens=recipe.method.max_sampled_tokens)


def needs(recipe: Recipe) -> frozenset[Need]:
    """Requirements of all rewards of a recipe."""
    return frozenset(need for spec in recipe.method.reward_specs for need in needs_of(spec))


def needs_of(spec: RewardSpec) -> frozenset[Need]:
    """Requirements of one reward with its options: its `needs_with(options)`, or else its attribute `needs`."""
    constructor = REWARDS.get(spec.name)
    with_options: Callable[[Mapping[str, Any]], frozenset[Need]] | None = getattr(constructor, "needs_with", None)
    fixed: frozenset[Need] = getattr(constructor, "needs", frozenset())
    return with_options(spec.options) if with_options else fixed


def build(
    specs: Sequence[Spec],
    completion_format: CompletionFormat = "think_answer",
    *,
    judge: object | None = None,
    max_new_tokens: int = 256,
) -> list[Weighted]:
    """Build rewards, in the order of `specs`.

    Args:
        specs: `method.rewards` of a recipe, or (name, weight, options) of each reward.
        completion_format: the form of completion that the prompts request.
        judge: the judge for rewards that need one.
        max_new_tokens: the length at which completions are truncated, in tokens.

    Raises:
        RecipeError: a reward is unknown or named twice, an option is unknown or has a wrong value, a reward needs a
            judge and there is none, or the user has not approved the file of a custom reward.
    """
    rewards = [_as_spec(spec) for spec in specs]
    _require_distinct(rewards)
    for spec in rewards:  # all of them before a custom reward is executed
        _require_valid_options(spec)
        _require_judge(spec, judge)
    require_trusted(rewards)
    settings = {"completion_format": completion_format, "judge": judge, "max_new_tokens": max_new_tokens}
    return [Weighted(spec.name, spec.weight, _construct(spec, settings), spec.gate, needs_of(spec)) for spec in rewards]


def require_trusted(specs: Sequence[RewardSpec]) -> None:
    """Check that the user has approved the files of all custom rewards, without executing one.

    Raises:
        RecipeError: a file is missing, has not been approved on this machine, or has changed since.
    """
    for spec in specs:
        if custom.is_custom(spec.name):
            custom.require_trusted(spec.name)


def code_digests(rewards: Sequence[Weighted]) -> list[dict[str, str]]:
    """The SHA-256 of the files of each custom reward: the file, and the modules of its folder that it imports."""
    return custom.code_digests([weighted.reward for weighted in rewards])


def code_changes(recorded: Sequence[Mapping[str, str]], specs: Sequence[RewardSpec]) -> list[str]:
    """How the code of custom rewards differs from that of a run, one line a file; nothing is executed.

    Args:
        recorded: the run's `code_digests`.
        specs: `method.rewards` of its recipe.
    """
    return custom.code_changes(recorded, [spec.name for spec in specs if custom.is_custom(spec.name)])


def options(name: str) -> dict[str, tuple[Any, Any]]:
    """The options of a reward that a recipe may set: type and default of each.

    Raises:
        RecipeError: the reward is unknown.
    """
    if name not in REWARDS:
        raise RecipeError(f"there is no reward `{name}`", "method.rewards", _suggestion(name, list(REWARDS)))
    constructor = REWARDS[name]
    hints = {option: hint for option, hint in get_type_hints(constructor).items() if get_origin(hint) is not ClassVar}
    fields = getattr(constructor, "__dataclass_fields__", {})
    return {
        option: (hint, fields[option].default) for option, hint in hints.items() if option not in ("judge", "corpus")
    }


def type_name(hint: Any) -> str:
    """The values that an option takes, in words."""
    if isinstance(hint, UnionType):
        return " or ".join(type_name(member) for member in get_args(hint))
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "nothing"}
    return names[hint]


def _as_spec(spec: Spec) -> RewardSpec:
    return spec if isinstance(spec, RewardSpec) else RewardSpec(name=spec[0], weight=spec[1], **spec[2])


def _rubrics(specs: Sequence[RewardSpec]) -> dict[str, Rubric]:
    """The rubric of each reward that needs a judge, by the name of the reward."""
    judged = [spec.name for spec in specs if "judge" in needs_of(spec)]
    return {name: getattr(REWARDS[name], "rubric") for name in judged}  # noqa: B009  not an attribute of every Reward


def _require_distinct(specs: Sequence[RewardSpec]) -> None:
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"the reward `{name}` is named twice", "method.rewards", "name it once, with one weight")


def _require_valid_options(spec: RewardSpec) -> None:
    known = {} if custom.is_custom(spec.name) else options(spec.name)
    where = f"method.rewards, {spec.name}"
    for option, value in spec.options.items():
        if option not in known:
            fix = _suggestion(option, list(known)) if known else f"leave it out: `{spec.name}` has no options"
            raise RecipeError(f"the reward `{spec.name}` has no option `{option}`", where, fix)
        hint = known[option][0]
        if not _fits(value, hint):
            raise RecipeError(f"the option `{option}` cannot be {value!r}", where, f"use {type_name(hint)}")


def _require_judge(spec: RewardSpec, judge: object | None) -> None:
    if "judge" in needs_of(spec) and judge is None:
        raise RecipeError(
            f"the reward `{spec.name}` needs a judge, and the recipe has none",
            f"method.rewards, {spec.name}",
            "set judge.url, judge.model and judge.calibration (`lowmed judge calibrate`), or leave the reward out",
        )


def _construct(spec: RewardSpec, settings: Mapping[str, object]) -> Reward:
    if custom.is_custom(spec.name):
        return custom.load(spec.name)
    constructor = REWARDS[spec.name]
    fields = getattr(constructor, "__dataclass_fields__", {})
    from_recipe = {name: value for name, value in settings.items() if name in fields}
    try:
        return constructor(**{**from_recipe, **spec.options})
    except ValueError as error:
        raise RecipeError(
            f"the reward `{spec.name}` cannot be set up: {error}", f"method.rewards, {spec.name}", "correct the option"
        ) from error


def _fits(value: object, hint: Any) -> bool:
    if isinstance(hint, UnionType):
        return any(_fits(value, member) for member in get_args(hint))
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return type(value) is hint


def _suggestion(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"use one of {', '.join(known)}"
