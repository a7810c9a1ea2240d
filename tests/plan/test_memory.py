from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowmed.plan import architecture, memory, sequence_lengths, training_memory
from lowmed.plan.workload import GIB, Batch, Workload
from lowmed.recipe.io import load_recipe

RARL = load_recipe("rarl")
SFT = load_recipe("rarl-sft")
MODEL = architecture.read_architecture(RARL.model)


def sizes(*overrides: str, recipe: str = "rarl", batch: Batch = Batch(8, 64, True)) -> Workload:  # noqa: B008  # frozen
    plan = load_recipe(recipe, overrides)
    return Workload(plan, architecture.read_architecture(plan.model), sequence_lengths.sequence_lengths(plan), batch)


def total(asked: Workload, phase: str) -> float:
    return sum(memory.phases(asked)[phase].values())


def test_the_weights_are_those_worked_out_by_hand() -> None:
    # 1,310,195,712 quantised weights at 0.5159 bytes; 143,360 norms and biases, embeddings and tower at 2 bytes.
    four_bit = 1_310_195_712 * 0.515869140625 + 2 * (2_208_985_600 - 1_310_195_712)
    assert sum(memory.weights(sizes()).values()) == pytest.approx(four_bit)
    assert four_bit / GIB == pytest.approx(2.304, abs=1e-3)
    assert sum(memory.weights(sizes("model.load_in=16bit")).values()) / GIB == pytest.approx(4.115, abs=1e-3)


def test_a_token_of_the_cache_has_28672_bytes() -> None:
    for new_tokens, room in ((102, 448), (103, 464)):
        cache = memory.phases(sizes(f"method.max_completion_length={new_tokens}"))["rollout"]["KV cache"]
        assert cache == pytest.approx(28_672 * (8 * (256 + 90) + 64 * room * 29 / 28))


def test_a_layer_keeps_what_was_counted_on_true_sized_layers() -> None:
    # Saved tensors of one layer of the true size with its adapter, per token and in units of its width: docs/memory.md.
    assert training_memory.text_bytes_per_token(MODEL, 2) / (2 * 1536) == pytest.approx(37.97, rel=0.01)
    assert training_memory.text_bytes_per_token(MODEL, 4) / (4 * 1536) == pytest.approx(31.55, rel=0.01)


def test_each_method_has_its_phases() -> None:
    assert list(memory.phases(sizes())) == ["load", "rollout", "backward", "evaluation"]
    assert "scoring forward" in memory.phases(sizes("method.beta=0.04"))
    assert "scoring forward" in memory.phases(sizes("method.num_iterations=2"))
    assert list(memory.phases(sizes(recipe="rarl-sft"))) == ["load", "backward", "evaluation"]


def test_the_stock_tower_takes_more_and_with_checkpointing_most() -> None:
    for gradient_checkpointing in (False, True):
        once = sizes(batch=Batch(8, 64, gradient_checkpointing))
        assert total(replace(once, tower="stock"), "backward") > total(once, "backward")
        assert total(replace(once, tower="stock"), "rollout") > total(once, "rollout")
    vision = memory.phases(replace(sizes(), tower="stock"))["backward"]["vision"]
    assert vision == pytest.approx(8 * 1024 * (32 * 2 * 1280 + 1.7 * 16.2 * 1280 * 2))


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_a_group_shares_its_prompt_in_grpo_alone(gradient_checkpointing: bool) -> None:
    def prompts(*overrides: str, rows: int = 8, recipe: str = "rarl") -> int:
        return sizes(*overrides, recipe=recipe, batch=Batch(rows, 64, gradient_checkpointing)).shared_prompts

    assert [prompts(rows=rows) for rows in (2, 8, 12, 16)] == [1, 1, 3, 2]
    assert prompts(recipe="rarl-sft") == 0
    assert prompts("model.backend=unsloth") == 0
    assert prompts("model.name=Qwen/Qwen3-VL-2B-Instruct") == 0  # its layers are not walked: TRL's own forward


@pytest.mark.parametrize("overrides", [(), ("model.name=Qwen/Qwen3-VL-2B-Instruct",)])
def test_a_forward_reads_a_shared_prompt_once_and_any_other_a_row(overrides: tuple[str, ...]) -> None:
    tokens = sizes(*overrides).tokens_per_forward
    assert tokens == (8 * (346 + 256) if overrides else 346 + 8 * 256)


