"""An outlook in words: lines for the terminal, one JSON document, the tables of the documentation."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import safe_open

from lowmed.plan import architecture, cards, speed
from lowmed.plan.architecture import Architecture
from lowmed.plan.calibration import MeasuredRun
from lowmed.plan.estimate import Estimate, estimate, suggestions
from lowmed.plan.workload import GIB
from lowmed.recipe import GrpoSpec, Recipe

SHOWN_TERM_GIB = 0.05


def header_lines(found: Estimate) -> list[str]:
    """What is planned: model, rows."""
    sizes = found.sizes
    plan, lengths = sizes.plan, sizes.lengths
    adapter = sizes.model.lora(plan.lora.rank)
    size = f"{sizes.model.parameters / 1e9:.3g} billion parameters, {plan.model.load_in}"
    return [
        f"model    {plan.model.name}: {size}, LoRA rank {plan.lora.rank} ({adapter / 1e6:.1f} million)",
        f"rows     at the most {lengths.image} tokens of image, {lengths.text} of text, {lengths.reply} of reply",
        f"         ({lengths.told_by})",
    ]


def full_lines(found: Estimate) -> list[str]:
    """One card: batch, phases by term, verdict, knobs, time."""
    cut, method, card = found.sizes.batch, found.sizes.plan.method, found.card
    known = "est., not measured on it yet" if found.estimated else f"calibrated by {found.scale.rows} rehearsals on it"
    drawn = f"{cut.rows_per_generate} replies drawn at once; " if method.kind == "grpo" else ""
    lines = [
        f"card     {card.name}, {card.gib:.1f} GiB, {card.precision}; memory {known}",
        f"batch    {_cut(found)}",
        f"         {drawn}{cut.rows_per_answer} questions evaluated at once",
        *([f"         rounds of SFT: {_cut(found.sft)}"] if found.sft else []),
        "",
    ]
    for phase, terms in found.terms.items():
        shown = {name: size * found.scale.factor / GIB for name, size in terms.items()}
        parts = [f"{name} {gib:.2f}" for name, gib in sorted(shown.items(), key=_size) if gib >= SHOWN_TERM_GIB]
        mark = " <- peak" if phase == found.phase else ""
        lines.append(f"{phase:<16}{found.gib[phase]:6.2f} GiB{mark}")
        lines += [f"{'':<16}{line}" for line in _wrapped(parts)]
    lines += [
        f"{'':<16}each with {found.scale.context_gib:.2f} GiB beside torch; the allocator's share is in the terms",
        f"{'merge':<16}{found.host_gib:6.2f} GiB of main memory, not of the card",
        "",
        f"verdict  {found.verdict}: {_peak(found)}",
        f"         encoding every image anew would take {found.stock_gib:.1f} GiB",
        f"room     {found.most_rows[0]} rows in one forward, {found.most_rows[1]} with checkpointing",
        f"time     {_time(found)}",
        *([f"         rounds of SFT: {_time(found.sft)}"] if found.sft else []),
    ]
    for number, knob in enumerate(suggestions(found)):
        label = "" if number else "less"
        lines.append(f"{label:<8} {knob.override} saves {knob.saves_gib:.1f} GiB; cost: {knob.costs}")
    lines += [f"beside   {line}" for line in extra_memory_lines(found.sizes.plan)]
    return lines + [f"warning  {line}" for line in warnings(found.sizes.plan, found.sizes.model, card)]


def short_lines(outlooks: Sequence[Estimate]) -> list[str]:
    """All cards, one line each; what is an estimate has a ~."""
    lines = [_cells("card", "GiB", "peak", "phase", "verdict", "rows a forward", "update", "run")]
    for found in outlooks:
        cut, about = found.sizes.batch, "~" if found.estimated else ""
        rows = f"{cut.rows_per_forward}{' checkpointing' if cut.checkpointing else ''}"
        times = ("-", "-") if found.time is None else _durations(found, found.time)
        sizes = f"{found.card.gib:.1f}", f"{about}{found.peak_gib:.1f}"
        lines.append(_cells(found.card.name, *sizes, found.phase, found.verdict, rows, *times))
    if any(found.estimated for found in outlooks):
        lines.append("~ est.: no rehearsal on that card is at hand")
    return lines + [f"beside   {line}" for line in extra_memory_lines(outlooks[0].sizes.plan)]


def verdict_lines(plan: Recipe, card: cards.Card | None = None) -> list[str]:
    """In two or three lines what `lowmed check` says of memory, with the warnings.

    Args:
        plan: the recipe.
        card: the one at hand; without one all known cards.

    Raises:
        SetupError: the model's sizes are not known.
    """
    model = architecture.read_architecture(plan.model)
    if card:
        found = estimate(plan, model, card)
        told = [f"{found.verdict} on {card.name}: {_peak(found)}"]
    else:
        by: dict[str, list[str]] = {}
        for each in cards.CARDS.values():
            by.setdefault(estimate(plan, model, each).verdict, []).append(each.name)
        told = [f"{verdict}: {', '.join(names)}" for verdict, names in by.items()]
    return told + [f"warning: {line}" for line in warnings(plan, model, card)]


def warnings(plan: Recipe, model: Architecture, card: cards.Card | None = None) -> list[str]:
    """What may go wrong that is no matter of memory."""
    found = [card.note] if card and card.note else []
    if plan.lora.start and _touches_vision(Path(plan.lora.start)):
        found.append(f"vision LoRA can not be served: {plan.lora.start} has weights on the vision tower")
    if model.family == "qwen3_vl":
        found.append("planned only: the pixel policy is that of 28 x 28 pixels a token, which Qwen3-VL does not have")
    if plan.model.rollout == "vllm":
        found.append("memory that vLLM reserves is not counted")
    return found


def extra_memory_lines(plan: Recipe) -> list[str]:
    """What runs beside the model and takes nothing of the card that is planned."""
    rewards = plan.method.rewards if isinstance(plan.method, GrpoSpec) else ()
    found = []
    if any(reward.name == "semantic" or reward.options.get("by") == "embedding" for reward in rewards):
        found.append("the embedding model of a reward runs on the CPU, in main memory")
    if plan.judge.url or any(reward.name in ("judge", "clinical") for reward in rewards):
        found.append("the judge answers over its endpoint; one that the same card serves is not counted")
    return found


def document(found: Estimate) -> dict[str, Any]:
    """As JSON: sizes in GiB, times in seconds."""
    time, plan = found.time, found.sizes.plan
    return {
        "card": found.card.name,
        "card_gib": found.card.gib,
        "precision": found.card.precision,
        "estimated": found.estimated,
        "measured_rows": found.scale.rows,
        "batch": asdict(found.sizes.batch),
        "lengths": asdict(found.sizes.lengths),
        "phases": {
            phase: {
                "gib": round(found.gib[phase], 3),
                "terms": {name: round(found.scale.factor * size / GIB, 4) for name, size in terms.items()},
            }
            for phase, terms in found.terms.items()
        },
        "context_gib": found.scale.context_gib,
        "merge_host_gib": round(found.host_gib, 3),
        "peak_gib": round(found.peak_gib, 3),
        "peak_phase": found.phase,
        "stock_tower_peak_gib": round(found.stock_gib, 3),
        "verdict": found.verdict,
        "margin_gib": round(found.margin_gib, 3),
        "most_rows_per_forward": {"plain": found.most_rows[0], "checkpointing": found.most_rows[1]},
        "knobs": [asdict(knob) for knob in suggestions(found)],
        "seconds": time and _seconds(found, time),
        "sft_rounds": found.sft
        and {
            "batch": asdict(found.sft.sizes.batch),
            "most": plan.boundary and plan.boundary.rounds,
            "seconds": found.sft.time and _seconds(found.sft, found.sft.time),
        },
        "beside": extra_memory_lines(plan),
        "warnings": warnings(plan, found.sizes.model, found.card),
    }


def dry_run_lines(row: MeasuredRun) -> list[str]:
    """What a rehearsal measured, beside what the terms alone had planned."""
    cut = row.batch
    again = "on" if cut.checkpointing else "off"
    lines = [
        f"card     {row.card}, {row.precision}; {row.context_gib:.2f} GiB beside what follows",
        f"batch    {cut.rows_per_forward} rows of {row.lengths.row} tokens a forward, checkpointing {again}",
    ]
    for phase, planned in row.planned_gib.items():
        got = row.gib[phase]
        lines.append(f"{phase:<16}measured {got:6.2f} GiB, planned {planned:6.2f} ({planned / got - 1:+.0%})")
    seconds = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in row.seconds.items())
    return [*lines, f"time     {seconds}"]


def _cells(*cells: str) -> str:
    card, gib, peak, phase, verdict, rows, update, run = cells
    return f"{card:<10}{gib:>6}{peak:>7}  {phase:<16}{verdict:<14}{rows:<18}{update:>9}{run:>9}"


def _touches_vision(start: Path) -> bool:
    for path in (start / "adapter_model.safetensors", start / "adapter" / "adapter_model.safetensors"):
        if path.is_file():
            with safe_open(path, "numpy") as weights:
                return any("visual" in name for name in weights.keys())  # noqa: SIM118  # not a mapping
    return False


def _cut(found: Estimate) -> str:
    cut, rows = found.sizes.batch, found.sizes.plan.method.rows_per_update
    again = "on" if cut.checkpointing else "off"
    number = rows // cut.rows_per_forward
    return f"{cut.rows_per_forward} rows a forward, {number} of them an update; checkpointing {again}"


def _peak(found: Estimate) -> str:
    left = f"{abs(found.margin_gib):.1f} GiB {'free' if found.margin_gib >= 0 else 'too much'}"
    return f"{found.peak_gib:.1f} of {found.card.gib:.1f} GiB, {left}{' (est.)' if found.estimated else ''}"


def _seconds(found: Estimate, time: speed.Time) -> dict[str, Any]:
    return {
        "update": round(time.update, 1),
        "generate": round(time.generate, 1),
        "train": round(time.train, 1),
        "run": round(time.update * found.sizes.plan.method.updates),
        "estimated": time.rows == 0,
        "measured_rows": time.rows,
    }


def _time(found: Estimate) -> str:
    if found.time is None:
        return "not known for this card"
    update, run = _durations(found, found.time)
    parts = f" ({_duration(found.time.generate)} generating, at full length)" if found.time.generate else ""
    told = f"at the pace of {found.time.rows} rehearsals" if found.time.rows else "est. until measured"
    return f"{update} an update{parts}, {run} for {found.sizes.plan.method.updates} updates; {told}"


def _durations(found: Estimate, time: speed.Time) -> tuple[str, str]:
    about = "" if time.rows else "~"
    whole = time.update * found.sizes.plan.method.updates
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
