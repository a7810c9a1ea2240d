"""An outlook in words: lines for the terminal, one JSON document, the tables of the documentation."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import safe_open

from lowmed.models import FAMILIES, Architecture, ModelFamily
from lowmed.plan import architecture, cards, speed
from lowmed.plan.calibration import MeasuredRun
from lowmed.plan.estimate import Estimate, estimate, suggestions
from lowmed.plan.workload import GIB
from lowmed.recipe import Recipe
from lowmed.rewards import needs

SHOWN_TERM_GIB = 0.05


def header_lines(result: Estimate) -> list[str]:
    """What is planned: model, rows."""
    sizes = result.sizes
    recipe, lengths = sizes.recipe, sizes.lengths
    adapter = sizes.model.lora(recipe.lora.rank)
    size = f"{sizes.model.parameters / 1e9:.3g} billion parameters, {recipe.model.load_in}"
    return [
        f"model    {recipe.model.name}: {size}, LoRA rank {recipe.lora.rank} ({adapter / 1e6:.1f} million)",
        f"rows     at the most {lengths.image} tokens of image, {lengths.text} of text, {lengths.completion} of reply",
        f"         ({lengths.told_by})",
    ]


def full_lines(result: Estimate) -> list[str]:
    """One card: batch, phases by term, verdict, knobs, time."""
    cut, method, card = result.sizes.batch, result.sizes.recipe.method, result.card
    known = (
        "est., not measured on it yet" if result.estimated else f"calibrated by {result.scale.rows} rehearsals on it"
    )
    drawn = f"{cut.rows_per_generate} replies drawn at once; " if method.completions_per_prompt else ""
    lines = [
        f"card     {card.name}, {card.gib:.1f} GiB, {card.precision}; memory {known}",
        f"batch    {_cut(result)}",
        f"         {drawn}{cut.rows_per_answer} questions evaluated at once",
        *([f"         rounds of SFT: {_cut(result.sft)}"] if result.sft else []),
        "",
    ]
    for phase, terms in result.terms.items():
        shown = {name: size * result.scale.factor / GIB for name, size in terms.items()}
        parts = [f"{name} {gib:.2f}" for name, gib in sorted(shown.items(), key=_size) if gib >= SHOWN_TERM_GIB]
        mark = " <- peak" if phase == result.phase else ""
        lines.append(f"{phase:<16}{result.gib[phase]:6.2f} GiB{mark}")
        lines += [f"{'':<16}{line}" for line in _wrapped(parts)]
    lines += [
        f"{'':<16}each with {result.scale.context_gib:.2f} GiB beside torch; the allocator's share is in the terms",
        f"{'merge':<16}{result.host_gib:6.2f} GiB of main memory, not of the card",
        "",
        f"verdict  {result.verdict}: {_peak(result)}",
        f"         encoding every image anew would take {result.stock_gib:.1f} GiB",
        f"room     {result.most_rows[0]} rows in one forward, {result.most_rows[1]} with checkpointing",
        f"time     {_time(result)}",
        *([f"         rounds of SFT: {_time(result.sft)}"] if result.sft else []),
    ]
    for number, knob in enumerate(suggestions(result)):
        label = "" if number else "less"
        lines.append(f"{label:<8} {knob.override} saves {knob.saves_gib:.1f} GiB; cost: {knob.costs}")
    lines += [f"beside   {line}" for line in extra_memory_lines(result.sizes.recipe)]
    return lines + [f"warning  {line}" for line in warning_lines(result.sizes.recipe, result.sizes.model, card)]


def short_lines(outlooks: Sequence[Estimate]) -> list[str]:
    """All cards, one line each; what is an estimate has a ~."""
    lines = [_cells("card", "GiB", "peak", "phase", "verdict", "rows a forward", "update", "run")]
    for result in outlooks:
        cut, about = result.sizes.batch, "~" if result.estimated else ""
        rows = f"{cut.per_device_train_batch_size}{' checkpointing' if cut.gradient_checkpointing else ''}"
        times = ("-", "-") if result.time is None else _durations(result, result.time)
        sizes = f"{result.card.gib:.1f}", f"{about}{result.peak_gib:.1f}"
        lines.append(_cells(result.card.name, *sizes, result.phase, result.verdict, rows, *times))
    if any(result.estimated for result in outlooks):
        lines.append("~ est.: no rehearsal on that card is at hand")
    return lines + [f"beside   {line}" for line in extra_memory_lines(outlooks[0].sizes.recipe)]


def verdict_lines(recipe: Recipe, card: cards.Card | None = None) -> list[str]:
    """In two or three lines what `lowmed check` says of memory, with the warnings.

    Args:
        recipe: the recipe.
        card: the one at hand; without one all known cards.

    Raises:
        SetupError: the model's sizes are not known.
    """
    model = architecture.read_architecture(recipe.model)
    if card:
        result = estimate(recipe, model, card)
        told = [f"{result.verdict} on {card.name}: {_peak(result)}"]
    else:
        by: dict[str, list[str]] = {}
        for each in cards.CARDS.values():
            by.setdefault(estimate(recipe, model, each).verdict, []).append(each.name)
        told = [f"{verdict}: {', '.join(names)}" for verdict, names in by.items()]
    return told + [f"warning: {line}" for line in warning_lines(recipe, model, card)]


def warning_lines(recipe: Recipe, model: Architecture, card: cards.Card | None = None) -> list[str]:
    """What may go wrong that is no matter of memory."""
    result = [card.note] if card and card.note else []
    if recipe.lora.start and _touches_vision(Path(recipe.lora.start), FAMILIES[model.family]):
        result.append(f"vision LoRA can not be served: {recipe.lora.start} has weights on the vision tower")
    if not FAMILIES[model.family].trainable:
        result.append(f"planned only: {FAMILIES[model.family].title} cannot be trained here yet")
    if recipe.model.rollout == "vllm":
        result.append("memory that vLLM reserves is not counted")
    return result


def extra_memory_lines(recipe: Recipe) -> list[str]:
    """What runs beside the model and takes nothing of the card that is planned."""
    needed = needs(recipe)
    result = []
    if "embedding" in needed:
        result.append("the embedding model of a reward runs on the CPU, in main memory")
    if recipe.judge.url or "judge" in needed:
        result.append("the judge answers over its endpoint; one that the same card serves is not counted")
    return result


def as_document(result: Estimate) -> dict[str, Any]:
    """As JSON: sizes in GiB, times in seconds."""
    time, recipe = result.time, result.sizes.recipe
    return {
        "card": result.card.name,
        "card_gib": result.card.gib,
        "precision": result.card.precision,
        "estimated": result.estimated,
        "measured_rows": result.scale.rows,
        "batch": asdict(result.sizes.batch),
        "lengths": asdict(result.sizes.lengths),
        "phases": {
            phase: {
                "gib": round(result.gib[phase], 3),
                "terms": {name: round(result.scale.factor * size / GIB, 4) for name, size in terms.items()},
            }
            for phase, terms in result.terms.items()
        },
        "context_gib": result.scale.context_gib,
        "merge_host_gib": round(result.host_gib, 3),
        "peak_gib": round(result.peak_gib, 3),
        "peak_phase": result.phase,
        "stock_tower_peak_gib": round(result.stock_gib, 3),
        "verdict": result.verdict,
        "margin_gib": round(result.margin_gib, 3),
        "most_rows_per_forward": {"plain": result.most_rows[0], "checkpointing": result.most_rows[1]},
        "knobs": [asdict(knob) for knob in suggestions(result)],
        "seconds": time and _seconds(result, time),
        "sft_rounds": result.sft
        and {
            "batch": asdict(result.sft.sizes.batch),
            "most": recipe.bridge and recipe.bridge.rounds,
            "seconds": result.sft.time and _seconds(result.sft, result.sft.time),
        },
        "beside": extra_memory_lines(recipe),
        "warnings": warning_lines(recipe, result.sizes.model, result.card),
    }


def dry_run_lines(row: MeasuredRun) -> list[str]:
    """What a rehearsal measured, beside what the terms alone had planned."""
    cut = row.batch
    again = "on" if cut.gradient_checkpointing else "off"
    lines = [
        f"card     {row.card}, {row.precision}; {row.context_gib:.2f} GiB beside what follows",
        f"batch    {cut.per_device_train_batch_size} rows of {row.lengths.row} tokens a forward, checkpointing {again}",
    ]
    for phase, planned in row.planned_gib.items():
        got = row.gib[phase]
        lines.append(f"{phase:<16}measured {got:6.2f} GiB, planned {planned:6.2f} ({planned / got - 1:+.0%})")
    seconds = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in row.seconds.items())
    return [*lines, f"time     {seconds}"]


def _cells(*cells: str) -> str:
    card, gib, peak, phase, verdict, rows, update, run = cells
    return f"{card:<10}{gib:>6}{peak:>7}  {phase:<16}{verdict:<14}{rows:<18}{update:>9}{run:>9}"


def _touches_vision(start: Path, family: ModelFamily) -> bool:
    for path in (start / "adapter_model.safetensors", start / "adapter" / "adapter_model.safetensors"):
        if path.is_file():
            with safe_open(path, "numpy") as weights:
                return any(family.in_vision_tower(name) for name in weights.keys())  # noqa: SIM118  # not a mapping
    return False


def _cut(result: Estimate) -> str:
    cut, rows = result.sizes.batch, result.sizes.recipe.method.rows_per_step
    again = "on" if cut.gradient_checkpointing else "off"
    number = rows // cut.per_device_train_batch_size
    return f"{cut.per_device_train_batch_size} rows a forward, {number} of them an update; checkpointing {again}"


def _peak(result: Estimate) -> str:
    left = f"{abs(result.margin_gib):.1f} GiB {'free' if result.margin_gib >= 0 else 'too much'}"
    return f"{result.peak_gib:.1f} of {result.card.gib:.1f} GiB, {left}{' (est.)' if result.estimated else ''}"


def _seconds(result: Estimate, time: speed.Time) -> dict[str, Any]:
    return {
        "update": round(time.update, 1),
        "generate": round(time.generate, 1),
        "train": round(time.train, 1),
        "run": round(time.update * result.sizes.recipe.method.max_steps),
        "estimated": time.rows == 0,
        "measured_rows": time.rows,
    }


def _time(result: Estimate) -> str:
    if result.time is None:
        return "not known for this card"
    update, run = _durations(result, result.time)
    parts = f" ({_duration(result.time.generate)} generating, at full length)" if result.time.generate else ""
    told = f"at the pace of {result.time.rows} rehearsals" if result.time.rows else "est. until measured"
    return f"{update} an update{parts}, {run} for {result.sizes.recipe.method.max_steps} updates; {told}"


def _durations(result: Estimate, time: speed.Time) -> tuple[str, str]:
    about = "" if time.rows else "~"
    whole = time.update * result.sizes.recipe.method.max_steps
    return about + _duration(time.update), about + _duration(whole)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _size(term: tuple[str, float]) -> float:
    return -term[1]


def _wrapped(parts: Sequence[str], most: int = 5) -> list[str]:
    rows = math.ceil(len(parts) / most)
    return [", ".join(parts[row * most : (row + 1) * most]) for row in range(rows)]
