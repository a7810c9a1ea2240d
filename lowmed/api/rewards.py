"""Describe the rewards, check those of a recipe, and calibrate an embedding model for them."""

import inspect
from dataclasses import asdict, dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowmed.recipe import Recipe
    from lowmed.rewards.check import RewardsReport
    from lowmed.rewards.embedding_calibration import EmbeddingCalibration
    from lowmed.rewards.local_code import RewardCode
    from lowmed.sample import Sample


@dataclass(frozen=True)
class OptionInfo:
    """One option of a reward: its name, the values that it takes, and its default."""

    name: str
    takes: str
    default: Any


@dataclass(frozen=True)
class RewardInfo:
    """The description of a reward.

    Attributes:
        name: the name to use in a recipe.
        summary: its formula, in one sentence.
        description: formula, source and limits.
        needs: its requirements with the default options, of `rewards.Need`.
        options: its options.
        format: version of the JSON form.
    """

    name: str
    summary: str
    description: str
    needs: tuple[str, ...]
    options: tuple[OptionInfo, ...]
    format: int = 1

    def as_json(self) -> dict[str, Any]:
        """The description as a JSON object."""
        return asdict(self)


def list_rewards() -> tuple[RewardInfo, ...]:
    """Describe every reward, in the order of the documentation."""
    from lowmed.rewards import REWARDS

    return tuple(map(describe_reward, REWARDS))


def describe_reward(name: str) -> RewardInfo:
    """Describe one reward.

    Raises:
        RecipeError: the reward is unknown.
    """
    from lowmed.methods import RewardSpec
    from lowmed.rewards import REWARDS, needs_of, registry

    options = tuple(
        OptionInfo(option, registry.type_name(hint), default)
        for option, (hint, default) in registry.options(name).items()
    )
    description = inspect.getdoc(REWARDS[name]) or ""
    needs = tuple(sorted(needs_of(RewardSpec(name=name))))
    return RewardInfo(name, description.splitlines()[0], description, needs, options)


def check_rewards(recipe: "Recipe") -> "RewardsReport":
    """Score gold completions, known hacks and texts without the image, and search for texts that earn too much.

    Raises:
        RecipeError: the recipe has no rewards, or a mistake in them; or one abstains on most training questions.
        DataError, SetupError: the data cannot be loaded.
        RunError: a reward raised an exception.
    """
    from lowmed import rewards
    from lowmed.api.preconditions import require_applicable_rewards
    from lowmed.errors import RecipeError
    from lowmed.rewards import check, search
    from lowmed.rewards.abstention import gold_subset

    if not recipe.method.reward_specs:
        raise RecipeError(
            "this recipe has no rewards", f"method.kind={recipe.method.kind}", "use a recipe whose method has rewards"
        )
    built = rewards.for_recipe(recipe)
    samples, family = _training_samples(recipe), recipe.prompts.training
    built = rewards.with_corpus(built, samples)
    require_applicable_rewards(recipe, built, samples)
    report = check.check_rewards(built, gold_subset(samples), family)
    searched = search.search_hacks(built, gold_subset(samples), family)
    return replace(report, search=searched, failures=(*report.failures, *searched.failures))


def reward_code(path: str | PathLike[str]) -> "RewardCode":
    """Read a file with custom rewards and the modules of its folder that it imports, without executing any.

    Raises:
        RecipeError: there is no such file, or one of them is no Python file of a normal size.
    """
    from lowmed.rewards.local_code import read_reward_code

    return read_reward_code(Path(fspath(path)), "the file with rewards")


def trust_reward(file: "RewardCode | str | PathLike[str]") -> str:
    """Allow a Python file to run as a custom reward on this machine, without a question, until its content changes.

    The modules of its folder that it imports are allowed too.

    Args:
        file: the file; read it and these modules first, because they run with all of your rights.

    Returns:
        The SHA-256 of its content.

    Raises:
        RecipeError: there is no such file, or it is no Python file of a normal size.
        SetupError: the list of approved files cannot be written.
    """
    from lowmed.rewards.local_code import RewardCode
    from lowmed.rewards.trust import approve

    code = file if isinstance(file, RewardCode) else reward_code(file)
    for read in code.files:
        approve(read)
    return code.main.digest


def calibrate_embedding(recipe: "Recipe", model: str, out: Path | None = None) -> "EmbeddingCalibration":
    """Calibrate an embedding model on the gold answers of a recipe's training data.

    Args:
        recipe: the recipe whose data are used.
        model: folder or hub repository of a sentence-transformers model.
        out: the file to write, for the option `calibration` of a reward; None writes nothing.

    Raises:
        DataError: the data cannot be loaded, or have too few different open answers.
        SetupError: the model cannot be loaded, or the file cannot be written.
    """
    from lowmed.files import disk_errors, require_own, write_json
    from lowmed.rewards import embedding_calibration

    if out is not None:
        require_own(out, '"pairs_of_one_question"')
    result = embedding_calibration.calibrate_embedding(_training_samples(recipe), model)
    if out is not None:
        with disk_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, result.as_json())
    return result


def _training_samples(recipe: "Recipe") -> "Sequence[Sample]":
    from lowmed.data import for_recipe

    return for_recipe(recipe).split.train
