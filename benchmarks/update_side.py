"""One side of benchmarks/update.py: a trainer that makes one step at each request and reports its time and memory.

- `lowmed` trains with `lowmed.engine.train`, like the command line.
- `trl` is TRL's trainer with its defaults, on the same base, adapter and rows.
- `trl-same` is the same without gradient checkpointing, the one default on which lowmed differs.
- `unsloth` is unsloth's model in TRL's trainer.

Rewards, batch, lengths, learning rate and random numbers for sampling are equal. Each side is a separate process, so
that their memory is separate.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from update_cell import CAP_GIB, data_of, recipe_of
from update_meter import Meter, instrument

from lowmed import nano, prompt, rewards
from lowmed.data.split import DataSplit
from lowmed.engine import device
from lowmed.methods import DpoSpec, GrpoSpec
from lowmed.models.qwen_vl import QWEN2_VL
from lowmed.recipe import Recipe
from lowmed.run import Run, create_run
from lowmed.sample import Sample


def train_with_lowmed(recipe: Recipe, data_split: DataSplit, folder: Path, prepare: Callable[[Any], None]) -> Run:
    """Train like the command line.

    Args:
        recipe: all settings.
        data_split: the samples to train on.
        folder: where the run is written.
        prepare: called with the model before training.

    Returns:
        The run.
    """
    from lowmed.engine import train

    loaded = train.load_for_training(recipe)
    prepare(loaded.model)
    run = create_run(recipe, "update", out=str(folder / "run"))
    train.train(run, loaded, data_split, report=lambda _step, _row: None)
    return run


def train_with_trl(
    recipe: Recipe, data_split: DataSplit, folder: Path, prepare: Callable[[Any], None], side: str
) -> list[dict[str, float]]:
    """Train with TRL's defaults on the same base, adapter and rows.

    Args:
        recipe: all settings.
        data_split: the samples to train on.
        folder: where the adapter is written.
        prepare: called with the model before training.
        side: `trl`, `trl-same` or `unsloth`.

    Returns:
        The logged metrics of each step.
    """
    used = device.find_device(recipe.model)
    backend: Any
    if side == "unsloth":
        from lowmed.engine import unsloth_backend as backend
    else:
        from lowmed.engine import transformers_backend as backend
    import datasets
    import transformers
    import trl

    from lowmed.engine import argument_names, patches, training_data

    if used.type == "cpu":
        patches.use_torch_log_probs()
    source = str(nano.folder()) if recipe.model.name == "nano" else recipe.model.name
    max_pixels = recipe.model.max_image_tokens * 28 * 28
    processor = transformers.AutoProcessor.from_pretrained(source, trust_remote_code=False)
    processor.image_processor.size = {"shortest_edge": 56 * 56, "longest_edge": max_pixels}
    processor.tokenizer.padding_side = "left"
    base = backend.load(source, recipe.model, used)
    transformers.set_seed(recipe.seed)
    model = backend.add_adapter(base, recipe.lora)
    prepare(model)
    family = recipe.prompts.training
    method = recipe.method
    rows = training_data.schedule(
        data_split.train, method.max_steps * method.prompts_per_step, len(family.wordings), recipe.seed
    )
    lines = [_line(number, row, family, data_split) for number, row in enumerate(rows)]
    batch_size = method.per_device_train_batch_size or 8
    common: dict[str, Any] = {
        "output_dir": str(folder / "trl"),
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": method.rows_per_step // batch_size,
        "max_steps": method.max_steps,
        "learning_rate": method.learning_rate * recipe.model.learning_rate_scale,
        "lr_scheduler_type": "constant",
        "max_grad_norm": method.max_grad_norm,
        "bf16": used.precision == "bf16",
        "fp16": used.precision == "fp16",
        "use_cpu": used.type == "cpu",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": recipe.seed,
        **argument_names.training_arguments({"gradient_checkpointing": False} if side == "trl-same" else {}),
    }
    if isinstance(method, GrpoSpec):
        suppressed = processor.tokenizer.convert_tokens_to_ids(list(QWEN2_VL.never_sampled))
        trainer: Any = trl.GRPOTrainer(
            model=model,
            reward_funcs=_functions(recipe, rows, data_split.train),
            args=trl.GRPOConfig(
                num_generations=method.num_generations,
                max_completion_length=method.max_completion_length,
                temperature=method.temperature,
                mask_truncated_completions=method.mask_truncated_completions,
                shuffle_dataset=False,  # the rows are in lowmed's training order
                reward_weights=[reward.weight for reward in method.rewards],
                generation_kwargs={"suppress_tokens": suppressed},
                **common,
            ),
            train_dataset=datasets.Dataset.from_list(lines),
            processing_class=processor,
        )
    elif isinstance(method, DpoSpec):
        trainer = trl.DPOTrainer(
            model=model,
            args=trl.DPOConfig(beta=method.beta, max_length=None, train_sampling_strategy="sequential", **common),
            train_dataset=datasets.Dataset.from_list([_pair(line, rows, data_split) for line in lines]),
            processing_class=processor,
        )
    else:
        trainer = trl.SFTTrainer(
            model=model,
            args=trl.SFTConfig(max_length=None, train_sampling_strategy="sequential", **common),
            train_dataset=datasets.Dataset.from_list(lines),
            processing_class=processor,
        )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    model.save_pretrained(folder / "adapter", save_embedding_layers=False)
    return [row for row in trainer.state.log_history if "loss" in row]


def _line(number: int, row: Any, family: Any, data_split: DataSplit) -> dict[str, Any]:
    [message] = prompt.build_messages(family, row.sample, row.wording)
    text = "".join(part.get("text", "") for part in message["content"])
    completion = [{"role": "assistant", "content": prompt.reference_completion(family, row.sample)}]
    images = [data_split.open_image(name).convert("RGB") for name in row.sample.images]
    return {"prompt": [{"role": "user", "content": text}], "completion": completion, "images": images, "row": number}


def _pair(line: dict[str, Any], rows: list[Any], data_split: DataSplit) -> dict[str, Any]:
    [pair] = data_split.pairs[rows[line["row"]].sample.id]
    texts = {"chosen": pair.chosen, "rejected": pair.rejected}
    turns = {name: [{"role": "assistant", "content": text}] for name, text in texts.items()}
    return {"prompt": line["prompt"], "images": line["images"], **turns}


def _functions(recipe: Recipe, rows: list[Any], train: Sequence[Sample]) -> list[Callable[..., list[float | None]]]:
    def function(reward: Any) -> Callable[..., list[float | None]]:
        def score(completions: list[Any], row: list[int], **_: Any) -> list[float | None]:
            texts = [messages[0]["content"] for messages in completions]
            return [reward(rows[number].sample, text).value for number, text in zip(row, texts, strict=True)]

        score.__name__ = reward.name
        return score

    assert isinstance(recipe.method, GrpoSpec)
    built = rewards.build(recipe.method.rewards, recipe.prompts.training.completion_format)
    return [function(reward) for reward in rewards.with_corpus(built, train)]


def main() -> None:
    cell, side = json.loads(sys.argv[1]), sys.argv[2]
    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print to stderr

    def send(result: dict[str, Any]) -> None:
        results.write(json.dumps(result) + "\n")

    def wait() -> None:
        if not sys.stdin.readline():
            os._exit(0)  # the other process has ended

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = recipe_of(cell, side, folder)
        data_split = data_of(cell)
        used = device.find_device(recipe.model)
        if used.type == "cuda":
            import torch

            torch.cuda.set_per_process_memory_fraction(min(1.0, CAP_GIB / used.memory_gib))
        meter = Meter(used.type)

        def prepare(model: Any) -> None:
            instrument(meter, send, wait)
            meter.reset_peak()
            parameters = sum(weight.numel() for weight in model.parameters())
            send({"card": used.card, "parameters": parameters, "rest_gib": meter.peak_gib()})

        if side == "lowmed":
            train_with_lowmed(recipe, data_split, folder, prepare)
        else:
            train_with_trl(recipe, data_split, folder, prepare, side)


if __name__ == "__main__":
    main()
