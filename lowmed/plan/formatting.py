"""Estimates as lines for the terminal and as one JSON document."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lowmed import architectures
from lowmed.adapter.tensor_file import file_tensors
from lowmed.models import FAMILIES, Architecture, ModelFamily
from lowmed.plan import cards, speed
from lowmed.plan.estimate import Estimate, Suggestion, estimate, estimate_all, suggestions
from lowmed.plan.workload import GIB
from lowmed.recipe import Recipe
from lowmed.rewards import needs

SHOWN_TERM_GIB = 0.05  # smaller terms are not printed
TERMS_PER_LINE = 4
UNCALIBRATED = "~ estimate: no dry run was made on that GPU"


def header_lines(result: Estimate) -> list[str]:
    """The model and the length of the rows."""
    workload = result.workload
    recipe, lengths = workload.recipe, workload.lengths
    adapter = workload.model.lora(recipe.lora.rank)
    size = f"{workload.model.parameters / 1e9:.3g} billion parameters, {recipe.model.load_in}"
    return [
        f"model    {recipe.model.name}: {size}, LoRA rank {recipe.lora.rank} ({adapter / 1e6:.1f} million)",
        f"tokens   longest row: {lengths.image} of images, {lengths.text} of text, {lengths.completion} of completion",
        f"         ({lengths.source})",
    ]


def full_lines(result: Estimate) -> list[str]:
    """The estimate for one GPU: batch, phases with their terms, verdict, time, ways to save memory."""
    method, card, batch = result.workload.recipe.method, result.card, result.workload.batch
    runs = result.scale.dry_runs
    basis = f"calibrated by {_count(runs, 'dry run')} on it" if runs else "an estimate: no dry run was made on it"
    with_copy = " with 16-bit weights" if batch.dequantizes_rollouts else ""
    kept = ", KV cache kept in training" if batch.keeps_kv_cache else ""
    sampled = f"{batch.rows_per_generate} completions sampled at once{with_copy}{kept}; "
    sampled = sampled if method.completions_per_prompt else ""
    lines = [
        f"device   {card.name}, {card.gib:.1f} GiB, {card.precision}; memory is {basis}",
        *_shard_lines(result),
        f"batch    {_batch(result)}",
        f"         {sampled}{_count(batch.eval_batch_size, 'question')} evaluated at once",
        *([f"         SFT rounds: {_batch(result.sft)}"] if result.sft else []),
        "",
        f"{'phase':<16}{'peak':>6}      terms of at least {SHOWN_TERM_GIB:g} GiB",
    ]
    for phase, terms in result.terms.items():
        scaled = {name: size * result.scale.factor / GIB for name, size in terms.items()}
        largest = sorted(scaled.items(), key=lambda term: -term[1])
        parts = [f"{name} {gib:.2f}" for name, gib in largest if gib >= SHOWN_TERM_GIB]
        wrapped = [", ".join(parts[start : start + TERMS_PER_LINE]) for start in range(0, len(parts), TERMS_PER_LINE)]
        mark = "*" if phase == result.peak_phase else " "
        lines.append(f"{phase:<16}{result.gib[phase]:6.2f} GiB{mark} {''.join(wrapped[:1])}".rstrip())
        lines += [f"{'':<28}{line}" for line in wrapped[1:]]
    context = (
        f"{result.scale.context_gib:.2f} GiB for {'the libraries' if card.name == cards.CPU else 'the CUDA context'}"
    )
    limits = _count(result.max_rows[0], "row"), result.max_rows[1]
    lines += [
        f"{'merge':<16}{result.merge_gib:6.2f} GiB  main memory only",
        f"* peak. Each phase includes {context}; terms include allocator overhead.",
        "",
        f"verdict  {result.verdict}: {_peak(result)}",
        f"         without the vision cache the peak would be {result.stock_vision_gib:.1f} GiB",
        f"limit    {limits[0]} per forward pass, {limits[1]} with gradient checkpointing",
        f"time     {_time(result)}",
        *([f"         SFT rounds: {_time(result.sft)}"] if result.sft else []),
    ]
    if changes := suggestions(result):
        lines.append("to save memory:")
        width = max(len(change.override) for change in changes)
        lines += [f"         {change.override:<{width}}  {_effect(change)}" for change in changes]
    lines += [f"note     {line}" for line in note_lines(result.workload.recipe)]
    return lines + [f"warning  {line}" for line in warning_lines(result.workload.recipe, result.workload.model, card)]


def short_lines(estimates: Sequence[Estimate]) -> list[str]:
    """A table with one line per GPU."""
    lines = ["", _table_row("GPU", "GiB", "peak", "phase", "verdict", "rows/pass", "step", "run")]
    for result in estimates:
        batch, about = result.workload.batch, "" if result.calibrated else "~"
        rows = f"{batch.per_device_train_batch_size}{' checkpointing' if batch.gradient_checkpointing else ''}"
        times = ("-", "-") if result.time is None else _durations(result, result.time)
        memory = f"{result.card.gib:.1f}", f"{about}{result.peak_gib:.1f}"
        lines.append(_table_row(result.card.name, *memory, result.peak_phase, result.verdict, rows, *times))
    lines += ["", "rows/pass: rows in one forward pass; step: time of an optimizer step; run: time of the training run"]
    if not all(result.workload.recipe.steps_are_known for result in estimates):
        lines.append("?: method.epochs needs the data; `lowmed check` derives the steps")
    if not all(result.calibrated for result in estimates):
        lines.append(UNCALIBRATED)
    lines.append("`--gpu NAME` prints the details of one GPU")
    lines += [f"note     {line}" for line in note_lines(estimates[0].workload.recipe)]
    return lines + [f"note     {line}" for line in cards.notes([result.card for result in estimates])]


def verdict_lines(recipe: Recipe, card: cards.Card | None = None, shards: int = 1) -> list[str]:
    """The verdict and the warnings in a few lines, for `lowmed check`.

    Args:
        recipe: the recipe.
        card: the GPU; by default all known GPUs.
        shards: processes that divide the model.

    Raises:
        SetupError: the dimensions of the model are unknown.
    """
    model = architectures.read_architecture(recipe.model)
    if card:
        result = estimate(recipe, model, card, shards=shards)
        lines = [f"{result.verdict} on {card.name}: {_peak(result)}"]
    else:
        names_by_verdict: dict[str, list[str]] = {}
        for result in estimate_all(recipe, model, cards.CARDS.values(), shards=shards):
            names_by_verdict.setdefault(result.verdict, []).append(result.card.name)
        lines = [f"{verdict}: {', '.join(names)}" for verdict, names in names_by_verdict.items()]
        lines += cards.notes(cards.CARDS.values())
    lines += [f"note: {line}" for line in recipe.method.notes]
    return lines + [f"warning: {line}" for line in warning_lines(recipe, model, card)]


def warning_lines(recipe: Recipe, model: Architecture, card: cards.Card | None = None) -> list[str]:
    """Problems other than memory.

    Args:
        recipe: the recipe.
        model: dimensions of its model.
        card: the GPU, if one is chosen.
    """
    family = FAMILIES[model.family]
    lines = [card.note] if card and card.note else []
    if recipe.lora.start and _adapts_vision(Path(recipe.lora.start), family):
        lines.append(f"{recipe.lora.start} adapts the vision tower; servers cannot load such an adapter")
    if recipe.model.rollout == "vllm":
        lines.append("the memory that vLLM reserves is not included")
    return lines


def note_lines(recipe: Recipe) -> list[str]:
    """What the plan does not include, and settings without an effect."""
    lines = list(recipe.method.notes)
    if "embedding" in needs(recipe):
        lines.append("the embedding model of a reward runs on the CPU, in main memory")
    if recipe.judge.url or "judge" in needs(recipe):
        lines.append("the judge is called over its endpoint; a judge served by the same GPU is not included")
    return lines


def as_document(result: Estimate) -> dict[str, Any]:
    """The estimate for one GPU as a JSON document: memory in GiB, times in seconds."""
    time, recipe = result.time, result.workload.recipe
    return {
        "card": result.card.name,
        "card_gib": result.card.gib,
        "precision": result.card.precision,
        "calibrated": result.calibrated,
        "dry_runs": result.scale.dry_runs,
        "batch": asdict(result.workload.batch),
        "lengths": asdict(result.workload.lengths),
        "phases": {
            phase: {
                "gib": round(result.gib[phase], 3),
                "terms": {name: round(result.scale.factor * size / GIB, 4) for name, size in terms.items()},
            }
            for phase, terms in result.terms.items()
        },
        "context_gib": result.scale.context_gib,
        "merge_gib": round(result.merge_gib, 3),
        "peak_gib": round(result.peak_gib, 3),
        "peak_phase": result.peak_phase,
        "peak_gib_without_vision_cache": round(result.stock_vision_gib, 3),
        "shards": result.workload.shards,
        "main_memory_gib": round(result.main_memory_gib, 3),
        "verdict": result.verdict,
        "free_gib": round(result.free_gib, 3),
        "max_rows_per_forward": {"plain": result.max_rows[0], "checkpointing": result.max_rows[1]},
        "suggestions": [_suggestion(change) for change in suggestions(result)],
        "seconds": time and _seconds(result, time),
        "sft_rounds": result.sft
        and {
            "batch": asdict(result.sft.workload.batch),
            "max_rounds": recipe.bridge and recipe.bridge.rounds,
            "seconds": result.sft.time and _seconds(result.sft, result.sft.time),
        },
        "extra_memory": note_lines(recipe),
        "warnings": warning_lines(recipe, result.workload.model, result.card),
    }


def _shard_lines(result: Estimate) -> list[str]:
    """What each of several processes holds, if they divide the model."""
    shards = result.workload.shards
    if shards == 1:
        return []
    each = result.main_memory_gib
    return [
        f"shards   {shards} processes with such a GPU each; the figures are those of one of them",
        f"         main memory while loading: {each:.1f} GiB in each process, {shards * each:.1f} GiB in all",
    ]


def _table_row(*cells: str) -> str:
    card, gib, peak, phase, verdict, rows, step, run = cells
    return f"{card:<10}{gib:>6}{peak:>7}  {phase:<16}{verdict:<14}{rows:<18}{step:>9}{run:>9}"


def _adapts_vision(start: Path, family: ModelFamily) -> bool:
    for path in (start / "adapter_model.safetensors", start / "adapter" / "adapter_model.safetensors"):
        if path.is_file():
            return any(family.in_vision_tower(name) for name in file_tensors(path))
    return False


def _batch(result: Estimate) -> str:
    batch, rows = result.workload.batch, result.workload.recipe.method.rows_per_step
    checkpointing = "on" if batch.gradient_checkpointing else "off"
    size = batch.per_device_train_batch_size
    passes = _count(rows // size, "pass")
    unit = "pair" if result.workload.recipe.method.preferences == "pairs" else "row"
    return f"{_count(size, unit)} per forward pass, {passes} per step; gradient checkpointing {checkpointing}"


def _peak(result: Estimate) -> str:
    rest = f"{abs(result.free_gib):.1f} GiB {'free' if result.free_gib >= 0 else 'missing'}"
    return f"{result.peak_gib:.1f} of {result.card.gib:.1f} GiB, {rest}{'' if result.calibrated else ' (estimate)'}"


def _effect(change: Suggestion) -> str:
    slower = f"training about {change.slowdown:.1f}x slower, " if change.slowdown else ""
    return f"-{change.saves_gib:.1f} GiB; {slower}{change.cost}"


def _suggestion(change: Suggestion) -> dict[str, Any]:
    slowdown = change.slowdown and round(change.slowdown, 2)
    return asdict(change) | {"saves_gib": round(change.saves_gib, 3), "slowdown": slowdown}


def _seconds(result: Estimate, time: speed.Time) -> dict[str, Any]:
    return {
        "step": round(time.step, 1),
        "generate": round(time.generate, 1),
        "train": round(time.train, 1),
        "run": round(_run_seconds(result, time)) if result.workload.recipe.steps_are_known else None,
        "dev_evaluation": round(time.dev, 1),
        "dev_evaluations": time.evaluations if result.workload.recipe.steps_are_known else None,
        "calibrated": time.dry_runs > 0,
        "dry_runs": time.dry_runs,
    }


def _time(result: Estimate) -> str:
    if result.time is None:
        return "unknown for this device" if result.workload.shards == 1 else "depends on the connection of the GPUs"
    step, run = _durations(result, result.time)
    sampling = f" (sampling {_duration(result.time.generate)} at full length)" if result.time.generate else ""
    runs = result.time.dry_runs
    basis = f"calibrated by {_count(runs, 'dry run')}" if runs else "an estimate"
    recipe, time = result.workload.recipe, result.time
    dev = f" and {time.evaluations} dev evaluations of {_duration(time.dev)}" if time.dev else ""
    steps = f"{run} for {recipe.method.max_steps} steps{dev}"
    if not recipe.steps_are_known:
        steps = f"the steps of method.epochs={recipe.method.epochs:g} depend on the data (`lowmed check`)"
    return f"{step} per step{sampling}, {steps}; {basis}"


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def _durations(result: Estimate, time: speed.Time) -> tuple[str, str]:
    about = "" if time.dry_runs else "~"
    run = about + _duration(_run_seconds(result, time)) if result.workload.recipe.steps_are_known else "?"
    return about + _duration(time.step), run


def _run_seconds(result: Estimate, time: speed.Time) -> float:
    return time.run(result.workload.recipe.method.max_steps)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 86400:.0f} days"
