"""What training requires of a recipe and its data. `check`, `train` and `bridge` share it, so that they agree."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowmed.data.split import DataSplit
    from lowmed.errors import RecipeError
    from lowmed.methods import MethodSpec
    from lowmed.recipe import Recipe
    from lowmed.rewards import Weighted
    from lowmed.rewards.abstention import Abstention
    from lowmed.run import Run
    from lowmed.sample import Sample

# What the training questions lack if a reward abstains on them, as part of a fix.
_NEEDED_DATA = {
    "reasoning": "use data with explanations, or a judge of the reasoning (the reward `clinical`)",
    "extraction": "ask for JSON: data.task=extraction",
    "boxes": "use data with boxes, e.g. data.source=slake-boxes",
    "box_iou": "use data with boxes, e.g. data.source=slake-boxes",
    "report_overlap": "use data with reports, e.g. data.source=iu-xray",
    "report_findings": "use data with reports, e.g. data.source=iu-xray",
    "semantic": "use data with open questions",
    "modality": "use data that state the modality",
}


def require_trainable(recipe: "Recipe", count: int | None = None) -> "list[Weighted]":
    """Check everything but the data: rewards, rollouts, model family, the adapter to start from, and the tracker.

    Args:
        recipe: the recipe.
        count: number of processes that train; None for that of this command.

    Returns:
        The recipe's rewards.

    Raises:
        LowmedError: training would fail.
    """
    from lowmed import rewards
    from lowmed.architectures import require_known_family
    from lowmed.engine.adapter import require_start
    from lowmed.engine.device import unsupported_error
    from lowmed.engine.room import require_room
    from lowmed.tracking.tracker import require_tracker

    built = rewards.for_recipe(recipe)
    if error := unsupported_error(recipe, count):
        raise error
    require_known_family(recipe.model)
    require_room(recipe.model, count)
    require_start(recipe.lora, recipe.model)
    require_tracker(recipe.track)
    return built


def require_same_rewards(run: "Run") -> None:
    """Check that the code of a run's custom rewards, and of their local modules, is still the same.

    Raises:
        RunError: it has changed. Nothing of it was executed.
    """
    from lowmed.errors import RunError
    from lowmed.rewards import code_changes

    if changes := code_changes(run.record.reward_code, run.recipe.method.reward_specs):
        raise RunError(
            "the code of the rewards has changed since this run started",
            "\n".join(changes),
            "restore these files, whose SHA-256 are under reward_code in run.json, or start a new run",
        )


def require_same_preferences(run: "Run", split: "DataSplit") -> None:
    """Check that the pairs or labeled completions of a resumed run are still the same.

    Raises:
        RunError: they have changed.
    """
    from lowmed.data.preference_table import digest
    from lowmed.errors import RunError

    record, data = run.record, run.recipe.data
    stored = {
        "pairs": (record.pairs_digest, split.pairs, data.pairs),
        "unpaired": (record.unpaired_digest, split.unpaired, data.unpaired),
    }
    for key, (before, completions, file) in stored.items():
        if before and before != digest(completions):
            raise RunError(
                f"the {'pairs' if key == 'pairs' else 'labeled completions'} have changed since this run started",
                f"{file}; {key}_digest in {run.folder}/run.json",
                "restore the file, or start a new run",
            )


def require_usable_preferences(recipe: "Recipe", split: "DataSplit") -> tuple[str, ...]:
    """Check that the completions to prefer have the form of the prompts, and that a term for the image has images.

    Args:
        recipe: the recipe.
        split: its questions with their pairs or labeled completions.

    Returns:
        Lines about completions that lack the form, an image to alter, or weights that fit the labels; empty if the
        method has no such completions.

    Raises:
        RecipeError: most completions to prefer are in another form, or no question has an altered image.
    """
    method = recipe.method
    if not method.preferences:
        return ()
    if method.preferences == "pairs":
        chosen = [(sample, pair.chosen) for sample in split.train for pair in split.pairs[sample.id]]
        return (*_form_lines(recipe, chosen, "chosen"), *_altered_image_lines(recipe, split))
    labeled = [(sample, one) for sample in split.train for one in split.unpaired[sample.id]]
    good = [(sample, one.completion) for sample, one in labeled if one.label]
    warning = method.balance_warning(len(good), len(labeled) - len(good))
    return (*_form_lines(recipe, good, "good"), *([warning] if warning else []))


def _form_lines(recipe: "Recipe", completions: "Sequence[tuple[Sample, str]]", name: str) -> list[str]:
    from lowmed.errors import RecipeError
    from lowmed.rewards.format import Format

    key, family = recipe.method.preferences, recipe.prompts.training
    form = Format(family.completion_format)
    other = sum(not form(sample, text).value for sample, text in completions if sample.kind != "text")
    counted = f"{other:,} of {len(completions):,} {name} completions are not in the form that the prompts request"
    if other > len(completions) / 2:
        made = "pairs" if key == "pairs" else "labeled completions"
        raise RecipeError(
            counted,
            f"data.{key}={getattr(recipe.data, str(key))}, prompts.train={family.name}",
            f"set prompts.train and prompts.infer to the prompts of the probe, or make {made} with these prompts",
        )
    return [counted] if other else []


def _altered_image_lines(recipe: "Recipe", split: "DataSplit") -> list[str]:
    from lowmed.errors import RecipeError
    from lowmed.evaluation.controls import shuffled

    method = recipe.method
    if not method.altered_image:
        return []
    with_image = [sample for sample in split.train if sample.images]
    altered = shuffled(with_image, split.train) if method.altered_image == "shuffled" else with_image
    if not altered:
        raise RecipeError(
            f"no question with a pair has an image {'of another group ' * bool(with_image)}to show in its place",
            f"method.image_weight, method.image_control={method.altered_image}",
            "use method.image_control=grey" if with_image else "set method.image_weight=0; that is plain DPO",
        )
    missing, count = len(split.train) - len(altered), len(split.train)
    return [f"{missing:,} of {count:,} questions have no altered image, so no term for it"] if missing else []


def require_readable_data(recipe: "Recipe", split: "DataSplit") -> None:
    """Check that no question has an image if the recipe's model reads text only.

    Args:
        recipe: the recipe.
        split: its questions.

    Raises:
        DataError: a question has an image.
    """
    from lowmed.architectures import known_family
    from lowmed.models import require_readable

    if family := known_family(recipe.model):
        samples = (sample for part in (split.train, *split.held_out.values()) for sample in part)
        require_readable(family, samples, f"model.name: {recipe.model.name}")


def require_readable_question(recipe: "Recipe", split: "DataSplit", *, local_only: bool) -> bool:
    """Check with the model's own files that it can read a training question.

    Args:
        recipe: the recipe.
        split: its questions.
        local_only: download nothing.

    Returns:
        False if nothing was checked: the model is not on this machine.

    Raises:
        LowmedError: the model cannot read it.
    """
    if recipe.model.name == "nano":  # it ships with lowmed
        return True
    from lowmed.engine.device import silence_libraries

    silence_libraries()  # before they are imported
    from lowmed.engine import first_question

    return first_question.require_readable_question(recipe, split.train, split.open_image, local_only=local_only)


def require_applicable_rewards(
    recipe: "Recipe", rewards: "Sequence[Weighted]", samples: "Sequence[Sample]"
) -> "tuple[Abstention, ...]":
    """Check that no reward abstains on most training questions, unless the recipe allows it by name.

    Args:
        recipe: the recipe.
        rewards: its rewards.
        samples: its training questions.

    Returns:
        The abstentions that the recipe allows.

    Raises:
        RecipeError: a reward abstains on most questions, so training would silently leave it out.
    """
    from lowmed.rewards.abstention import abstentions

    results = abstentions(rewards, samples, recipe.prompts.training)
    on_most = [result for result in results if result.on_most]
    allowed = recipe.method.abstaining_allowed
    if refused := [result for result in on_most if result.reward not in allowed]:
        raise _abstention_error(recipe, refused)
    return tuple(on_most)


def _abstention_error(recipe: "Recipe", refused: "Sequence[Abstention]") -> "RecipeError":
    from lowmed.errors import RecipeError

    names, data = [result.reward for result in refused], recipe.data
    fixes = [_without(recipe, names)]
    fixes += [_NEEDED_DATA[result.reward] for result in refused if result.reward in _NEEDED_DATA]
    allowed = ", ".join([*recipe.method.abstaining_allowed, *names])
    fixes.append(f"allow it: 'method.allow_abstaining=[{allowed}]'")
    return RecipeError(
        "; ".join(map(str, refused)),
        f"method.rewards, {', '.join(names)}; {data.key}={data.name}; prompts.train={recipe.prompts.train}",
        "; or ".join(fixes),
    )


def _differences(method: "MethodSpec", other: "MethodSpec") -> int:
    """The number of settings in which two methods differ."""
    one, two = method.model_dump(), other.model_dump()
    return sum(one.get(key) != two.get(key) for key in one.keys() | two.keys())


def _without(recipe: "Recipe", names: "Sequence[str]") -> str:
    """How to train without some rewards: the shipped recipe with exactly the other ones, or an edit."""
    from lowmed.recipe.io import load_recipe, shipped_recipes

    others = {spec.name: spec for spec in recipe.method.reward_specs if spec.name not in names}
    form = recipe.prompts.training.completion_format
    shipped = {name: load_recipe(name) for name in shipped_recipes()} if others else {}
    same = {
        name: other
        for name, other in shipped.items()
        if {spec.name: spec for spec in other.method.reward_specs} == others
        and other.prompts.training.completion_format == form
    }
    if same:  # the one whose method is most like it
        name = min(same, key=lambda name: _differences(recipe.method, same[name].method))
        return f"use --recipe {name}, which has the other rewards"
    return f"leave {', '.join(f'`{name}`' for name in names)} out of method.rewards"
