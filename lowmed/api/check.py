"""Check a recipe before training: everything that needs neither a GPU nor the model's weights."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from lowmed.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowmed.data.dataset import RejectedRow
    from lowmed.data.split import DataSplit
    from lowmed.recipe import Recipe
    from lowmed.rewards.abstention import Abstention
    from lowmed.rewards.check import RewardsReport
    from lowmed.sample import Sample

IMAGES_OPENED = 32
MODEL = "whether model.name can be loaded, and its number of text tokens: it is not on this machine"
WEIGHTS = "the weights of model.name; its other files were read, with one question"
NOT_CHECKED = (
    "memory and time on a GPU: the figures are estimates, not measurements",
    f"images beyond the first {IMAGES_OPENED}, unless the source opens every image when it is loaded",
)


@dataclass(frozen=True)
class ImageCheck:
    """The first training images under the recipe's pixel policy; sizes in tokens."""

    opened: int
    most_tokens: int
    budget: int


@dataclass(frozen=True)
class CheckReport:
    """The result of `check`.

    Attributes:
        recipe_digest: digest of the recipe.
        data: rows, images and kinds of the data set, as lines.
        split: one line for each part of the split.
        draws: what is drawn from each data set, as lines.
        start: held-out parts that the starting adapter was trained on, as lines.
        dev: the evaluation during training, as lines; empty without one.
        allowed: problems of the split that the recipe allows by name.
        abstaining: rewards that abstain on most training questions, which the recipe allows by name.
        rejected: rows of the source that cannot be used.
        difficulty: effect of the difficulty filter, as lines; empty if the recipe has no difficulty file.
        preferences: the pairs or labeled completions, as lines; empty for methods without them.
        explanations: the questions that SFT leaves out because they have no explanation, as lines; and whether the SFT
            rounds of a bridge can use the data.
        lengths: prompts, gold answers and reference completions that are too long in tokens, as lines.
        images: tokens of the first training images.
        memory: the GPUs on which the run is estimated to fit, as lines.
        rewards: the report of `lowmed rewards check`; None if the method has no rewards.
        gold_drawn_from: number of training questions if `rewards` is about a random subset of them, else None.
        verdict: the result in words.
        not_checked: what only a GPU or the model's weights can show.
    """

    recipe_digest: str
    data: tuple[str, ...]
    split: tuple[str, ...]
    draws: tuple[str, ...]
    start: tuple[str, ...]
    dev: tuple[str, ...]
    allowed: tuple[str, ...]
    abstaining: "tuple[Abstention, ...]"
    rejected: "tuple[RejectedRow, ...]"
    difficulty: tuple[str, ...]
    preferences: tuple[str, ...]
    explanations: tuple[str, ...]
    lengths: tuple[str, ...]
    images: ImageCheck
    memory: tuple[str, ...]
    rewards: "RewardsReport | None"
    gold_drawn_from: int | None
    verdict: Literal["ready to train", "the rewards do not hold"]
    not_checked: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether training may start."""
        return self.verdict == "ready to train"

    def as_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return asdict(self)


def check(recipe: "Recipe", *, processes: int = 1, progress: Progress = silent) -> CheckReport:
    """Run the checks of a recipe that training runs too, in the same order.

    Args:
        recipe: the recipe to check.
        processes: number of processes that will train.
        progress: shows the preparation of a data set that is not cached yet.

    Raises:
        RecipeError, DataError, SetupError: the same error that training would raise.
    """
    from lowmed.api.preconditions import (
        require_applicable_rewards,
        require_readable_data,
        require_readable_question,
        require_trainable,
        require_usable_preferences,
    )
    from lowmed.data import for_recipe
    from lowmed.data.draws import describe_draws
    from lowmed.data.run_identity import rows_of_start, warnings_of_start
    from lowmed.evaluation import dev
    from lowmed.evaluation.split_size import describe_split
    from lowmed.rewards import with_corpus
    from lowmed.rewards.abstention import gold_subset
    from lowmed.rewards.check import check_rewards

    built = require_trainable(recipe, processes)
    data = for_recipe(recipe, progress=progress)
    require_readable_data(recipe, data.split)
    preferences = (*data.preferences, *require_usable_preferences(recipe, data.split))
    read = require_readable_question(recipe, data.split, local_only=True)
    recipe = recipe.with_steps_for(len(data.split.drawn))
    built = with_corpus(built, data.split.train)
    abstaining = require_applicable_rewards(recipe, built, data.split.train)
    gold = gold_subset(data.split.train)
    reward_report = check_rewards(built, gold, recipe.prompts.training) if built else None
    by_start = warnings_of_start(rows_of_start(recipe.lora.start), data.split)
    return CheckReport(
        recipe_digest=recipe.digest,
        data=data.description,
        split=tuple(describe_split(data.split)),
        draws=tuple(describe_draws(recipe, data.split)),
        start=tuple(f"{part}: {warning}" for part, warning in by_start.items()),
        dev=tuple(dev.describe(recipe, data.split)),
        allowed=data.allowed,
        abstaining=abstaining,
        rejected=data.rejected,
        difficulty=data.filter_effect,
        preferences=preferences,
        explanations=(*data.unexplained_lines, *_bridge_lines(recipe, data.split.train)),
        lengths=_row_lengths(recipe, data.split),
        images=_image_check(recipe, data.split),
        memory=_memory_lines(recipe, processes),
        rewards=reward_report,
        gold_drawn_from=len(data.split.train) if len(gold) < len(data.split.train) else None,
        verdict="the rewards do not hold" if reward_report and reward_report.failures else "ready to train",
        not_checked=_not_checked(recipe, read),
    )


def _not_checked(recipe: "Recipe", read: bool) -> tuple[str, ...]:
    """What only a GPU or the model's weights can show. The weights of nano ship with lowmed."""
    if recipe.model.name == "nano":
        return NOT_CHECKED
    return (WEIGHTS if read else MODEL, *NOT_CHECKED)


