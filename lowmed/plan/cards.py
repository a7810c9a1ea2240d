"""The cards that runs are planned for: what torch reports of their memory, and how fast they are taken to be."""

import os
from dataclasses import dataclass

from lowmed.errors import RecipeError
from lowmed.recipe import Recipe


@dataclass(frozen=True)
class Speed:
    """How fast a card is taken to be, all estimates.

    Attributes:
        tflops: TFLOP/s reached in training.
        decode_ms: of one pass that is bound by the launching of kernels, as a step of decoding is, through 28 layers.
        gb_per_s: of its memory.
    """

    tflops: float
    decode_ms: float
    gb_per_s: float


@dataclass(frozen=True)
class Card:
    """One card. `gib` is what torch reports, less than the box says."""

    name: str
    gib: float
    precision: str = "bf16"
    speed: Speed | None = None
    note: str = ""


_OLD = "torch 2.11 and later need a build for CUDA 12.6 on this card; their ordinary build is CUDA 13, which dropped it"
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
MIDDLING = Speed(45, 50, 600)  # taken for a card that is not known
# The card whose memory a recipe's `hardware` plans for.
PRESETS = {"t4": "T4", "24gb": "RTX 4090", "a100-40gb": "A100-40", "80gb": "A100-80"}
CPU = "CPU"


def named(name: str) -> Card:
    """The card of that name, written in any case, with or without RTX, NVIDIA, blanks and dashes.

    Raises:
        RecipeError: there is none.
    """
    asked = _plain(name)
    for card in CARDS.values():
        if asked in (_plain(card.name), f"{_plain(card.name)}gb"):
            return card
    raise RecipeError(
        f"the card `{name}` is not known", "--gpu", f"use one of {', '.join(CARDS)}; or give its memory with --gib"
    )


def like(reported: str, gib: float) -> Card:
    """The known card that torch reports under this name with this memory; an unknown one has no estimate of time."""
    words = _plain(reported).removeprefix("tesla")
    fits = [card for card in CARDS.values() if words.startswith(_plain(card.name.partition("-")[0]))]
    near = [card for card in fits if abs(card.gib - gib) < 0.15 * card.gib]
    # The longest name first: an A100 begins like an A10, and an L40S like an L4.
    return max(near, key=lambda card: len(card.name), default=Card(reported, gib))


def this_cpu() -> Card:
    """This machine without a card: its main memory takes the card's place."""
    return Card(CPU, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, "fp32")


def preset(spec: Recipe) -> Card | None:
    """The card that the recipe's `hardware` names."""
    return CARDS[PRESETS[spec.hardware]] if spec.hardware else None


def _plain(name: str) -> str:
    kept = name.lower().replace("nvidia", "").replace("geforce", "").replace("rtx", "")
    return "".join(letter for letter in kept if letter.isalnum())
