"""Time and memory of a training step by phase, and seeding of its sampling. It patches TRL in this process only."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Meter:
    """Seconds and peak memory of a training step by phase."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, float] = {}
        self.started = 0.0

    def peak_gib(self) -> float:
        """Peak memory since the last reset: allocated on the GPU, resident on the CPU."""
        if self.device == "cuda":
            import torch

            return torch.cuda.max_memory_allocated() / 2**30
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20

    def reset_peak(self) -> None:
        """Start a new measurement of peak memory."""
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")

    def start(self) -> None:
        """Start a step. Time outside the other phases counts as training."""
        self.seconds, self.peaks = {}, {}
        self.reset_peak()
        self.started = time.perf_counter()

    def phase(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """A function that does the work and measures it as a phase."""

        def timed(*arguments: Any, **options: Any) -> Any:
            self._peak("train")
            started = time.perf_counter()
            result = work(*arguments, **options)
            self._peak(name)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
            return result

        return timed

    def stop(self) -> dict[str, Any]:
        """Seconds and peak memory in GiB of each phase and of the whole step."""
        self._peak("train")
        total = time.perf_counter() - self.started
        generate = self.seconds.get("generate", 0.0)
        outer = self.seconds.get("score", 0.0)
        return {
            "seconds": {"generate": generate, "score": outer - generate, "train": total - outer, "all": total},
            "peak_gib": {**self.peaks, "all": max(self.peaks.values())},
        }

    def _peak(self, name: str) -> None:
        peak = self.peak_gib()
        self.reset_peak()
        self.peaks[name] = max(self.peaks.get(name, 0.0), peak)


def instrument(meter: Meter, send: Callable[[dict[str, Any]], None], wait: Callable[[], None]) -> None:
    """Measure the two phases that are methods of TRL's trainer, and wait after each step.

    Args:
        meter: measures the phases.
        send: gets the result of each step.
        wait: returns when the next step may start.
    """
    import transformers
    import trl

    for name, phase in (("_generate", "generate"), ("_generate_and_score_completions", "score")):
        owner, original = _defined(trl.GRPOTrainer, name)
        setattr(owner, name, _method(meter, phase, original))
    tokens = 0

    def count(completions: list[list[int]]) -> None:
        nonlocal tokens
        tokens = sum(map(len, completions))

    seed_sampling(count)

    class Steps(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        def on_step_end(self, _arguments: Any, state: Any, _control: Any, **_: Any) -> None:
            send({"update": state.global_step, "completion_tokens": tokens, **meter.stop()})
            wait()
            meter.start()

    train = transformers.Trainer.train

    def train_stepwise(self: Any, *arguments: Any, **options: Any) -> Any:
        self.add_callback(Steps())
        wait()
        meter.start()
        return train(self, *arguments, **options)

    transformers.Trainer.train = train_stepwise


def seed_sampling(receive: Callable[[list[list[int]]], None]) -> None:
    """Seed the generator before the completions of each step are sampled, and pass their tokens to `receive`.

    Otherwise the sides would sample completions of other lengths, because TRL also uses the generator to shuffle rows.
    """
    import torch
    import trl

    owner, original = _defined(trl.GRPOTrainer, "_generate")

    def generate(self: Any, *arguments: Any, **options: Any) -> Any:
        torch.manual_seed(1000 * self.args.seed + self.state.global_step)
        result = original(self, *arguments, **options)
        receive(result[1])
        return result

    owner._generate = generate


def _defined(trainer: Any, name: str) -> tuple[Any, Callable[..., Any]]:
    owner = next(base for base in trainer.__mro__ if name in base.__dict__)
    return owner, owner.__dict__[name]


def _method(meter: Meter, phase: str, original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *arguments, **options: meter.phase(phase, original)(self, *arguments, **options)
