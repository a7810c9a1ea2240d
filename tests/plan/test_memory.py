from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowmed import architectures
from lowmed.plan import memory, sequence_lengths, training_memory
from lowmed.plan.workload import GIB, Batch, Workload
from lowmed.recipe.io import load_recipe

RARL = load_recipe("rarl")
SFT = load_recipe("rarl-sft")
MODEL = architectures.read_architecture(RARL.model)


def workload(*overrides: str, recipe: str = "rarl", batch: Batch = Batch(8, 64, True)) -> Workload:  # noqa: B008  # frozen
    loaded = load_recipe(recipe, overrides)
    model = architectures.read_architecture(loaded.model)
    return Workload(loaded, model, sequence_lengths.sequence_lengths(loaded), batch)


def total(inputs: Workload, phase: str) -> float:
    return sum(memory.phases(inputs)[phase].values())


def test_weights_agree_with_a_hand_calculation() -> None:
    # 1,310,195,712 quantized weights at 0.5159 bytes; 143,360 norms and biases, embeddings and tower at 2 bytes.
    four_bit = 1_310_195_712 * 0.515869140625 + 2 * (2_208_985_600 - 1_310_195_712)
    assert sum(memory.weights(workload()).values()) == pytest.approx(four_bit)
    assert four_bit / GIB == pytest.approx(2.304, abs=1e-3)
    assert sum(memory.weights(workload("model.load_in=16bit")).values()) / GIB == pytest.approx(4.115, abs=1e-3)


def test_a_token_of_the_kv_cache_takes_28672_bytes() -> None:
    for new_tokens, room in ((166, 512), (167, 640)):
        cache = memory.phases(workload(f"method.max_completion_length={new_tokens}"))["rollout"]["KV cache"]
        assert cache == pytest.approx(28_672 * (8 * (256 + 90) + 64 * room * 29 / 28))


def test_saved_tensors_of_a_layer_agree_with_those_counted_on_real_layers() -> None:
    # Saved tensors of one layer of the true size with its adapter, per token and in units of its width: docs/memory.md.
    assert training_memory.text_bytes_per_token(MODEL, 2) / (2 * 1536) == pytest.approx(37.97, rel=0.01)
    assert training_memory.text_bytes_per_token(MODEL, 4) / (4 * 1536) == pytest.approx(31.55, rel=0.01)


def test_each_method_has_its_phases() -> None:
    assert list(memory.phases(workload())) == ["load", "rollout", "backward", "evaluation"]
    assert "scoring forward" in memory.phases(workload("method.beta=0.04"))
    assert "scoring forward" in memory.phases(workload("method.num_iterations=2"))
    assert list(memory.phases(workload(recipe="rarl-sft"))) == ["load", "backward", "evaluation"]


def test_stock_image_encoding_takes_more_memory() -> None:
    for gradient_checkpointing in (False, True):
        once = workload(batch=Batch(8, 64, gradient_checkpointing))
        assert total(replace(once, vision="stock"), "backward") > total(once, "backward")
        assert total(replace(once, vision="stock"), "rollout") > total(once, "rollout")
    vision = memory.phases(replace(workload(), vision="stock"))["backward"]["image encoding"]
    assert vision == pytest.approx(8 * 1024 * (32 * 2 * 1280 + 1.7 * 16.2 * 1280 * 2))


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_only_grpo_shares_prompts(gradient_checkpointing: bool) -> None:
    def prompts(*overrides: str, rows: int = 8, recipe: str = "rarl") -> int:
        return workload(*overrides, recipe=recipe, batch=Batch(rows, 64, gradient_checkpointing)).shared_prompts

    assert [prompts(rows=rows) for rows in (2, 8, 12, 16)] == [1, 1, 3, 2]
    assert prompts(recipe="rarl-sft") == 0
    assert prompts("model.backend=unsloth") == 0
    assert prompts("model.name=Qwen/Qwen3-VL-2B-Instruct") == 1


@pytest.mark.parametrize("overrides", [(), ("model.backend=unsloth",)])
def test_a_shared_prompt_is_computed_once_per_pass(overrides: tuple[str, ...]) -> None:
    tokens = workload(*overrides).tokens_per_forward
    assert tokens == (8 * (346 + 256) if overrides else 346 + 8 * 256)


