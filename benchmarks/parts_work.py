"""What a cell of benchmarks/parts.py times: one part of an update by itself, done in two or more ways in turns."""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch  # noqa: TID253  # this module is loaded when a cell is measured
from update_cell import Cell, division_of, plan_of

from lowmed import prompt
from lowmed.data.split import DataSplit
from lowmed.engine import train
from lowmed.engine.generate import encode
from lowmed.engine.load import Loaded
from lowmed.engine.prefix import sampling
from lowmed.engine.prefix.decode_compiled import CompiledDecoder
from lowmed.engine.vision.feature_store import FeatureStore
from lowmed.recipe import Recipe
from lowmed.run import create_run

Works = dict[str, Callable[[], object]]
IMAGES = 2  # distinct ones, in the cells of the tower
TRL_ROWS = 8  # its default for one forward pass
FEWEST_ROUNDS, MOST_ROUNDS, ENOUGH_S = 3, 15, 4.0


def measure(cell: Cell) -> dict[str, Any]:
    """Median seconds of each way of doing the part, and how often each was timed."""
    works = PARTS[cell["part"]](cell)
    times = in_turns(works)
    loaded = ready(cell["model"], cell["load_in"])
    return {
        "card": loaded.machine.card,
        "precision": loaded.machine.precision,
        "rounds": len(next(iter(times.values()))),
        "seconds": {name: statistics.median(result) for name, result in times.items()},
    }


def in_turns(works: Works) -> dict[str, list[float]]:
    """Seconds of each, one after the other again and again; the first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in works}
    began = time.perf_counter()
    for number in range(MOST_ROUNDS + 1):
        if number > FEWEST_ROUNDS and time.perf_counter() - began > ENOUGH_S:
            break
        for name, work in works.items():
            seconds = timed(work)
            if number:
                times[name].append(seconds)
        if number == 0:
            began = time.perf_counter()
    return times


def timed(work: Callable[[], object]) -> float:
    """Seconds until the work is done, on the card too."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def prefills(cell: Cell) -> Works:
    """The prompt read until its first token is drawn: once for all completions, or once a completion."""
    loaded, rows = ready(cell["model"], cell["load_in"]), cell["group"]
    loaded.model.eval()
    [question], open_image = _questions(cell, 1)
    one = encode(loaded, [question], FAMILY, open_image)
    each = encode(loaded, [question] * rows, FAMILY, open_image)
    how = _sampling(loaded, 1)
    return {
        "once": lambda: sampling.generate(loaded.model, one, [0] * rows, how),
        "each": lambda: sampling.generate(loaded.model, each, list(range(rows)), how),
    }


def training(cell: Cell) -> Works:
    """Log-probabilities of a group's completions and their gradient: each prompt once, or as TRL's trainer has it."""
    import trl  # after the machine was looked at, which tells Triton whether there is a card

    loaded, rows, new = ready(cell["model"], cell["load_in"]), cell["group"], cell["new_tokens"]
    trainer = _trainer(cell["model"], cell["load_in"])
    [question], open_image = _questions(cell, 1)
    loaded.model.train()
    inputs = encode(loaded, [question] * rows, FAMILY, open_image)
    device = inputs["input_ids"].device
    ids = torch.randint(100, (rows, new), generator=torch.Generator().manual_seed(0)).to(device)
    more = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": torch.zeros_like(ids)}
    whole = {name: torch.cat((inputs[name], added), dim=1) for name, added in more.items()}
    whole |= {name: inputs[name] for name in ("pixel_values", "image_grid_thw")}

    def step(owner: type, at_once: int) -> None:
        patches = len(whole["pixel_values"]) // rows
        for start in range(0, rows, at_once):
            some = {name: value[start : start + at_once] for name, value in whole.items() if name != "pixel_values"}
            count = len(some["input_ids"])
            some["pixel_values"] = whole["pixel_values"][start * patches : (start + count) * patches]
            texts = some.pop("input_ids"), some.pop("attention_mask")
            scores, *_ = owner._get_per_token_logps_and_entropies(  # type: ignore[attr-defined]  # trl is untyped
                trainer, trainer.model, *texts, new, compute_entropy=True, num_images=[1] * count, **some
            )
            scores.mean().backward()
        trainer.model.zero_grad()

    return {
        "once": lambda: step(type(trainer), rows),
        "each": lambda: step(trl.GRPOTrainer, TRL_ROWS),
    }


