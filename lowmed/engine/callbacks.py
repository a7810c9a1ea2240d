"""What happens beside the training steps: metrics, finished checkpoints, a clean stop, a line for the reader."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lowmed.errors import RunError, SetupError
from lowmed.files import write_json
from lowmed.run import Run

# TRL's names -> ours. What is not here is not recorded.
METRICS = {
    "loss": "loss",
    "reward": "reward",
    "reward_std": "reward_std",
    "entropy": "entropy",
    "kl": "kl",
    "mean_token_accuracy": "token_accuracy",
    "frac_reward_zero_std": "zero_spread_groups",
    "trained": "trained_share",
    "completions/mean_length": "tokens",
    "completions/clipped_ratio": "clipped",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "step_time": "seconds",
}


class StopSignal:
    """Asked for by Ctrl-C, SIGTERM or the clock; carried out after the update in hand."""

    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline
        self.reason = ""

    def due(self, longest_update: float) -> bool:
        """Whether to stop now: somebody asked, or the next update and its checkpoint might not fit."""
        if self.deadline is not None and time.monotonic() + 1.5 * longest_update + 5 > self.deadline:
            self.reason = self.reason or "time"
        return bool(self.reason)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the first Ctrl-C or SIGTERM as a wish; the second one ends the process as usual."""

        def ask(number: int, _frame: FrameType | None) -> None:
            self.reason = signal.Signals(number).name
            for other in before:
                signal.signal(other, before[other])

        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class RunCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Writes metrics.jsonl, marks finished checkpoints, and stops when asked."""

    def __init__(
        self, run: Run, stop: StopSignal, report: Callable[[int, dict[str, float]], None], iterations: int = 1
    ) -> None:
        self.run = run
        self.stop = stop
        self.report = report
        self.iterations = iterations  # optimizer steps on the same completions, which a checkpoint does not hold
        self.began = time.monotonic()
        self.longest = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock of one update."""
        self.began = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Stop after this update when asked, with a checkpoint."""
        self.longest = max(self.longest, time.monotonic() - self.began)
        between = state.global_step % self.iterations != 0
        if not between and self.stop.due(self.iterations * self.longest) and state.global_step < state.max_steps:
            control.should_training_stop = True
            control.should_save = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A checkpoint counts only with this file, written last."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's template, all placeholders
        write_json(folder / "complete.json", {"step": state.global_step})

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        model: Any = None,
        **_: Any,
    ) -> None:
        """Record one update.

        Raises:
            RunError: the loss is no number any more; going on would only cost time.
            SetupError: it never was one.
        """
        if logs is None or "loss" not in logs:
            return  # the summary at the end
        row = {ours: logs[theirs] for theirs, ours in METRICS.items() if logs.get(theirs) is not None}
        row.setdefault("seconds", time.monotonic() - self.began)
        row |= {
            name.removesuffix("/mean"): value
            for name, value in logs.items()
            if name.startswith("rewards/") and name.endswith("/mean")
        }
        row["adapter_norm"] = adapter_norm(model)
        self.run.append("metrics.jsonl", [{"step": state.global_step, **row}])
        # In fp16 the scaler begins too high on purpose, skips the updates whose gradients overflow, and halves itself.
        overflow = not args.fp16 and not math.isfinite(row.get("grad_norm", 0.0))
        if not math.isfinite(row["loss"]) and state.global_step == 1:
            raise SetupError(
                "the very first loss is no number, before anything was learnt",
                f"base model and adapter in {'fp16' if args.fp16 else 'bf16' if args.bf16 else 'fp32'}",
                "weights or adapter are broken, or too large for this precision: try model.load_in=16bit, another "
                "adapter, or a card that has bf16",
            )
        if not math.isfinite(row["loss"]) or overflow:
            raise RunError(
                f"the loss or its gradient is no number at update {state.global_step}",
                str(self.run.folder / "metrics.jsonl"),
                "lower method.learning_rate, then --resume from the last checkpoint",
            )
        self.report(state.global_step, row)


def adapter_norm(model: Any) -> float:
    """Euclidean norm of all LoRA B weights: 0 for a fresh adapter, and near 0 for one that learnt nothing."""
    squares = [weight.detach().float().pow(2).sum() for name, weight in model.named_parameters() if "lora_B" in name]
    return math.sqrt(float(sum(squares)))  # one look at the card, not one a layer
