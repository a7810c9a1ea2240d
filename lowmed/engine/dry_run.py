"""A rehearsal: three true updates of a recipe on this machine, with what every phase took of memory and time.

The data are generated: images of as many tokens as the plan says, so that nothing need be downloaded or prepared.
With `model.weights=random` neither need the weights: they are drawn for the architecture of a config folder.
"""

import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from math import isqrt
from pathlib import Path
from typing import Any

from PIL import Image

from lowmed import prompt
from lowmed.data.image.policy import TOKEN_SIDE_PX
from lowmed.data.split import DataSplit
from lowmed.engine import device as machine
from lowmed.engine import train
from lowmed.engine.load import Loaded
from lowmed.engine.profiler import Profiler
from lowmed.nano import phantom
from lowmed.plan import architecture, sequence_lengths
from lowmed.plan.batch import SMALL_MODEL, choose_batch
from lowmed.plan.calibration import MeasuredRun
from lowmed.plan.workload import CPU_EVAL_BATCH_SIZE
from lowmed.recipe import Recipe
from lowmed.run import create_run
from lowmed.sample import Sample

UPDATES = 3
PARTS = {  # methods of the trainers, by the phase that they are
    "training_step": "backward",
    "_generate": "rollout",
    "_get_per_token_logps_and_entropies": "scoring forward",
}


def dry_run(asked: Recipe) -> MeasuredRun:
    """Run three updates of the recipe and its evaluation in a scratch folder.

    Raises:
        LowmedError: the machine or the model does not allow it.
    """
    here = machine.find_device(asked.model)
    method = asked.method.training_every_row().model_copy(update={"max_steps": UPDATES, "save_steps": UPDATES})
    recipe = asked.model_copy(update={"method": method, "hardware": None})
    model = architecture.read_architecture(recipe.model)
    planned = sequence_lengths.sequence_lengths(recipe)
    meter = Profiler(here.device, _context(here.device))
    with meter.phase("load"):
        loaded = train.load_for_training(recipe)
    model = replace(model, tied=_tied(loaded.model))
    data_split = _division(recipe, planned)
    rows = _measured_lengths(recipe, loaded, data_split, planned)
    cut = choose_batch(recipe, model, here.memory_gib, card=here.card, precision=here.precision, row_lengths=rows)
    said = {
        "per_device_train_batch_size": cut.per_device_train_batch_size,
        "gradient_checkpointing": cut.gradient_checkpointing,
    }
    recipe = recipe.model_copy(update={"method": method.model_copy(update=said)})
    with tempfile.TemporaryDirectory(prefix="lowmed-rehearsal-") as scratch:
        run = create_run(recipe, "rehearsal", out=str(Path(scratch) / "run"))
        with _metered(meter):
            train.train(run, loaded, data_split, report=lambda *_: None)
    if here.device == "cuda" or model.parameters < SMALL_MODEL:  # 64 completions of a large model take a CPU an hour
        meter.timing = False
        gc.collect()  # the trainer and its optimizer, which an evaluation does not have
        with meter.phase("evaluation"):
            _evaluate(recipe, loaded, data_split, cut.eval_batch_size)
    if here.device == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info()
        meter.context_gib = (total - free - torch.cuda.memory_reserved()) / 2**30
    return MeasuredRun(
        card=here.card,
        card_gib=round(here.memory_gib, 2),
        precision=here.precision,
        recipe=_bare(recipe),
        model=model,
        lengths=rows,
        batch=cut,
        context_gib=round(meter.context_gib, 3),
        gib={phase: round(gib, 3) for phase, gib in meter.gib.items()},
        seconds={
            "step": round(sum(meter.seconds.values()), 3),
            **{phase: round(seconds, 3) for phase, seconds in meter.seconds.items()},
        },
        about={
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "backend": loaded.backend,
            "versions": {name: version(name) for name in train.PACKAGES},
        },
    )


def _tied(model: Any) -> bool:
    """Whether head and embeddings are one table; random weights may be drawn for both."""
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


