"""One side of benchmarks/update.py: a trainer that makes one update whenever it is told to, and tells what it took.

`lowmed` trains through `lowmed.engine.train` as the command line does. `trl` is what a script of one's own would be:
the same base and adapter, a list of rows, and TRL's trainer with its own defaults; `trl-same` switches off the one
default that lowmed decides otherwise, gradient checkpointing; `unsloth` is unsloth's model under TRL's trainer.
Rewards, batch, lengths and learning rate are the same. Each side is a process of its own, so that neither's memory is
the other's.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from update_cell import division_of, plan_of

from lowmed import nano, prompt, recipe, rewards
from lowmed import run as runs
from lowmed.data.division import Division
from lowmed.engine import machine

CAP_GIB = 40  # of a card, whatever it has


class Meter:
    """Seconds and peak memory by phase of an update."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, float] = {}
        self.began = 0.0

    def peak_gib(self) -> float:
        """The most memory since the last reset: allocated on the card, resident on the CPU."""
        if self.device == "cuda":
            import torch

            return torch.cuda.max_memory_allocated() / 2**30
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20

    def reset_peak(self) -> None:
        """Count peaks from here."""
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")

    def start(self) -> None:
        """An update begins, with its last phase: what is no other is training."""
        self.seconds, self.peaks = {}, {}
        self.reset_peak()
        self.began = time.perf_counter()

    def phase(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The work, counted under that name."""

        def timed(*arguments: Any, **options: Any) -> Any:
            self._peak("train")
            began = time.perf_counter()
            found = work(*arguments, **options)
            self._peak(name)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
            return found

        return timed

    def stop(self) -> dict[str, Any]:
        """Seconds of each phase and of all; peak of each phase, GiB."""
        self._peak("train")
        whole = time.perf_counter() - self.began
        generate = self.seconds.get("generate", 0.0)
        outer = self.seconds.get("score", 0.0)
        return {
            "seconds": {"generate": generate, "score": outer - generate, "train": whole - outer, "all": whole},
            "peak_gib": {**self.peaks, "all": max(self.peaks.values())},
        }

    def _peak(self, name: str) -> None:
        peak = self.peak_gib()
        self.reset_peak()
        self.peaks[name] = max(self.peaks.get(name, 0.0), peak)


def instrument(meter: Meter, say: Callable[[dict[str, Any]], None], wait: Callable[[], None]) -> None:
    """Time both phases that TRL's trainer makes in methods of their own, and stop after each update until told."""
    import transformers
    import trl

    for name, phase in (("_generate", "generate"), ("_generate_and_score_completions", "score")):
        owner = next(each for each in trl.GRPOTrainer.__mro__ if name in each.__dict__)
        true = owner.__dict__[name]
        setattr(owner, name, _method(meter, phase, true))

    class Steps(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        def on_step_end(self, _arguments: Any, state: Any, _control: Any, **_: Any) -> None:
            say({"update": state.global_step, **meter.stop()})
            wait()
            meter.start()

    train = transformers.Trainer.train

    def stepwise(self: Any, *arguments: Any, **options: Any) -> Any:
        self.add_callback(Steps())
        wait()
        meter.start()
        return train(self, *arguments, **options)

    transformers.Trainer.train = stepwise


def _method(meter: Meter, phase: str, true: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *arguments, **options: meter.phase(phase, true)(self, *arguments, **options)


def ours(plan: recipe.Recipe, division: Division, folder: Path, prepare: Callable[[Any], None]) -> list[float]:
    """As the command line does; the mean reward of each update."""
    from lowmed.engine import train

    loaded = train.ready(plan)
    prepare(loaded.model)
    run = runs.create(plan, "update", out=str(folder / "run"))
    train.train(run, loaded, division, report=lambda _update, _row: None)
    return [row.get("reward", 0.0) for row in run.rows("metrics.jsonl")]


def theirs(
    plan: recipe.Recipe, division: Division, folder: Path, prepare: Callable[[Any], None], side: str
) -> list[float]:
    """TRL's trainer with its defaults on the same base, adapter and rows; the mean reward of each update."""
    here = machine.find(plan.model)
    backend: Any
    if side == "unsloth":
        from lowmed.engine import unsloth_backend as backend
    else:
        from lowmed.engine import transformers_backend as backend
    import datasets
    import transformers
    import trl

    from lowmed.engine import logprob, rows

    if here.device == "cpu":
        logprob.use_plain_torch()  # Triton's interpreter would take nine tenths of an update
    source = str(nano.folder()) if plan.model.name == "nano" else plan.model.name
    most = plan.model.max_image_tokens * 28 * 28
    processor = transformers.AutoProcessor.from_pretrained(source, min_pixels=56 * 56, max_pixels=most)
    processor.tokenizer.padding_side = "left"
    base = backend.load(source, plan.model, here)
    transformers.set_seed(plan.seed)
    model = backend.add_adapter(base, plan.lora)
    prepare(model)
    family = plan.prompts.training
    method = plan.method
    turns = rows.plan(division.train, method.updates * method.questions_per_update, len(family.wordings), plan.seed)
    lines = [_line(number, turn, family, division) for number, turn in enumerate(turns)]
    forward = method.rows_per_forward or 8
    common: dict[str, Any] = {
        "output_dir": str(folder / "trl"),
        "per_device_train_batch_size": forward,
        "gradient_accumulation_steps": method.rows_per_update // forward,
        "max_steps": method.updates,
        "learning_rate": method.learning_rate * plan.model.learning_rate_scale,
        "lr_scheduler_type": "constant",
        "max_grad_norm": method.max_grad_norm,
        "bf16": here.precision == "bf16",
        "fp16": here.precision == "fp16",
        "use_cpu": here.device == "cpu",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": plan.seed,
        **({"gradient_checkpointing": False} if side == "trl-same" else {}),
    }
    if isinstance(method, recipe.Grpo):
        # A weak model samples these, and the next forward then finds more image tokens than images.
        never = processor.tokenizer.convert_tokens_to_ids(["<|vision_start|>", "<|image_pad|>", "<|video_pad|>"])
        trainer: Any = trl.GRPOTrainer(
            model=model,
            reward_funcs=_functions(plan, turns),
            args=trl.GRPOConfig(
                num_generations=method.group_size,
                max_completion_length=method.max_new_tokens,
                temperature=method.temperature,
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
            args=trl.SFTConfig(max_length=None, **common),
            train_dataset=datasets.Dataset.from_list(lines),
            processing_class=processor,
        )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return [row["reward"] for row in trainer.state.log_history if "reward" in row]


def _line(number: int, turn: Any, family: Any, division: Division) -> dict[str, Any]:
    [message] = prompt.ask(family, turn.sample, turn.wording)
    text = "".join(part.get("text", "") for part in message["content"])
    reply = [{"role": "assistant", "content": prompt.reference(family, turn.sample)}]
    images = [division.open_image(name).convert("RGB") for name in turn.sample.images]
    return {"prompt": [{"role": "user", "content": text}], "completion": reply, "images": images, "row": number}


def _functions(plan: recipe.Recipe, turns: list[Any]) -> list[Callable[..., list[float | None]]]:
    def function(reward: Any) -> Callable[..., list[float | None]]:
        def score(completions: list[Any], row: list[int], **_: Any) -> list[float | None]:
            texts = [messages[0]["content"] for messages in completions]
            return [reward(turns[number].sample, text).value for number, text in zip(row, texts, strict=True)]

        score.__name__ = reward.name
        return score

    assert isinstance(plan.method, recipe.Grpo)
    return [function(reward) for reward in rewards.build(plan.method.rewards, plan.prompts.training.reply)]


def main() -> None:
    cell, side = json.loads(sys.argv[1]), sys.argv[2]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer

    def say(found: dict[str, Any]) -> None:
        answers.write(json.dumps(found) + "\n")

    def wait() -> None:
        if cell["task"] != "learning" and not sys.stdin.readline():
            os._exit(0)  # the other end has what it wanted

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = plan_of(cell, side, folder)
        division = division_of(cell, plan)
        here = machine.find(plan.model)
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
            curve = ours(plan, division, folder, prepare)
        else:
            curve = theirs(plan, division, folder, prepare, side)
        say({"rewards": curve})


if __name__ == "__main__":
    main()