def test_saved_tensors_with_shared_prompts_agree_with_those_counted_on_real_layers() -> None:
    # Saved tensors of one more layer of the true size, a prompt of 300 tokens and 8 completions of 64: docs/memory.md.
    known = sequence_lengths.SequenceLengths(210, 1, 90, 64, 210, "")
    for width, counted in ((2, 87_308_064), (4, 163_344_216)):
        inputs = replace(workload(batch=Batch(8, 64, False)), lengths=known, value_bytes=width)
        deeper = replace(inputs, model=replace(MODEL, layers=MODEL.layers + 1))
        more, less = (training_memory.backward(each)["activations"] for each in (deeper, inputs))
        assert more - less == pytest.approx(counted, rel=0.06)
        assert more - less >= counted
        again = [replace(each, batch=Batch(8, 64, True)) for each in (deeper, inputs)]
        more, less = (training_memory.backward(each)["activations"] for each in again)
        assert more - less == pytest.approx((300 + 8 * 64) * 1536 * width)


def test_sharing_prompts_takes_less_memory_with_and_without_checkpointing() -> None:
    for gradient_checkpointing in (False, True):
        shared = workload(batch=Batch(8, 64, gradient_checkpointing))
        apart = workload("model.backend=unsloth", batch=Batch(8, 64, gradient_checkpointing))
        assert total(shared, "backward") < total(apart, "backward")


def test_the_kl_term_and_consistency_each_keep_a_copy_of_the_adapter() -> None:
    copies = 4 * MODEL.lora(8)
    assert "reference adapter" not in memory.phases(workload())["backward"]
    kl = memory.phases(workload("method.beta=0.04"))
    assert kl["backward"]["reference adapter"] == kl["scoring forward"]["reference adapter"] == copies
    inputs = workload("method.rewards=[{name: accuracy}, {name: consistency}]")
    result = memory.phases(inputs)
    assert all(result[phase]["EMA adapter"] == copies for phase in ("rollout", "backward"))
    assert not any("adapter" in term for term in result["evaluation"])


def test_pixels_are_on_the_gpu_per_completion_only_where_trl_moves_them() -> None:
    result = memory.phases(workload("method.beta=0.04"))
    features = 256 * MODEL.vision_out * 2
    pixels = features + 256 * 4 * MODEL.patch_values * 4
    assert result["rollout"]["pixels and features"] == 64 * features
    assert result["scoring forward"]["pixels and features"] == (64 + 1) * features
    assert result["backward"]["pixels and features"] == (8 + 1) * features
    assert memory.phases(workload("model.backend=unsloth"))["backward"]["pixels and features"] == 64 * pixels
    on_cpu = memory.phases(replace(workload(), value_bytes=4))
    assert on_cpu["backward"]["pixels and features"] > 9 * 256 * 4 * MODEL.patch_values * 4


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 32),
    gradient_checkpointing=st.booleans(),
    image=st.integers(4, 4096),
    completion=st.integers(1, 1024),
    more=st.sampled_from(["rows", "image", "completion", "text"]),
)
def test_larger_inputs_never_take_less_memory(
    rows: int, gradient_checkpointing: bool, image: int, completion: int, more: str
) -> None:
    def at(number: int, wide: int, long: int, text: int) -> dict[str, float]:
        known = sequence_lengths.SequenceLengths(wide, 1, text, long, wide, "")
        inputs = Workload(SFT, MODEL, known, Batch(number, 64, gradient_checkpointing))
        return {phase: sum(terms.values()) for phase, terms in memory.phases(inputs).items()}

    before = at(rows, image, completion, 90)
    after = at(
        rows + (more == "rows"), image + (more == "image"), completion + (more == "completion"), 90 + (more == "text")
    )
    assert all(after[phase] >= before[phase] for phase in before)


def test_the_kv_cache_of_graphs_is_larger_and_counts_in_training_if_it_is_kept() -> None:
    graphs, plain = (workload(f"model.rollout={rollout}") for rollout in ("auto", "transformers"))
    kept = replace(graphs, batch=replace(graphs.batch, keeps_kv_cache=True))
    assert "kept KV cache" not in memory.phases(graphs)["backward"]
    token = 2 * MODEL.layers * MODEL.kv_heads * MODEL.head_dim * 2
    assert memory.phases(kept)["backward"]["kept KV cache"] == 64 * 640 * token  # 346 + 256 tokens, in steps of 128
    assert memory.phases(graphs)["rollout"]["KV cache"] > memory.phases(plain)["rollout"]["KV cache"]
