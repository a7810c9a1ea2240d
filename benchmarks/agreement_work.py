"""Compares the greedy completions of the ways to decode, for benchmarks/gpu_first_steps.py."""

from dataclasses import replace
from itertools import zip_longest
from typing import Any

from parts_work import FAMILY, decoders, load, questions_of

from lowmed.engine.generate import _generate_with_transformers, encode
from lowmed.engine.prefix import sampling


def agreement(model: str, load_in: str, prompts: int, tokens: int) -> dict[str, Any]:
    """Greedy completions of every way to decode, compared with those of lowmed's eager step.

    Args:
        model: `nano`, or a folder with config, tokenizer and processor files.
        load_in: precision of the base.
        prompts: questions, each with its own image.
        tokens: longer completions are truncated.

    Returns:
        For each other way the share of equal completions, the first token, from 1, at which any differs, and False for
        graphs that could not be captured.
    """
    loaded = load(model, load_in)
    loaded.model.eval()
    questions, open_image = questions_of({"tokens": 64}, prompts)
    inputs = encode(loaded, questions, FAMILY, open_image)
    how = sampling.Sampling(tokens, 0.0, loaded.suppressed, loaded.end_ids)
    ways = decoders()
    made = {
        way: sampling.generate(loaded.model, inputs, range(prompts), replace(how, decoder=decoder))
        for way, decoder in ways.items()
    }
    made["transformers"] = _generate_with_transformers(loaded, inputs, how)
    compared = {way: _compared(made["eager"], other) for way, other in made.items() if way != "eager"}
    for way, result in compared.items():
        result["captured"] = way != "graph" or ways[way].use_graphs
    return {"prompts": prompts, "tokens": tokens, "ways": compared}


def _compared(ours: list[list[int]], others: list[list[int]]) -> dict[str, Any]:
    first = [
        next((place for place, pair in enumerate(zip_longest(*both), 1) if pair[0] != pair[1]), None)
        for both in zip(ours, others, strict=True)
    ]
    different = [place for place in first if place is not None]
    return {"equal": 1 - len(different) / len(first), "first_different": min(different, default=None)}
