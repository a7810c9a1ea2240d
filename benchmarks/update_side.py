"""One side of benchmarks/update.py: a trainer that makes one update whenever it is told to, and tells what it took.

`lowmed` trains through `lowmed.engine.train` as the command line does. `trl` is what a script of one's own would be:
the same base and adapter, a list of rows, and TRL's trainer with its own defaults; `trl-same` switches off the one
default that lowmed decides otherwise, gradient checkpointing; `unsloth` is unsloth's model under TRL's trainer.
Rewards, batch, lengths, learning rate and the noise that completions are drawn with are the same. Each side is a process of
its own, so that neither's memory is the other's.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from update_cell import division_of, plan_of
from update_meter import Meter, instrument

from lowmed import nano, prompt, rewards
from lowmed.data.split import DataSplit
from lowmed.engine import device
from lowmed.models.qwen_vl import QWEN2_VL
from lowmed.recipe import GrpoSpec, Recipe
from lowmed.run import Run, create_run

CAP_GIB = 40  # of a card, whatever it has


def ours(recipe: Recipe, data_split: DataSplit, folder: Path, prepare: Callable[[Any], None]) -> Run:
    """As the command line does; the run."""
    from lowmed.engine import train

    loaded = train.load_for_training(recipe)
    prepare(loaded.model)
    run = create_run(recipe, "update", out=str(folder / "run"))
    train.train(run, loaded, data_split, report=lambda _update, _row: None)
    return run


def theirs(
    recipe: Recipe, data_split: DataSplit, folder: Path, prepare: Callable[[Any], None], side: str
) -> list[dict[str, float]]:
    """TRL's trainer with its defaults on the same base, adapter and rows; what it logged of each update."""
    here = device.find_device(recipe.model)
    backend: Any
    if side == "unsloth":
        from lowmed.engine import unsloth_backend as backend
    else:
        from lowmed.engine import transformers_backend as backend
    import datasets
    import transformers
    import trl

    from lowmed.engine import training_data
    from lowmed.engine.prefix import logprobs

    if here.device == "cpu":
        logprobs.use_plain_torch()  # Triton's interpreter would take nine tenths of an update
    source = str(nano.folder()) if recipe.model.name == "nano" else recipe.model.name
    most = recipe.model.max_image_tokens * 28 * 28
    processor = transformers.AutoProcessor.from_pretrained(source, min_pixels=56 * 56, max_pixels=most)
    processor.tokenizer.padding_side = "left"
    base = backend.load(source, recipe.model, here)
    transformers.set_seed(recipe.seed)
    model = backend.add_adapter(base, recipe.lora)
    prepare(model)
    family = recipe.prompts.training
    method = recipe.method
    turns = training_data.schedule(
        data_split.train, method.max_steps * method.prompts_per_step, len(family.wordings), recipe.seed
    )
    lines = [_line(number, turn, family, data_split) for number, turn in enumerate(turns)]
    forward = method.per_device_train_batch_size or 8
    common: dict[str, Any] = {
        "output_dir": str(folder / "trl"),
        "per_device_train_batch_size": forward,
        "gradient_accumulation_steps": method.rows_per_step // forward,
        "max_steps": method.max_steps,
        "learning_rate": method.learning_rate * recipe.model.learning_rate_scale,
        "lr_scheduler_type": "constant",
        "max_grad_norm": method.max_grad_norm,
        "bf16": here.precision == "bf16",
        "fp16": here.precision == "fp16",
        "use_cpu": here.device == "cpu",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": recipe.seed,
        **({"gradient_checkpointing": False} if side == "trl-same" else {}),
    }
    if isinstance(method, GrpoSpec):
        never = processor.tokenizer.convert_tokens_to_ids(list(QWEN2_VL.never_sampled))
        trainer: Any = trl.GRPOTrainer(
            model=model,
            reward_funcs=_functions(recipe, turns),
            args=trl.GRPOConfig(
                num_generations=method.num_generations,
                max_completion_length=method.max_completion_length,
                temperature=method.temperature,
                mask_truncated_completions=method.mask_truncated_completions,
                shuffle_dataset=False,  # the rows stand in the order that lowmed trains on
                reward_weights=[reward.weight for reward in method.rewards],
                generation_kwargs={"suppress_tokens": never},
                **common,
            ),
            train_dataset=datasets.Dataset.from_list(lines),
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


def _line(number: int, turn: Any, family: Any, data_split: DataSplit) -> dict[str, Any]:
    [message] = prompt.build_messages(family, turn.sample, turn.wording)
    text = "".join(part.get("text", "") for part in message["content"])
    completion = [{"role": "assistant", "content": prompt.reference_completion(family, turn.sample)}]
    images = [data_split.open_image(name).convert("RGB") for name in turn.sample.images]
    return {"prompt": [{"role": "user", "content": text}], "completion": completion, "images": images, "row": number}


def _functions(recipe: Recipe, turns: list[Any]) -> list[Callable[..., list[float | None]]]:
    def function(reward: Any) -> Callable[..., list[float | None]]:
        def score(completions: list[Any], row: list[int], **_: Any) -> list[float | None]:
            texts = [messages[0]["content"] for messages in completions]
            return [reward(turns[number].sample, text).value for number, text in zip(row, texts, strict=True)]

        score.__name__ = reward.name
        return score

    assert isinstance(recipe.method, GrpoSpec)
    return [
        function(reward) for reward in rewards.build(recipe.method.rewards, recipe.prompts.training.completion_format)
    ]


def main() -> None:
    cell, side = json.loads(sys.argv[1]), sys.argv[2]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer

    def say(result: dict[str, Any]) -> None:
        answers.write(json.dumps(result) + "\n")

    def wait() -> None:
        if not sys.stdin.readline():
            os._exit(0)  # the other end has what it wanted

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = plan_of(cell, side, folder)
        data_split = division_of(cell)
        here = device.find_device(recipe.model)
        if here.device == "cuda":
            import torch

            torch.cuda.set_per_process_memory_fraction(min(1.0, CAP_GIB / here.memory_gib))
        meter = Meter(here.device)

        def prepare(model: Any) -> None:
            instrument(meter, say, wait)
            meter.reset_peak()
            parameters = sum(weight.numel() for weight in model.parameters())
            say({"card": here.card, "parameters": parameters, "rest_gib": meter.peak_gib()})

        if side == "lowmed":
            ours(recipe, data_split, folder, prepare)
        else:
            theirs(recipe, data_split, folder, prepare, side)


if __name__ == "__main__":
    main()