def _context(device: str) -> float:
    """Resident memory of this process with all libraries and no model; nothing on a card, which is asked at the end."""
    if device == "cuda":
        return 0.0
    import bitsandbytes
    import peft
    import torch
    import trl

    del bitsandbytes, peft, torch, trl
    return machine.resident_gib("VmRSS")


def _bare(recipe: Recipe) -> Recipe:
    """The recipe as a row keeps it: no folder of this machine, none of its texts."""
    model = recipe.model.model_copy(update={"name": Path(recipe.model.name).name})
    data = recipe.data.model_copy(update={"source": "phantom", "path": None, "difficulty": None})
    lora = recipe.lora.model_copy(update={"start": None})
    return recipe.model_copy(update={"model": model, "data": data, "lora": lora, "provenance": {}})


def _division(recipe: Recipe, planned: sequence_lengths.SequenceLengths) -> DataSplit:
    """Generated questions about images of so many tokens."""
    tokens = max(4, planned.image // max(1, planned.images))
    wide = isqrt(tokens)
    size = (wide * TOKEN_SIDE_PX, tokens // wide * TOKEN_SIDE_PX)

    def picture(reference: str) -> Image.Image:
        return phantom.picture(reference).resize(size)

    count = max(UPDATES * recipe.method.prompts_per_step, CPU_EVAL_BATCH_SIZE)
    samples = phantom.samples("train", count, recipe.seed)
    train_rows = tuple(replace(sample, images=sample.images * max(1, planned.images)) for sample in samples)
    return DataSplit("rehearsal", train_rows, {}, {}, {}, picture, "rehearsal")


def _measured_lengths(
    recipe: Recipe, loaded: Loaded, data_split: DataSplit, planned: sequence_lengths.SequenceLengths
) -> sequence_lengths.SequenceLengths:
    """The lengths of the rows that are run, as the model's own tokenizer counts them."""
    family = recipe.prompts.training

    def count(text: str) -> int:
        return len(loaded.processor.tokenizer(text)["input_ids"])

    def asked(sample: Sample, wording: int) -> str:
        messages = prompt.build_messages(family, sample, wording)
        return str(loaded.processor.apply_chat_template(messages, add_generation_prompt=True))

    wordings = range(len(family.wordings))
    text = max(count(asked(sample, wording)) for sample in data_split.train for wording in wordings)
    completion = max(count(prompt.reference_completion(family, sample)) for sample in data_split.train) + 2
    return replace(
        planned,
        text=text,
        completion=recipe.method.max_sampled_tokens or completion,
        mean_image=planned.image,
        source="generated",
    )


@contextmanager
def _metered(meter: Profiler) -> Iterator[None]:
    """Measure the phases of whatever trainer is started inside: memory in the first updates, time in the last one."""
    from transformers import Trainer

    stock = Trainer.train

    def start(self: Any, *args: Any, **options: Any) -> Any:
        for name, phase in PARTS.items():
            if hasattr(self, name):
                setattr(self, name, _part(meter, self, phase, getattr(self, name)))
        return stock(self, *args, **options)

    Trainer.train = start
    try:
        yield
    finally:
        Trainer.train = stock


def _part(meter: Profiler, trainer: Any, phase: str, call: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    def measured(*args: Any, **options: Any) -> Any:
        if phase == "scoring forward" and torch.is_grad_enabled():
            return call(*args, **options)  # the same method is the forward of the training itself
        if phase == "backward":
            meter.timing = trainer.state.global_step == UPDATES - 1
        with meter.phase(phase):
            return call(*args, **options)

    return measured


def _evaluate(recipe: Recipe, loaded: Loaded, data_split: DataSplit, questions: int) -> None:
    from lowmed.engine.generate import complete

    samples = list(islice(data_split.train, questions))
    tokens = recipe.eval.max_new_tokens
    for _ in complete(loaded, samples, recipe.prompts.asking, data_split.open_image, max_new_tokens=tokens):
        pass
