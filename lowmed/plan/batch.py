"""How the rows of an update are cut for a card. The trainers and the planner ask the same function."""

from collections.abc import Iterator
from dataclasses import replace

from lowmed import recipe
from lowmed.plan import cards, lengths, measured
from lowmed.plan.architecture import Architecture
from lowmed.plan.measured import Scale
from lowmed.plan.memory import EVALUATION_ROWS, Batch, Sizes, phases

__all__ = ["Batch", "answer_rows", "batch"]

KEPT_FREE = {True: 0.1, False: 0.25}  # share of the card that a derived batch leaves: measured on such a card, or not
FEW_ROWS = 4  # from here on keeping the activations is faster than more rows at once
TOKENS_ENOUGH = 16_384  # in one forward; a larger one is no faster
SMALL = 50e6  # parameters of a model that a CPU trains in one forward


def batch(
    plan: recipe.Recipe,
    model: Architecture,
    card_gib: float,
    *,
    card: str = "",
    precision: str = "bf16",
    scale: Scale | None = None,
    row_lengths: lengths.Lengths | None = None,
) -> Batch:
    """The batch for a card: what the recipe says, and for what it leaves open the fastest that fits with room.

    The recipe's `hardware` plans for that card's memory, never for more than there is. Without a card everything is
    one forward of a small model, two rows of a large one.

    Args:
        plan: the whole recipe.
        model: its model's sizes.
        card_gib: memory of the card as torch reports it; 0 without a card.
        card: its name as torch reports it, for what was measured on it.
        precision: `bf16`, `fp16` or `fp32`.
        scale: measured over planned memory; by default what is stored for that card.
        row_lengths: of the run's rows; by default what is known of the data.
    """
    method = plan.method
    if card_gib == 0:
        most = method.rows_per_update if model.parameters < SMALL else 2
        rows = method.rows_per_forward or next(_divisors(method.rows_per_update, most))
        return Batch(rows, _generated(method)[0], bool(method.checkpointing))
    wanted = cards.preset(plan)
    gib = min(card_gib, wanted.gib) if wanted else card_gib
    scale = scale or measured.scale(cards.like(card, card_gib).name)
    sizes = Sizes(plan, model, row_lengths or lengths.of(plan), Batch(1, 1, True), 4 if precision == "fp32" else 2)

    def fits(phase: str, tried: Batch) -> bool:
        terms = phases(replace(sizes, batch=tried)).get(phase, {})
        return scale.gib(terms) <= (1 - KEPT_FREE[scale.rows > 0]) * gib

    tried = list(_tried(method, max(1, TOKENS_ENOUGH // sizes.lengths.row)))
    cut = next((each for each in tried if fits("backward", each) and fits("scoring forward", each)), tried[-1])
    calls = [replace(cut, rows_per_generate=rows) for rows in _generated(method)]
    cut = next((each for each in calls if fits("rollout", each)), calls[-1])
    asked = [replace(cut, rows_per_answer=rows) for rows in _divisors(EVALUATION_ROWS)]
    return next((each for each in asked if fits("evaluation", each)), asked[-1])


def answer_rows(
    spec: recipe.Model,
    model: Architecture,
    max_new_tokens: int,
    card_gib: float,
    *,
    card: str = "",
    precision: str = "bf16",
) -> int:
    """Questions that an evaluation may ask at once, one image each at the pixel policy's ceiling; for any recipe.

    Args:
        spec: the model, as a recipe says it.
        model: its sizes.
        max_new_tokens: of a reply.
        card_gib: as for `batch`, and so the next two.
        card: its name as torch reports it.
        precision: `bf16`, `fp16` or `fp32`.
    """
    plan = recipe.Recipe(
        about="an evaluation",
        model=spec,
        data=recipe.Data(source="any"),
        method=recipe.Sft(kind="sft"),
        eval=recipe.Eval(max_new_tokens=max_new_tokens),
    )
    return batch(plan, model, card_gib, card=card, precision=precision).rows_per_answer


def _tried(method: recipe.Method, most: int) -> Iterator[Batch]:
    """Batches from the fastest to the smallest, keeping to what the recipe says."""
    said = method.rows_per_forward
    rows = [said] if said else list(_divisors(method.rows_per_update, most))
    few = min(FEW_ROWS, method.rows_per_update)
    open_ = method.checkpointing is None
    if open_ or not method.checkpointing:
        yield from (Batch(each, 1, False) for each in rows if each >= few or said or not open_)
    if open_ or method.checkpointing:
        yield from (Batch(each, 1, True) for each in rows)


def _generated(method: recipe.Method) -> list[int]:
    """Rows that one call of generate may have, most first: whole groups, in equal calls."""
    if not isinstance(method, recipe.Grpo):
        return [EVALUATION_ROWS]
    return [questions * method.group_size for questions in _divisors(method.questions_per_update)]


def _divisors(number: int, most: int | None = None) -> Iterator[int]:
    """The divisors of a number, largest first, none above `most`."""
    return (size for size in range(min(number, most or number), 0, -1) if number % size == 0)
