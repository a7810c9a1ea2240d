"""The GPUs that runs are planned for: their memory as torch reports it, and their estimated speed."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from lowmed.errors import RecipeError
from lowmed.recipe import Recipe


@dataclass(frozen=True)
class Speed:
    """The estimated speed of a GPU.

    Attributes:
        tflops: TFLOP/s reached in training.
        decode_ms: milliseconds of a pass through 28 layers that is bound by kernel launches, such as a decoding step.
        gb_per_s: memory bandwidth in GB/s.
    """

    tflops: float
    decode_ms: float
    gb_per_s: float


@dataclass(frozen=True)
class Card:
    """One GPU.

    Attributes:
        name: name in the planner's table.
        gib: memory in GiB as torch reports it, which is less than the advertised size.
        precision: `bf16`, `fp16` or `fp32`.
        speed: estimated speed; None if unknown.
        note: a warning about this GPU.
    """

    name: str
    gib: float
    precision: str = "bf16"
    speed: Speed | None = None
    note: str = ""


_OLD = "this GPU needs the CUDA 12.6 build of torch 2.11 to 2.14; the default build, CUDA 13, does not support it"
CARDS = {
    card.name: card
    for card in (
        Card("T4", 14.6, "fp16", Speed(17, 68, 320)),
        Card("P100", 15.9, "fp16", Speed(7, 80, 732), _OLD),
        Card("V100", 15.8, "fp16", Speed(40, 60, 900), _OLD),
        Card("RTX 3060", 11.6, "bf16", Speed(12, 50, 360)),
        Card("RTX 3090", 23.6, "bf16", Speed(30, 41, 936)),
        Card("RTX 4090", 23.5, "bf16", Speed(70, 31, 1008)),
        Card("RTX 5090", 31.3, "bf16", Speed(90, 29, 1792)),
        Card("A10", 22.0, "bf16", Speed(40, 50, 600)),
        Card("L4", 22.0, "bf16", Speed(45, 53, 300)),
        Card("L40S", 44.4, "bf16", Speed(100, 38, 864)),
        Card("A100-40", 39.4, "bf16", Speed(120, 47, 1555)),
        Card("A100-80", 79.2, "bf16", Speed(120, 47, 2039)),
        Card("H100", 79.2, "bf16", Speed(250, 33, 3350)),
        Card("H200", 139.8, "bf16", Speed(260, 33, 4800)),
    )
}
TYPICAL = Speed(45, 50, 600)  # assumed for an unknown GPU
# Value of `hardware` in a recipe -> the GPU whose memory it plans for.
PRESETS = {"t4": "T4", "24gb": "RTX 4090", "a100-40gb": "A100-40", "80gb": "A100-80"}
CPU = "CPU"


def notes(shown: Iterable[Card]) -> list[str]:
    """What some of the GPUs need besides memory."""
    by_note: dict[str, list[str]] = {}
    for card in shown:
        if card.note:
            by_note.setdefault(card.note, []).append(card.name)
    return [f"{', '.join(names)}: {note}" for note, names in by_note.items()]


def card_by_name(name: str) -> Card:
    """The GPU with a name. Case, spaces, dashes, `NVIDIA` and `RTX` are ignored.

    Raises:
        RecipeError: the name is unknown or ambiguous.
    """
    wanted = _plain(name)
    for card in CARDS.values():
        if wanted in (_plain(card.name), f"{_plain(card.name)}gb"):
            return card
    raise RecipeError(
        f"the GPU `{name}` is unknown", "--gpu", f"use one of {', '.join(CARDS)}, or give its memory with --gib"
    )


def match_card(reported: str, gib: float) -> Card:
    """The known GPU that matches a name and memory reported by torch, else a `Card` without speed.

    Args:
        reported: name as torch reports it.
        gib: memory in GiB as torch reports it.
    """
    words = _plain(reported).removeprefix("tesla")
    by_name = [card for card in CARDS.values() if words.startswith(_plain(card.name.partition("-")[0]))]
    by_memory = [card for card in by_name if abs(card.gib - gib) < 0.15 * card.gib]
    # The longest name is taken: `A100` begins with `A10`, and `L40S` with `L4`.
    return max(by_memory, key=lambda card: len(card.name), default=Card(reported, gib))


def this_cpu() -> Card:
    """This machine without a GPU: its main memory takes the place of GPU memory."""
    return Card(CPU, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, "fp32")


def preset(recipe: Recipe) -> Card | None:
    """The GPU that the recipe's `hardware` names."""
    return CARDS[PRESETS[recipe.hardware]] if recipe.hardware else None


def _plain(name: str) -> str:
    kept = name.lower().replace("nvidia", "").replace("geforce", "").replace("rtx", "")
    return "".join(letter for letter in kept if letter.isalnum())
