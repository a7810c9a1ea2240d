from dataclasses import replace

import pytest

from lowmed import architectures
from lowmed.plan import cards, memory, sequence_lengths, speed
from lowmed.plan.batch import FREE_SHARE, choose_batch, eval_batch_size
from lowmed.plan.calibration import MemoryScale
from lowmed.plan.workload import Batch, Workload
from lowmed.recipe import ModelSpec
from lowmed.recipe.io import load_recipe

UNMEASURED = MemoryScale()


def chosen(card_gib: float, *overrides: str, recipe: str = "rarl", nano: bool = False) -> Batch:
    loaded = load_recipe(recipe, overrides, nano=nano)
    return choose_batch(loaded, architectures.read_architecture(loaded.model), card_gib, scale=UNMEASURED)


@pytest.mark.parametrize("recipe", ["rarl", "rarl-sft", "rl-plain"])
def test_without_a_gpu_nano_trains_all_rows_in_one_pass(recipe: str) -> None:
    loaded = load_recipe(recipe, nano=True)
    result = chosen(0.0, recipe=recipe, nano=True)
    assert (result.per_device_train_batch_size, result.gradient_checkpointing) == (loaded.method.rows_per_step, False)


def test_without_a_gpu_a_large_model_trains_two_rows_per_pass() -> None:
    assert chosen(0.0) == Batch(2, 64, False, 128)
    assert chosen(0.0, "method.prompts_per_step=1", "method.num_generations=3").per_device_train_batch_size == 1


@pytest.mark.parametrize("gib", [0.0, 8.0, 80.0])
def test_values_of_the_recipe_win(gib: float) -> None:
    result = chosen(gib, "method.per_device_train_batch_size=32", "method.gradient_checkpointing=true")
    assert (result.per_device_train_batch_size, result.gradient_checkpointing) == (32, True)
    assert chosen(gib, "method.gradient_checkpointing=false").gradient_checkpointing is False
    assert chosen(gib, "method.per_device_train_batch_size=1").per_device_train_batch_size == 1


@pytest.mark.parametrize("card", cards.CARDS.values(), ids=cards.CARDS)
@pytest.mark.parametrize(
    "overrides", [(), ("model.max_image_tokens=1024",), ("method.beta=0.1", "method.num_generations=12")]
)
def test_a_derived_batch_divides_the_rows_and_leaves_memory_free(card: cards.Card, overrides: tuple[str, ...]) -> None:
    recipe = load_recipe("rarl", overrides)
    model = architectures.read_architecture(recipe.model)
    result = choose_batch(recipe, model, card.gib, scale=UNMEASURED)
    assert recipe.method.rows_per_step % result.per_device_train_batch_size == 0
    assert recipe.method.rows_per_step % result.rows_per_generate == 0
    assert result.rows_per_generate % recipe.method.num_generations == 0  # type: ignore[union-attr]
    known = sequence_lengths.sequence_lengths(recipe)
    terms = memory.phases(Workload(recipe, model, known, result))
    for phase in ("rollout", "backward", "evaluation"):
        assert UNMEASURED.gib(terms[phase]) <= (1 - FREE_SHARE[False]) * card.gib


def test_rollouts_use_a_16_bit_copy_and_keep_their_cache_where_there_is_room() -> None:
    assert chosen(79.2).dequantizes_rollouts and chosen(79.2).keeps_kv_cache
    assert not chosen(5.0).dequantizes_rollouts and not chosen(5.0).keeps_kv_cache
    assert not chosen(79.2, "model.rollout_dtype=same").dequantizes_rollouts
    assert chosen(5.0, "model.rollout_dtype=16bit").dequantizes_rollouts
    assert not chosen(79.2, "model.rollout=transformers").keeps_kv_cache
    for overrides in (("model.load_in=16bit",), ("model.backend=unsloth",)):
        assert not chosen(79.2, *overrides).dequantizes_rollouts
    assert not chosen(79.2, recipe="rarl-sft").keeps_kv_cache
    assert not chosen(0.0).dequantizes_rollouts and not chosen(0.0).keeps_kv_cache


def test_a_calibrated_gpu_gets_a_larger_batch() -> None:
    recipe = load_recipe("rarl-sft", ["method.gradient_checkpointing=false"])
    model = architectures.read_architecture(recipe.model)
    before, after = (choose_batch(recipe, model, 8.0, scale=MemoryScale(1.08, 0.5, rows)) for rows in (0, 1))
    assert after.per_device_train_batch_size > before.per_device_train_batch_size