def test_the_shared_forward_keeps_what_was_counted_on_true_sized_layers() -> None:
    # Saved tensors of one more layer of the true size, a prompt of 300 tokens and 8 completions of 64: docs/memory.md.
    known = sequence_lengths.SequenceLengths(210, 1, 90, 64, 210, "")
    for width, counted in ((2, 94_703_516), (4, 163_344_216)):
        asked = replace(sizes(batch=Batch(8, 64, False)), lengths=known, width=width)
        deeper = replace(asked, model=replace(MODEL, layers=MODEL.layers + 1))
        more, less = (training_memory.backward(each)["activations"] for each in (deeper, asked))
        assert more - less == pytest.approx(counted, rel=0.06)
        assert more - less >= counted
        again = [replace(each, batch=Batch(8, 64, True)) for each in (deeper, asked)]
        more, less = (training_memory.backward(each)["activations"] for each in again)
        assert more - less == pytest.approx((300 + 8 * 64) * 1536 * width)


def test_sharing_takes_less_memory_with_checkpointing_too() -> None:
    for gradient_checkpointing in (False, True):
        shared = sizes(batch=Batch(8, 64, gradient_checkpointing))
        apart = sizes("model.backend=unsloth", batch=Batch(8, 64, gradient_checkpointing))
        assert total(shared, "backward") < total(apart, "backward")


def test_a_kl_term_keeps_a_copy_of_the_adapter_and_consistency_another() -> None:
    copies = 4 * MODEL.lora(8)
    assert "reference adapter" not in memory.phases(sizes())["backward"]
    kl = memory.phases(sizes("method.beta=0.04"))
    assert kl["backward"]["reference adapter"] == kl["scoring forward"]["reference adapter"] == copies
    asked = sizes("method.rewards=[{name: accuracy}, {name: consistency}]")
    result = memory.phases(asked)
    assert all(result[phase]["slow adapter"] == copies for phase in ("rollout", "backward"))
    assert not any("adapter" in term for term in result["evaluation"])


def test_pixels_are_held_once_a_question_after_they_were_prepared_once_a_reply() -> None:
    result = memory.phases(sizes("method.beta=0.04"))
    pixels = 256 * (4 * MODEL.patch_values * 4 + MODEL.vision_out * 2)
    assert result["rollout"]["images"] == 64 * pixels
    assert result["scoring forward"]["images"] == (64 + 1) * pixels
    assert result["backward"]["images"] == (8 + 1) * pixels
    assert memory.phases(sizes("model.backend=unsloth"))["backward"]["images"] == 64 * pixels


def test_a_family_whose_tower_is_not_known_is_planned_with_the_stock_one() -> None:
    other = sizes("model.name=Qwen/Qwen3-VL-2B-Instruct")
    assert memory.phases(other) == memory.phases(replace(other, tower="stock"))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 32),
    gradient_checkpointing=st.booleans(),
    image=st.integers(4, 4096),
    completion=st.integers(1, 1024),
    more=st.sampled_from(["rows", "image", "reply", "text"]),
)
def test_more_of_anything_never_takes_less(
    rows: int, gradient_checkpointing: bool, image: int, completion: int, more: str
) -> None:
    def at(number: int, wide: int, long: int, text: int) -> dict[str, float]:
        known = sequence_lengths.SequenceLengths(wide, 1, text, long, wide, "")
        asked = Workload(SFT, MODEL, known, Batch(number, 64, gradient_checkpointing))
        return {phase: sum(terms.values()) for phase, terms in memory.phases(asked).items()}

    before = at(rows, image, completion, 90)
    after = at(
        rows + (more == "rows"), image + (more == "image"), completion + (more == "reply"), 90 + (more == "text")
    )
    assert all(after[phase] >= before[phase] for phase in before)


def test_compiled_decoding_keeps_its_room_while_the_model_trains() -> None:
    plain, compiled = (
        memory.phases(sizes("model.load_in=16bit", f"model.rollout={rollout}")) for rollout in ("auto", "compiled")
    )
    assert "KV cache" not in plain["backward"]
    token = 2 * MODEL.layers * MODEL.kv_heads * MODEL.head_dim * 2
    assert compiled["backward"]["KV cache"] == 64 * 768 * token  # 346 + 256 tokens, in steps of 256
    assert compiled["rollout"]["KV cache"] > plain["rollout"]["KV cache"]
