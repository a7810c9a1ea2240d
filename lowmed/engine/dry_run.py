"""A dry run: three training steps and an evaluation batch of a recipe, with memory and time of every phase.

The data are generated, with images of the size that the plan assumes, so that nothing is downloaded or prepared.
With `model.weights=random` the weights are drawn for the architecture of a config folder.
"""

import gc
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from math import isqrt
from pathlib import Path
from typing import Any

from PIL import Image

from lowmed import architectures, prompt
from lowmed.data.image.policy import pixel_policy
from lowmed.data.pairs import Pair
from lowmed.data.split import DataSplit
from lowmed.data.unpaired import LabeledCompletion
from lowmed.engine import chat, device, patches, train
from lowmed.engine.load import Loaded
from lowmed.engine.out_of_memory import SmallerBatchError, sampling_error
from lowmed.engine.profiler import Profiler
from lowmed.errors import SetupError
from lowmed.nano import phantom
from lowmed.plan import sequence_lengths
from lowmed.plan.batch import SMALL_MODEL, choose_batch
from lowmed.plan.calibration import MeasuredRun
from lowmed.plan.workload import CPU_EVAL_BATCH_SIZE
from lowmed.recipe import Recipe
from lowmed.run import create_run
from lowmed.sample import Sample

STEPS = 3
PHASES = {  # method of a trainer -> phase
    "training_step": "backward",
    "_generate": "rollout",
    "_get_per_token_logps_and_entropies": "scoring forward",
    "score": "scoring forward",  # of KTO
}


def dry_run(recipe: Recipe) -> MeasuredRun:
    """Run three steps of a recipe and its evaluation in a temporary directory.

    Raises:
        LowmedError: the device or the model does not support the recipe.
    """
    hardware = device.find_device(recipe.model)
    method = recipe.method.training_every_row().model_copy(
        update={"max_steps": STEPS, "epochs": None, "save_steps": STEPS}
    )
    recipe = recipe.model_copy(update={"method": method, "hardware": None})
    model = architectures.read_architecture(recipe.model)
    planned = sequence_lengths.sequence_lengths(recipe)
    profiler = Profiler(hardware.type, _context_gib(hardware.type))
    with profiler.phase("load"):
        loaded = train.load_for_training(recipe)
    model = replace(model, tied=_has_tied_head(loaded.model))
    data_split = _generated_data(recipe, planned)
    lengths = _measured_lengths(recipe, loaded, data_split, planned)
    batch = choose_batch(
        recipe, model, hardware.memory_gib, card=hardware.card, precision=hardware.precision, row_lengths=lengths
    )
    batch_settings = {
        "per_device_train_batch_size": batch.per_device_train_batch_size,
        "gradient_checkpointing": batch.gradient_checkpointing,
    }
    recipe = recipe.model_copy(update={"method": method.model_copy(update=batch_settings)})
    with tempfile.TemporaryDirectory(prefix="lowmed-dry-run-") as folder:
        run = create_run(recipe, "dry-run", out=str(Path(folder) / "run"))
        with patches.before_training(lambda trainer: _measure_phases(profiler, trainer)):
            try:
                train.train(run, loaded, data_split, report=lambda *_: None)
            except SmallerBatchError as error:
                rows = f"{batch.per_device_train_batch_size} rows in a forward pass"
                raise SetupError(
                    f"the GPU ran out of memory in the dry run, with {rows}",
                    hardware.card,
                    "lower method.per_device_train_batch_size, or model.max_image_tokens",
                ) from error
            if run.record.sampling_halved_after is not None:
                raise sampling_error(run.record.sampling_halved_after, run.record.rows_per_draw or 0)
    if hardware.type == "cuda" or model.parameters < SMALL_MODEL:  # else the completions take an hour on a CPU
        profiler.timing = False
        gc.collect()  # frees the trainer and its optimizer, which an evaluation does not have
        with profiler.phase("evaluation"):
            _evaluate(recipe, loaded, data_split, batch.eval_batch_size)
    if hardware.type == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info()
        profiler.context_gib = (total - free - torch.cuda.memory_reserved()) / 2**30
    return MeasuredRun(
        card=hardware.card,
        card_gib=round(hardware.memory_gib, 2),
        precision=hardware.precision,
        recipe=_without_paths(recipe),
        model=model,
        lengths=lengths,
        batch=batch,
        context_gib=round(profiler.context_gib, 3),
        gib={phase: round(gib, 3) for phase, gib in profiler.gib.items()},
        seconds={
            "step": round(sum(profiler.seconds.values()), 3),
            **{phase: round(seconds, 3) for phase, seconds in profiler.seconds.items()},
        },
        about={
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "backend": loaded.backend,
            "versions": {name: version(name) for name in train.PACKAGES},
        },
    )