def _bridge_lines(recipe: "Recipe", samples: "Sequence[Sample]") -> tuple[str, ...]:
    """Whether the SFT rounds of a bridge can use the data. GRPO alone does not need that, so it is not an error."""
    from lowmed.data.explanations import keep_trainable
    from lowmed.errors import RecipeError
    from lowmed.evaluation.bridge_rule import stage_recipe

    if recipe.bridge is None:
        return ()
    try:
        kept = keep_trainable(samples, stage_recipe(recipe, "sft", None))
    except RecipeError as error:
        return (f"`lowmed bridge` refuses these data: {error.what}", f"fix: {error.fix}")
    return (f"SFT rounds of `lowmed bridge` train on {len(kept):,} of {len(samples):,} questions",)


def _row_lengths(recipe: "Recipe", data_split: "DataSplit") -> tuple[str, ...]:
    from lowmed.engine.tokenizer import local_tokens
    from lowmed.evaluation.row_lengths import describe_row_lengths

    held_out = [sample for part in data_split.held_out.values() for sample in part]
    return tuple(describe_row_lengths(recipe, data_split.train, held_out, lambda: local_tokens(recipe.model)))


def _image_check(recipe: "Recipe", data_split: "DataSplit") -> ImageCheck:
    from lowmed.data.image.policy import image_tokens, pixel_policy

    policy = pixel_policy(recipe.model)
    first = list(dict.fromkeys(image for sample in data_split.train for image in sample.images))[:IMAGES_OPENED]
    tokens = [image_tokens(*data_split.open_image(image).size, policy) for image in first]
    return ImageCheck(len(tokens), max(tokens, default=0), policy.most_tokens)


def _memory_lines(recipe: "Recipe", processes: int) -> tuple[str, ...]:
    from lowmed.errors import SetupError
    from lowmed.plan.formatting import verdict_lines

    try:
        return tuple(verdict_lines(recipe, shards=processes if recipe.model.shard != "none" else 1))
    except SetupError as error:  # the model's config is neither in the tables nor on disk, and is not downloaded
        return (f"not estimated: {error.what}",)
