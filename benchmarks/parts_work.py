"""The work of the cells of benchmarks/parts.py: one part of a training step in two or more variants."""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch  # noqa: TID253  # this module is imported when a cell is measured
from update_cell import Cell, data_of, recipe_of

from lowmed import prompt
from lowmed.data.split import DataSplit
from lowmed.engine import train
from lowmed.engine.generate import encode
from lowmed.engine.load import Loaded
from lowmed.engine.prefix import sampling
from lowmed.engine.prefix.decoder import Decoder
from lowmed.engine.vision.feature_store import FeatureStore
from lowmed.recipe import Recipe
from lowmed.run import create_run

Works = dict[str, Callable[[], object]]
IMAGES = 2  # distinct images in the cells of the vision tower
TRL_ROWS = 8  # default batch size of a forward pass
MIN_ROUNDS, MAX_ROUNDS, MAX_SECONDS = 3, 15, 4.0


def measure(cell: Cell) -> dict[str, Any]:
    """Median seconds of each variant and those of its first round, and the number of further rounds."""
    works = PARTS[cell["part"]](cell)
    times = in_turns(works)
    first = {name: each.pop(0) for name, each in times.items()}
    loaded = load(cell["model"], cell["load_in"])
    result = {
        "card": loaded.device.card,
        "precision": loaded.device.precision,
        "rounds": len(next(iter(times.values()))),
        "first_seconds": first,
        "seconds": {name: statistics.median(result) for name, result in times.items()},
    }
    return result | (_greedy(cell) if cell["part"] == "decode" else {})


def in_turns(works: Works) -> dict[str, list[float]]:
    """Seconds of each variant in every round. The first round is a warm-up, and captures graphs."""
    times: dict[str, list[float]] = {name: [] for name in works}
    started = time.perf_counter()
    for number in range(MAX_ROUNDS + 1):
        if number > MIN_ROUNDS and time.perf_counter() - started > MAX_SECONDS:
            break
        for name, work in works.items():
            times[name].append(timed(work))
        if number == 0:
            started = time.perf_counter()
    return times


def timed(work: Callable[[], object]) -> float:
    """Seconds until the work is done, including work on the GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def prefills(cell: Cell) -> Works:
    """Read the prompt and sample its first token: once for all completions, or once for each completion."""
    loaded, rows = load(cell["model"], cell["load_in"]), cell["group"]
    loaded.model.eval()
    [question], open_image = questions_of(cell, 1)
    one = encode(loaded, [question], FAMILY, open_image)
    each = encode(loaded, [question] * rows, FAMILY, open_image)
    how = _sampling(loaded, 1)
    return {
        "once": lambda: sampling.generate(loaded.model, one, [0] * rows, how),
        "each": lambda: sampling.generate(loaded.model, each, list(range(rows)), how),
    }


def training(cell: Cell) -> Works:
    """Log-probabilities of a group's completions and their gradient: with each prompt read once, or as in TRL."""
    import trl  # after `find_device`, which sets a variable of Triton

    loaded, rows, new = load(cell["model"], cell["load_in"]), cell["group"], cell["new_tokens"]
    trainer = _trainer(cell["model"], cell["load_in"])
    [question], open_image = questions_of(cell, 1)
    loaded.model.train()
    inputs = encode(loaded, [question] * rows, FAMILY, open_image)
    device = inputs["input_ids"].device
    ids = torch.randint(100, (rows, new), generator=torch.Generator().manual_seed(0)).to(device)
    more = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": torch.zeros_like(ids)}
    batch = {name: torch.cat((inputs[name], added), dim=1) for name, added in more.items()}
    batch |= {name: inputs[name] for name in ("pixel_values", "image_grid_thw")}

    def step(trainer_class: type, batch_size: int) -> None:
        patches_per_image = len(batch["pixel_values"]) // rows
        for start in range(0, rows, batch_size):
            part = {name: value[start : start + batch_size] for name, value in batch.items() if name != "pixel_values"}
            count = len(part["input_ids"])
            part["pixel_values"] = batch["pixel_values"][
                start * patches_per_image : (start + count) * patches_per_image
            ]
            texts = part.pop("input_ids"), part.pop("attention_mask")
            scores, *_ = trainer_class._get_per_token_logps_and_entropies(  # type: ignore[attr-defined]  # trl is untyped
                trainer, trainer.model, *texts, new, compute_entropy=True, num_images=[1] * count, **part
            )
            scores.mean().backward()
        trainer.model.zero_grad()

    return {
        "once": lambda: step(type(trainer), rows),
        "each": lambda: step(trl.GRPOTrainer, TRL_ROWS),
    }


def tower(cell: Cell) -> Works:
    """The features of some images: by the stock tower, encoded one by one, from memory, and from disk."""
    loaded = load(cell["model"], cell["load_in"])
    questions, open_image = questions_of(cell, IMAGES)
    inputs = encode(loaded, questions, FAMILY, open_image)
    vision_cache = loaded.vision_cache
    assert vision_cache is not None
    visual = vision_cache.module
    images = inputs["pixel_values"].to(visual.dtype), inputs["image_grid_thw"]
    store = FeatureStore(Path(_SCRATCH.name) / "features" / Path(cell["model"]).name)

    def features(keep: bool, disk: FeatureStore | None) -> object:
        vision_cache.store = disk
        if not keep:
            vision_cache.features.clear()
        return visual(images[0], grid_thw=images[1])

    @torch.no_grad()
    def stock() -> object:
        return type(visual).forward(visual, images[0], grid_thw=images[1])

    visual.eval()
    features(False, store)  # fills the store
    vision_cache.store = None
    return {
        "stock": stock,
        "encoded": lambda: features(False, None),
        "memory": lambda: features(True, None),
        "disk": lambda: features(False, store),
    }