def test_gradient_checkpointing_is_used_where_activations_do_not_fit() -> None:
    assert chosen(79.2).gradient_checkpointing is False
    assert chosen(5.0).gradient_checkpointing is True
    assert chosen(5.0).per_device_train_batch_size > 1


@pytest.mark.parametrize("card", ["T4", "RTX 4090", "A100-40"])
@pytest.mark.parametrize("overrides", [(), ("model.max_image_tokens=1024",), ("method.max_completion_length=1024",)])
def test_a_derived_batch_is_within_five_percent_of_the_fastest_that_fits(card: str, overrides: tuple[str, ...]) -> None:
    recipe = load_recipe("rarl", overrides)
    gpu, model, known = (
        cards.CARDS[card],
        architectures.read_architecture(recipe.model),
        sequence_lengths.sequence_lengths(recipe),
    )
    result = choose_batch(recipe, model, gpu.gib, card=card, scale=UNMEASURED)

    def sized(rows: int, gradient_checkpointing: bool) -> Workload:
        return Workload(recipe, model, known, Batch(rows, result.rows_per_generate, gradient_checkpointing))

    seconds = {
        (rows, gradient_checkpointing): speed.training_seconds(sized(rows, gradient_checkpointing), gpu)
        for rows in (1, 2, 4, 8, 16, 32, 64)
        for gradient_checkpointing in (False, True)
        if UNMEASURED.gib(memory.phases(sized(rows, gradient_checkpointing))["backward"])
        <= (1 - FREE_SHARE[False]) * gpu.gib
    }
    assert seconds[result.per_device_train_batch_size, result.gradient_checkpointing] <= 1.05 * min(seconds.values())


def test_with_long_prompts_whole_groups_with_checkpointing_are_faster_than_few_rows_without() -> None:
    gpu = cards.CARDS["T4"]
    recipe = load_recipe("rarl", ["model.max_image_tokens=1024"])
    workload = Workload(
        recipe,
        architectures.read_architecture(recipe.model),
        sequence_lengths.sequence_lengths(recipe),
        Batch(8, 64, True),
    )
    seconds = {
        (rows, recompute): speed.training_seconds(replace(workload, batch=Batch(rows, 64, recompute)), gpu)
        for rows in (2, 8)
        for recompute in (False, True)
    }
    assert seconds[8, False] < seconds[8, True] < seconds[2, False] < seconds[2, True]


def test_a_pass_has_whole_groups_or_equal_parts_of_one() -> None:
    for group in (6, 12):
        for gib in (8.0, 14.6, 23.5, 39.4):
            rows = chosen(gib, f"method.num_generations={group}").per_device_train_batch_size
            assert rows % group == 0 or group % rows == 0


def test_a_small_gpu_samples_in_more_calls() -> None:
    long = ("method.max_completion_length=4096", "method.prompts_per_step=16")
    assert chosen(139.8, *long).rows_per_generate == 128
    assert chosen(11.6, *long).rows_per_generate == 32


def test_where_nothing_fits_the_smallest_batch_is_chosen() -> None:
    assert chosen(1.0) == Batch(1, 8, True, 1)


def test_evaluation_batches_are_smaller_where_64_questions_do_not_fit() -> None:
    large = ModelSpec(name="Qwen/Qwen2.5-VL-7B-Instruct", max_image_tokens=1024)
    for spec, tokens, gib, rows in [
        (ModelSpec(), 256, 79.2, 64),
        (large, 2048, 23.5, 16),
        (ModelSpec(name="nano"), 256, 0.0, 128),
    ]:
        assert eval_batch_size(spec, architectures.read_architecture(spec), tokens, gib) == rows


@pytest.mark.parametrize(("hardware", "card"), cards.PRESETS.items())
def test_a_preset_plans_for_its_gpu_and_never_for_more_memory_than_present(hardware: str, card: str) -> None:
    gib = cards.CARDS[card].gib
    assert chosen(139.8, f"hardware={hardware}") == chosen(gib)
    assert chosen(11.6, f"hardware={hardware}") == chosen(11.6)
    assert chosen(0.0, f"hardware={hardware}", nano=True).per_device_train_batch_size == 64
    assert (
        chosen(139.8, f"hardware={hardware}", "method.per_device_train_batch_size=2").per_device_train_batch_size == 2
    )
