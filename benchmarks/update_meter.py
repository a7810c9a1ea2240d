"""What an update of a trainer takes, by phase, and the noise that its completions are drawn with."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


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
            result = work(*arguments, **options)
            self._peak(name)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
            return result

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
        owner, true = _defined(trl.GRPOTrainer, name)
        setattr(owner, name, _method(meter, phase, true))
    tokens = 0

    def count(completions: list[list[int]]) -> None:
        nonlocal tokens
        tokens = sum(map(len, completions))

    same_noise(count)

    class Steps(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        def on_step_end(self, _arguments: Any, state: Any, _control: Any, **_: Any) -> None:
            say({"update": state.global_step, "reply_tokens": tokens, **meter.stop()})
            wait()
            meter.start()

    train = transformers.Trainer.train

    def stepwise(self: Any, *arguments: Any, **options: Any) -> Any:
        self.add_callback(Steps())
        wait()
        meter.start()
        return train(self, *arguments, **options)

    transformers.Trainer.train = stepwise


def same_noise(hear: Callable[[list[list[int]]], None]) -> None:
    """Have each update's completions drawn from a generator of its own, the same on every side, and hear their tokens.

    Otherwise each side would write completions of other lengths: TRL's shuffle of the rows uses the generator too.
    """
    import torch
    import trl

    owner, true = _defined(trl.GRPOTrainer, "_generate")

    def generate(self: Any, *arguments: Any, **options: Any) -> Any:
        torch.manual_seed(1000 * self.args.seed + self.state.global_step)
        result = true(self, *arguments, **options)
        hear(result[1])
        return result

    owner._generate = generate


def _defined(trainer: Any, name: str) -> tuple[Any, Callable[..., Any]]:
    owner = next(each for each in trainer.__mro__ if name in each.__dict__)
    return owner, owner.__dict__[name]


def _method(meter: Meter, phase: str, true: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *arguments, **options: meter.phase(phase, true)(self, *arguments, **options)
