"""The planner counts what a pair needs: its completions and prompts, and the copy of a starting adapter."""

from dataclasses import replace

import pytest

from lowmed.architectures import read_architecture
from lowmed.plan import memory, speed
from lowmed.plan.batch import choose_batch
from lowmed.plan.cards import TYPICAL
from lowmed.plan.sequence_lengths import sequence_lengths
from lowmed.plan.workload import Batch, Workload
from lowmed.recipe import Recipe
from lowmed.recipe.io import load_recipe


def workload(recipe: Recipe, rows: int = 4) -> Workload:
    return Workload(recipe, read_architecture(recipe.model), sequence_lengths(recipe), Batch(rows, 1, True))


@pytest.mark.parametrize(("name", "prompts", "completions"), [("dpo", 4, 8), ("mdpo", 8, 12), ("simpo", 4, 8)])
def test_a_pair_has_two_completions_of_one_prompt_and_a_third_with_an_altered_image(
    name: str, prompts: int, completions: int
) -> None:
    planned = workload(load_recipe(name))
    assert (planned.shared_prompts, planned.completions_per_forward) == (prompts, completions)
    tokens = prompts * planned.lengths.prompt + completions * planned.lengths.completion
    assert planned.tokens_per_forward == tokens
    other = workload(load_recipe(name, ["model.name=google/medgemma-4b-it"]))
    assert other.shared_prompts == 0
    assert other.tokens_per_forward == completions * other.lengths.row


def test_only_a_starting_adapter_has_a_copy() -> None:
    new, going_on = load_recipe("dpo"), load_recipe("dpo", ["lora.start=run"])
    assert "reference adapter" not in memory.phases(workload(new))["backward"]
    assert memory.phases(workload(going_on))["backward"]["reference adapter"] > 0
    free = load_recipe("simpo", ["lora.start=run"])
    assert "reference adapter" not in memory.phases(workload(free))["backward"]


def test_the_image_term_and_the_reference_cost_time_and_memory() -> None:
    plain, terms = (workload(load_recipe(name)) for name in ("dpo", "mdpo"))
    assert sum(memory.phases(plain)["backward"].values()) < sum(memory.phases(terms)["backward"].values())
    free = load_recipe("dpo", ["method.loss_type=simpo", "method.beta=2"])
    seconds = [speed._train(one, TYPICAL) for one in (workload(free), plain, terms)]
    assert seconds == sorted(seconds)
    assert len(set(seconds)) == 3


def test_kto_reads_one_completion_with_gradients_and_two_without() -> None:
    planned = workload(load_recipe("kto"))
    scoring = replace(planned, scoring=True)
    assert (planned.shared_prompts, planned.completions_per_forward) == (4, 4)
    assert (scoring.shared_prompts, scoring.completions_per_forward) == (4, 8)
    terms = memory.phases(planned)
    assert terms["scoring forward"]["logits"] >= terms["backward"]["logits"]
    assert "reference adapter" not in terms["backward"]
    assert memory.phases(workload(load_recipe("kto", ["lora.start=run"])))["backward"]["reference adapter"] > 0
    pair, one = (speed._train(workload(load_recipe(name)), TYPICAL) for name in ("dpo", "kto"))
    plain = speed._train(workload(load_recipe("kto"), rows=8), TYPICAL)
    assert one < 2 * pair
    assert plain < one
    other = workload(load_recipe("kto", ["model.name=google/medgemma-4b-it"]))
    assert replace(other, scoring=True).tokens_per_forward == 2 * other.tokens_per_forward == 8 * other.lengths.row


def test_the_batch_divides_the_pairs_of_a_step() -> None:
    recipe = load_recipe("mdpo")
    model = read_architecture(recipe.model)
    for gib in (10, 24, 80):
        size = choose_batch(recipe, model, gib).per_device_train_batch_size
        assert recipe.method.prompts_per_step % size == 0
    small = replace(sequence_lengths(recipe), completion=16, image=16)
    assert choose_batch(recipe, model, 80, row_lengths=small).per_device_train_batch_size >= size
