from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowmed import recipe_file
from lowmed.plan import architecture, lengths, memory
from lowmed.plan.memory import GIB, Batch, Sizes

RARL = recipe_file.load("rarl")
SFT = recipe_file.load("rarl-sft")
MODEL = architecture.read(RARL.model)


def sizes(*overrides: str, recipe: str = "rarl", batch: Batch = Batch(8, 64, True)) -> Sizes:  # noqa: B008  # frozen
    plan = recipe_file.load(recipe, overrides)
    return Sizes(plan, architecture.read(plan.model), lengths.of(plan), batch)


def total(asked: Sizes, phase: str) -> float:
    return sum(memory.phases(asked)[phase].values())


def test_the_weights_are_those_worked_out_by_hand() -> None:
    # 1,310,195,712 quantised weights at 0.5159 bytes; 143,360 norms and biases, embeddings and tower at 2 bytes.
    four_bit = 1_310_195_712 * 0.515869140625 + 2 * (2_208_985_600 - 1_310_195_712)
    assert sum(memory.weights(sizes()).values()) == pytest.approx(four_bit)
    assert four_bit / GIB == pytest.approx(2.304, abs=1e-3)
    assert sum(memory.weights(sizes("model.load_in=16bit")).values()) / GIB == pytest.approx(4.115, abs=1e-3)


def test_a_token_of_the_cache_has_28672_bytes() -> None:
    cache = memory.phases(sizes("method.max_new_tokens=100"))["rollout"]["KV cache"]
    assert cache / (64 * (256 + 90 + 100)) == pytest.approx(28_672 * 29 / 28)


def test_a_layer_keeps_what_was_counted_on_true_sized_layers() -> None:
    # Saved tensors of one layer of the true size with its adapter, per token and in units of its width: docs/memory.md.
    assert memory.text_bytes_per_token(MODEL, 2) / (2 * 1536) == pytest.approx(37.97, rel=0.01)
    assert memory.text_bytes_per_token(MODEL, 4) / (4 * 1536) == pytest.approx(31.55, rel=0.01)


def test_each_method_has_its_phases() -> None:
    assert list(memory.phases(sizes())) == ["load", "rollout", "backward", "evaluation"]
    assert "scoring forward" in memory.phases(sizes("method.beta=0.04"))
    assert "scoring forward" in memory.phases(sizes("method.num_iterations=2"))
    assert list(memory.phases(sizes(recipe="rarl-sft"))) == ["load", "backward", "evaluation"]


def test_the_stock_tower_takes_more_and_with_checkpointing_most() -> None:
    for checkpointing in (False, True):
        once = sizes(batch=Batch(8, 64, checkpointing))
        assert total(replace(once, tower="stock"), "backward") > total(once, "backward")
        assert total(replace(once, tower="stock"), "rollout") > total(once, "rollout")
    vision = memory.phases(replace(sizes(), tower="stock"))["backward"]["vision"]
    assert vision == pytest.approx(8 * 1024 * (32 * 2 * 1280 + 1.7 * 16.2 * 1280 * 2))


def test_a_group_shares_its_prompt_only_without_checkpointing_and_only_in_grpo() -> None:
    assert memory.shared_prompts(sizes(batch=Batch(8, 64, False))) == 1
    assert memory.shared_prompts(sizes(batch=Batch(16, 64, False))) == 2
    assert memory.shared_prompts(sizes(batch=Batch(12, 64, False))) == 3
    assert memory.shared_prompts(sizes(batch=Batch(2, 64, False))) == 1
    assert memory.shared_prompts(sizes(recipe="rarl-sft")) == 0
    assert memory.shared_prompts(sizes("model.backend=unsloth")) == 0


def test_a_family_whose_tower_is_not_known_is_planned_with_the_stock_one() -> None:
    other = sizes("model.name=Qwen/Qwen3-VL-2B-Instruct")
    assert memory.phases(other) == memory.phases(replace(other, tower="stock"))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 32),
    checkpointing=st.booleans(),
    image=st.integers(4, 4096),
    reply=st.integers(1, 1024),
    more=st.sampled_from(["rows", "image", "reply", "text"]),
)
def test_more_of_anything_never_takes_less(rows: int, checkpointing: bool, image: int, reply: int, more: str) -> None:
    def at(number: int, wide: int, long: int, text: int) -> dict[str, float]:
        known = lengths.Lengths(wide, 1, text, long, wide, "")
        asked = Sizes(SFT, MODEL, known, Batch(number, 64, checkpointing))
        return {phase: sum(terms.values()) for phase, terms in memory.phases(asked).items()}

    before = at(rows, image, reply, 90)
    after = at(rows + (more == "rows"), image + (more == "image"), reply + (more == "reply"), 90 + (more == "text"))
    assert all(after[phase] >= before[phase] for phase in before)
