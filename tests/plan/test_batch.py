from dataclasses import replace

import pytest

from lowmed.plan import architecture, cards, memory, sequence_lengths, speed
from lowmed.plan.batch import KEPT_FREE, Batch, choose_batch, eval_batch_size
from lowmed.plan.calibration import MemoryScale
from lowmed.plan.workload import Workload
from lowmed.recipe import ModelSpec
from lowmed.recipe.io import load_recipe

UNMEASURED = MemoryScale()


def cut(card_gib: float, *overrides: str, recipe: str = "rarl", nano: bool = False) -> Batch:
    plan = load_recipe(recipe, overrides, nano=nano)
    return choose_batch(plan, architecture.read_architecture(plan.model), card_gib, scale=UNMEASURED)


@pytest.mark.parametrize("recipe", ["rarl", "rarl-sft", "rl-plain"])
def test_without_a_card_nano_has_all_rows_in_one_forward(recipe: str) -> None:
    plan = load_recipe(recipe, nano=True)
    result = cut(0.0, recipe=recipe, nano=True)
    assert (result.per_device_train_batch_size, result.gradient_checkpointing) == (plan.method.rows_per_step, False)


def test_without_a_card_a_large_model_has_two_rows() -> None:
    assert cut(0.0) == Batch(2, 64, False, 128)
    assert cut(0.0, "method.prompts_per_step=1", "method.num_generations=3").per_device_train_batch_size == 1


@pytest.mark.parametrize("gib", [0.0, 8.0, 80.0])
def test_what_the_recipe_says_stands(gib: float) -> None:
    result = cut(gib, "method.per_device_train_batch_size=32", "method.gradient_checkpointing=true")
    assert (result.per_device_train_batch_size, result.gradient_checkpointing) == (32, True)
    assert cut(gib, "method.gradient_checkpointing=false").gradient_checkpointing is False
    assert cut(gib, "method.per_device_train_batch_size=1").per_device_train_batch_size == 1


@pytest.mark.parametrize("card", cards.CARDS.values(), ids=cards.CARDS)
@pytest.mark.parametrize(
    "overrides", [(), ("model.max_image_tokens=1024",), ("method.beta=0.1", "method.num_generations=12")]
)
def test_what_is_derived_fits_with_room_and_divides(card: cards.Card, overrides: tuple[str, ...]) -> None:
    recipe = load_recipe("rarl", overrides)
    model = architecture.read_architecture(recipe.model)
    result = choose_batch(recipe, model, card.gib, scale=UNMEASURED)
    assert recipe.method.rows_per_step % result.per_device_train_batch_size == 0
    assert recipe.method.rows_per_step % result.rows_per_generate == 0
    assert result.rows_per_generate % recipe.method.num_generations == 0  # type: ignore[union-attr]
    known = sequence_lengths.sequence_lengths(recipe)
    terms = memory.phases(Workload(recipe, model, known, result))
    for phase in ("rollout", "backward", "evaluation"):
        assert UNMEASURED.gib(terms[phase]) <= (1 - KEPT_FREE[False]) * card.gib


def test_a_measured_card_is_used_further() -> None:
    recipe = load_recipe("rarl-sft", ["method.gradient_checkpointing=false"])
    model = architecture.read_architecture(recipe.model)
    before, after = (choose_batch(recipe, model, 8.0, scale=MemoryScale(1.08, 0.5, rows)) for rows in (0, 1))
    assert after.per_device_train_batch_size > before.per_device_train_batch_size


def test_where_the_activations_do_not_fit_they_are_computed_anew() -> None:
    assert cut(79.2).gradient_checkpointing is False
    assert cut(5.0).gradient_checkpointing is True
    assert cut(5.0).per_device_train_batch_size > 1


@pytest.mark.parametrize("card", ["T4", "RTX 4090", "A100-40"])
@pytest.mark.parametrize("overrides", [(), ("model.max_image_tokens=1024",), ("method.max_completion_length=1024",)])
def test_what_is_derived_is_within_a_twentieth_of_the_fastest_that_fits(card: str, overrides: tuple[str, ...]) -> None:
    recipe = load_recipe("rarl", overrides)
    here, model, known = (
        cards.CARDS[card],
        architecture.read_architecture(recipe.model),
        sequence_lengths.sequence_lengths(recipe),
    )
    result = choose_batch(recipe, model, here.gib, card=card, scale=UNMEASURED)

    def sized(rows: int, gradient_checkpointing: bool) -> Workload:
        return Workload(recipe, model, known, Batch(rows, result.rows_per_generate, gradient_checkpointing))

    seconds = {
        (rows, gradient_checkpointing): speed.training(sized(rows, gradient_checkpointing), here)
        for rows in (1, 2, 4, 8, 16, 32, 64)
        for gradient_checkpointing in (False, True)
        if UNMEASURED.gib(memory.phases(sized(rows, gradient_checkpointing))["backward"])
        <= (1 - KEPT_FREE[False]) * here.gib
    }
    assert seconds[result.per_device_train_batch_size, result.gradient_checkpointing] <= 1.05 * min(seconds.values())


def test_few_rows_kept_are_slower_than_whole_groups_computed_anew_where_the_prompt_is_long() -> None:
    here = cards.CARDS["T4"]
    recipe = load_recipe("rarl", ["model.max_image_tokens=1024"])
    asked = Workload(
        recipe,
        architecture.read_architecture(recipe.model),
        sequence_lengths.sequence_lengths(recipe),
        Batch(8, 64, True),
    )
    of = {
        (rows, again): speed.training(replace(asked, batch=Batch(rows, 64, again)), here)
        for rows in (2, 8)
        for again in (False, True)
    }
    assert of[8, False] < of[8, True] < of[2, False] < of[2, True]


def test_a_forward_holds_whole_groups_or_whole_parts_of_one() -> None:
    for group in (6, 12):
        for gib in (8.0, 14.6, 23.5, 39.4):
            rows = cut(gib, f"method.num_generations={group}").per_device_train_batch_size
            assert rows % group == 0 or group % rows == 0


def test_a_small_card_draws_its_replies_in_more_calls() -> None:
    long = ("method.max_completion_length=4096", "method.prompts_per_step=16")
    assert cut(139.8, *long).rows_per_generate == 128
    assert cut(11.6, *long).rows_per_generate == 32


def test_where_nothing_fits_the_smallest_is_left() -> None:
    assert cut(1.0) == Batch(1, 8, True, 1)


def test_an_evaluation_asks_fewer_questions_at_once_where_64_would_not_fit() -> None:
    large = ModelSpec(name="Qwen/Qwen2.5-VL-7B-Instruct", max_image_tokens=1024)
    for spec, tokens, gib, rows in [
        (ModelSpec(), 256, 79.2, 64),
        (large, 2048, 23.5, 16),
        (ModelSpec(name="nano"), 256, 0.0, 128),
    ]:
        assert eval_batch_size(spec, architecture.read_architecture(spec), tokens, gib) == rows


@pytest.mark.parametrize(("hardware", "card"), cards.PRESETS.items())
def test_a_preset_plans_for_its_card_and_never_for_more_than_is_there(hardware: str, card: str) -> None:
    gib = cards.CARDS[card].gib
    assert cut(139.8, f"hardware={hardware}") == cut(gib)
    assert cut(11.6, f"hardware={hardware}") == cut(11.6)
    assert cut(0.0, f"hardware={hardware}", nano=True).per_device_train_batch_size == 64
    assert cut(139.8, f"hardware={hardware}", "method.per_device_train_batch_size=2").per_device_train_batch_size == 2
