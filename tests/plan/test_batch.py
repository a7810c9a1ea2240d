import pytest

from lowmed import recipe_file
from lowmed.plan import architecture, cards, lengths, memory
from lowmed.plan.batch import KEPT_FREE, TOKENS_ENOUGH, Batch, answer_rows, batch
from lowmed.plan.measured import Scale
from lowmed.plan.memory import Sizes
from lowmed.recipe import Model

UNMEASURED = Scale()


def cut(card_gib: float, *overrides: str, recipe: str = "rarl", nano: bool = False) -> Batch:
    plan = recipe_file.load(recipe, overrides, nano=nano)
    return batch(plan, architecture.read(plan.model), card_gib, scale=UNMEASURED)


@pytest.mark.parametrize("recipe", ["rarl", "rarl-sft", "rl-plain"])
def test_without_a_card_nano_has_all_rows_in_one_forward(recipe: str) -> None:
    plan = recipe_file.load(recipe, nano=True)
    found = cut(0.0, recipe=recipe, nano=True)
    assert (found.rows_per_forward, found.checkpointing) == (plan.method.rows_per_update, False)


def test_without_a_card_a_large_model_has_two_rows() -> None:
    assert cut(0.0) == Batch(2, 64, False)
    assert cut(0.0, "method.questions_per_update=1", "method.group_size=3").rows_per_forward == 1


@pytest.mark.parametrize("gib", [0.0, 8.0, 80.0])
def test_what_the_recipe_says_stands(gib: float) -> None:
    found = cut(gib, "method.rows_per_forward=32", "method.checkpointing=true")
    assert (found.rows_per_forward, found.checkpointing) == (32, True)
    assert cut(gib, "method.checkpointing=false").checkpointing is False
    assert cut(gib, "method.rows_per_forward=1").rows_per_forward == 1


@pytest.mark.parametrize("card", cards.CARDS.values(), ids=cards.CARDS)
@pytest.mark.parametrize(
    "overrides", [(), ("model.max_image_tokens=1024",), ("method.beta=0.1", "method.group_size=12")]
)
def test_what_is_derived_fits_with_room_and_divides(card: cards.Card, overrides: tuple[str, ...]) -> None:
    plan = recipe_file.load("rarl", overrides)
    model = architecture.read(plan.model)
    found = batch(plan, model, card.gib, scale=UNMEASURED)
    assert plan.method.rows_per_update % found.rows_per_forward == 0
    assert plan.method.rows_per_update % found.rows_per_generate == 0
    assert found.rows_per_generate % plan.method.group_size == 0  # type: ignore[union-attr]
    known = lengths.of(plan)
    assert found.rows_per_forward * known.row <= TOKENS_ENOUGH
    terms = memory.phases(Sizes(plan, model, known, found))
    for phase in ("rollout", "backward", "evaluation"):
        assert UNMEASURED.gib(terms[phase]) <= (1 - KEPT_FREE[False]) * card.gib


def test_a_measured_card_is_used_further() -> None:
    plan = recipe_file.load("rarl-sft")
    model = architecture.read(plan.model)
    before, after = (batch(plan, model, 20.0, scale=Scale(1.08, 0.5, rows)) for rows in (0, 1))
    assert after.rows_per_forward > before.rows_per_forward


def test_where_the_activations_do_not_fit_they_are_computed_anew() -> None:
    assert cut(79.2).checkpointing is False
    assert cut(6.0).checkpointing is True
    assert cut(6.0).rows_per_forward > 1


def test_a_small_card_draws_its_replies_in_more_calls() -> None:
    long = ("method.max_new_tokens=4096", "method.questions_per_update=16")
    assert cut(139.8, *long).rows_per_generate == 128
    assert cut(11.6, *long).rows_per_generate == 32


def test_where_nothing_fits_the_smallest_is_left() -> None:
    assert cut(1.0) == Batch(1, 8, True, 1)


def test_an_evaluation_asks_fewer_questions_at_once_where_64_would_not_fit() -> None:
    large = Model(name="Qwen/Qwen2.5-VL-7B-Instruct", max_image_tokens=1024)
    for spec, tokens, gib, rows in [
        (Model(), 256, 79.2, 64),
        (large, 2048, 23.5, 16),
        (Model(name="nano"), 256, 0.0, 64),
    ]:
        assert answer_rows(spec, architecture.read(spec), tokens, gib) == rows


@pytest.mark.parametrize(("hardware", "card"), cards.PRESETS.items())
def test_a_preset_plans_for_its_card_and_never_for_more_than_is_there(hardware: str, card: str) -> None:
    gib = cards.CARDS[card].gib
    assert cut(139.8, f"hardware={hardware}") == cut(gib)
    assert cut(11.6, f"hardware={hardware}") == cut(11.6)
    assert cut(0.0, f"hardware={hardware}", nano=True).rows_per_forward == 64
    assert cut(139.8, f"hardware={hardware}", "method.rows_per_forward=2").rows_per_forward == 2