def decoding(cell: Cell) -> Works:
    """Completions of one token, and of `new_tokens` more with each kind of base and decoding step."""
    works: Works = {}
    [question], open_image = questions_of(cell, 1)
    for base in ("4bit", "16bit"):
        loaded = load(cell["model"], base)
        loaded.model.eval()
        generate = partial(
            sampling.generate, loaded.model, encode(loaded, [question], FAMILY, open_image), [0] * cell["group"]
        )
        works[f"{base} first token"] = partial(generate, _sampling(loaded, 1))
        for way, decoder in decoders().items():
            how = replace(_sampling(loaded, 1 + cell["new_tokens"]), decoder=decoder)
            works[base if way == "eager" else f"{base} {way}"] = partial(generate, how)
    return works


def _greedy(cell: Cell) -> dict[str, dict[str, bool]]:
    """For each way by graphs whether all graphs were captured, and whether its greedy tokens are the eager ones.

    A decoder whose graph cannot be captured goes on without graphs; its times would be those of the eager step.
    """
    [question], open_image = questions_of(cell, 1)
    result: dict[str, dict[str, bool]] = {"captured": {}, "equal": {}}
    for base in ("4bit", "16bit"):
        loaded = load(cell["model"], base)
        how = replace(_sampling(loaded, 1 + cell["new_tokens"]), temperature=0.0)
        inputs, rows = encode(loaded, [question], FAMILY, open_image), [0] * cell["group"]
        ways = decoders()
        made = {
            way: sampling.generate(loaded.model, inputs, rows, replace(how, decoder=decoder))
            for way, decoder in ways.items()
        }
        for way in ways.keys() - {"eager"}:
            result["captured"][f"{base} {way}"] = ways[way].use_graphs
            result["equal"][f"{base} {way}"] = made[way] == made["eager"]
    return result


def eager(model: str, load_in: str, rows: int, tokens: int, *, cudnn: bool) -> dict[str, Any]:
    """Seconds to decode completions to one prompt by the eager step: the first time, and the median of three more."""
    loaded = load(model, load_in)
    torch.backends.cuda.enable_cudnn_sdp(cudnn)
    loaded.model.eval()
    [question], open_image = questions_of({"tokens": 64}, 1)
    inputs, how = encode(loaded, [question], FAMILY, open_image), _sampling(loaded, 1 + tokens)
    first, *later = [timed(lambda: sampling.generate(loaded.model, inputs, [0] * rows, how)) for _ in range(4)]
    return {"first_s": first, "later_s": statistics.median(later)}


def decoders() -> dict[str, Decoder]:
    """The ways to read sampled tokens here: `eager`, and `graph` on a GPU."""
    ways = {"eager": Decoder()}
    if torch.cuda.is_available():
        ways["graph"] = Decoder(use_graphs=True, keeps_cache=True)
    return ways


PARTS: dict[str, Callable[[Cell], Works]] = {
    "prefill": prefills,
    "train": training,
    "tower": tower,
    "decode": decoding,
}
FAMILY = prompt.family("reasoning")


@cache
def _recipe(model: str, load_in: str) -> tuple[Recipe, DataSplit]:
    cell = {"task": "grpo", "model": model, "load_in": load_in, "tokens": 1024, "seed": 0, "group": 4, "questions": 2,
            "updates": 1, "new_tokens": 64}  # fmt: skip
    folder = Path(_SCRATCH.name) / f"{Path(model).name}-{load_in}"
    folder.mkdir()
    recipe = recipe_of(cell, "lowmed", folder)
    return recipe, data_of(cell)


@cache
def load(model: str, load_in: str) -> Loaded:
    """A model with its adapter, loaded once in this process."""
    return train.load_for_training(_recipe(model, load_in)[0])


@cache
def _trainer(model: str, load_in: str) -> Any:
    """The trainer of a model, ready to train."""
    import transformers

    recipe, data_split = _recipe(model, load_in)
    result: list[Any] = []
    stock, transformers.Trainer.train = transformers.Trainer.train, lambda self, **_: result.append(self)
    try:
        run = create_run(recipe, "parts", out=str(Path(_SCRATCH.name) / f"{Path(model).name}-{load_in}" / "run"))
        train.train(run, load(model, load_in), data_split, report=lambda *_: None)
    finally:
        transformers.Trainer.train = stock
    return result[0]


def questions_of(cell: Cell, count: int) -> tuple[Sequence[Any], Any]:
    """Questions with an image of noise each, and the function that opens the images."""
    settings = {"task": "grpo", "questions": count, "updates": 1, "tokens": cell["tokens"]}
    data_split = data_of(settings)
    return data_split.train, data_split.open_image


def _sampling(loaded: Loaded, tokens: int) -> sampling.Sampling:
    never_ends = [*loaded.suppressed, *loaded.end_ids]
    return sampling.Sampling(tokens, 1.0, never_ends, loaded.end_ids)


_SCRATCH = tempfile.TemporaryDirectory()