def tower(cell: Cell) -> Works:
    """The features of some images: by the stock tower, encoded one by one, from main memory, and from the disk."""
    loaded = ready(cell["model"], cell["load_in"])
    questions, open_image = _questions(cell, IMAGES)
    inputs = encode(loaded, questions, FAMILY, open_image)
    standing_in = loaded.tower
    assert standing_in is not None
    visual = standing_in.module
    given = inputs["pixel_values"].to(visual.dtype), inputs["image_grid_thw"]
    store = FeatureStore(Path(_SCRATCH.name) / "features" / Path(cell["model"]).name)

    def through(kept: bool, stored: FeatureStore | None) -> object:
        standing_in.store = stored
        if not kept:
            standing_in.kept.clear()
        return visual(given[0], grid_thw=given[1])

    @torch.no_grad()
    def stock() -> object:
        return type(visual).forward(visual, given[0], grid_thw=given[1])

    visual.eval()
    through(False, store)  # fills it
    standing_in.store = None
    return {
        "stock": stock,
        "encoded": lambda: through(False, None),
        "memory": lambda: through(True, None),
        "disk": lambda: through(False, store),
    }


def decoding(cell: Cell) -> Works:
    """Completions of one token, and of `new_tokens` more by each kind of base and step."""
    works: Works = {}
    [question], open_image = _questions(cell, 1)
    for base, ways in (("16bit", ("16bit", "compiled")), ("4bit", ("4bit",))):
        loaded = ready(cell["model"], base)
        loaded.model.eval()
        drawn = partial(
            sampling.generate, loaded.model, encode(loaded, [question], FAMILY, open_image), [0] * cell["group"]
        )
        works[f"{base} first token"] = partial(drawn, _sampling(loaded, 1))
        for way in ways:
            how = _sampling(loaded, 1 + cell["new_tokens"])
            works[way] = partial(drawn, replace(how, decoder=CompiledDecoder()) if way == "compiled" else how)
    return works


PARTS: dict[str, Callable[[Cell], Works]] = {
    "prefill": prefills,
    "train": training,
    "tower": tower,
    "decode": decoding,
}
FAMILY = prompt.family("reasoning")


@cache
def _plan(model: str, load_in: str) -> tuple[Recipe, DataSplit]:
    cell = {"task": "grpo", "model": model, "load_in": load_in, "tokens": 1024, "seed": 0, "group": 4, "questions": 2,
            "updates": 1, "new_tokens": 64}  # fmt: skip
    folder = Path(_SCRATCH.name) / f"{Path(model).name}-{load_in}"
    folder.mkdir()
    recipe = plan_of(cell, "lowmed", folder)
    return recipe, division_of(cell)


@cache
def ready(model: str, load_in: str) -> Loaded:
    """A model with its adapter, loaded once a process."""
    return train.load_for_training(_plan(model, load_in)[0])


@cache
def _trainer(model: str, load_in: str) -> Any:
    """The trainer of that model, ready to train."""
    import transformers

    recipe, data_split = _plan(model, load_in)
    result: list[Any] = []
    stock, transformers.Trainer.train = transformers.Trainer.train, lambda self, **_: result.append(self)
    try:
        run = create_run(recipe, "parts", out=str(Path(_SCRATCH.name) / f"{Path(model).name}-{load_in}" / "run"))
        train.train(run, ready(model, load_in), data_split, report=lambda *_: None)
    finally:
        transformers.Trainer.train = stock
    return result[0]


def _questions(cell: Cell, count: int) -> tuple[Sequence[Any], Any]:
    asked = {"task": "grpo", "questions": count, "updates": 1, "tokens": cell["tokens"]}
    data_split = division_of(asked)
    return data_split.train, data_split.open_image


def _sampling(loaded: Loaded, tokens: int) -> sampling.Sampling:
    never_ends = [*loaded.suppressed, *loaded.end_ids]
    return sampling.Sampling(tokens, 1.0, never_ends, loaded.end_ids)


_SCRATCH = tempfile.TemporaryDirectory()