def _has_tied_head(model: Any) -> bool:
    """Whether the head and the embeddings share a weight. Random weights may untie them."""
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


def _context_gib(device_type: str) -> float:
    """Memory of this process with all libraries and no model; 0 on a GPU, where it is measured at the end."""
    if device_type == "cuda":
        return 0.0
    import bitsandbytes
    import peft
    import torch
    import trl

    del bitsandbytes, peft, torch, trl
    return device.resident_gib("VmRSS")


def _without_paths(recipe: Recipe) -> Recipe:
    """The recipe without folders of this machine and without its provenance."""
    model = recipe.model.model_copy(update={"name": Path(recipe.model.name).name})
    removed = dict.fromkeys(("path", "mixing_temperature", "difficulty", "pairs", "unpaired"))
    replaced = {"source": "phantom", "sources": (), **removed}
    data = recipe.data.model_copy(update=replaced)
    lora = recipe.lora.model_copy(update={"start": None})
    return recipe.model_copy(update={"model": model, "data": data, "lora": lora, "provenance": {}})


def _generated_data(recipe: Recipe, planned: sequence_lengths.SequenceLengths) -> DataSplit:
    """Generated questions, with images of the planned number of tokens."""
    tokens = max(4, planned.image // max(1, planned.images))
    width = isqrt(tokens)
    side = pixel_policy(recipe.model).token_side
    size = (width * side, tokens // width * side)

    def open_image(reference: str) -> Image.Image:
        return phantom.open_image(reference).resize(size)

    count = max(STEPS * recipe.method.prompts_per_step, CPU_EVAL_BATCH_SIZE)
    samples = phantom.samples("train", count, recipe.seed)
    train_rows = tuple(replace(sample, images=sample.images * planned.images) for sample in samples)
    texts = {sample.id: prompt.reference_completion(recipe.prompts.training, sample) for sample in train_rows}
    split = DataSplit("dry run", train_rows, {}, {}, {}, open_image, "dry run")
    if recipe.method.preferences == "unpaired":
        labels = {
            name: (LabeledCompletion(text, number % 2 == 0),) for number, (name, text) in enumerate(texts.items())
        }
        return replace(split, unpaired=labels)
    pairs = {name: (Pair(text, text.replace("<answer>", "<answer>not ")),) for name, text in texts.items()}
    return replace(split, pairs=pairs)


def _measured_lengths(
    recipe: Recipe, loaded: Loaded, data_split: DataSplit, planned: sequence_lengths.SequenceLengths
) -> sequence_lengths.SequenceLengths:
    """The lengths of the generated rows in tokens of the model's own tokenizer."""
    family = recipe.prompts.training

    def count(text: str) -> int:
        return len(loaded.tokenizer(text)["input_ids"])

    def rendered(sample: Sample, wording: int) -> str:
        return chat.render(loaded.processor, family, sample, wording)

    wordings = range(len(family.wordings))
    text = max(count(rendered(sample, wording)) for sample in data_split.train for wording in wordings)
    completion = max(count(prompt.reference_completion(family, sample)) for sample in data_split.train) + 2
    return replace(
        planned,
        text=text,
        completion=recipe.method.max_sampled_tokens or completion,
        mean_image=planned.image,
        source="generated",
    )


def _measure_phases(profiler: Profiler, trainer: Any) -> None:
    """Measure the phases of a trainer: memory in the first steps, time in the last one."""
    for name in PHASES:
        if hasattr(trainer, name):
            setattr(trainer, name, _measured(profiler, trainer, name, getattr(trainer, name)))


def _measured(profiler: Profiler, trainer: Any, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    phase = PHASES[name]

    def call(*args: Any, **options: Any) -> Any:
        if name == "_get_per_token_logps_and_entropies" and torch.is_grad_enabled():
            return method(*args, **options)  # the same method is the forward pass of training
        if phase == "backward":
            profiler.timing = trainer.state.global_step == STEPS - 1
        with profiler.phase(phase):
            return method(*args, **options)

    return call


def _evaluate(recipe: Recipe, loaded: Loaded, data_split: DataSplit, questions: int) -> None:
    from lowmed.engine.generate import complete

    samples = list(islice(data_split.train, questions))
    tokens = recipe.eval.max_new_tokens
    for _ in complete(loaded, samples, recipe.prompts.asking, data_split.open_image, max_new_tokens=tokens):
        pass
