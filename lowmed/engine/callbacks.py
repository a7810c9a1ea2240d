"""Trainer callback: metrics, finished checkpoints, graceful stop, progress."""

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lowmed import processes
from lowmed.engine import agreement
from lowmed.engine.checkpoints import mark_complete
from lowmed.errors import RunError, SetupError
from lowmed.run import Run

# Name in TRL's log -> name in metrics.jsonl. Other values are not recorded.
METRICS = {
    "loss": "loss",
    "reward": "reward",
    "reward_std": "reward_std",
    "entropy": "entropy",
    "kl": "kl",
    "mean_token_accuracy": "token_accuracy",
    "frac_reward_zero_std": "zero_spread_groups",
    "trained": "trained_share",
    **{
        name: name
        for name in (  # of DPO and KTO
            "rewards/chosen",
            "rewards/rejected",
            "rewards/margins",
            "rewards/accuracies",
            "rewards/image_margins",
            "rewards/image_accuracies",
            "logps/chosen",
            "logps/rejected",
        )
    },
    "completions/mean_length": "tokens",
    "completions/clipped_ratio": "clipped",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "step_time": "seconds",
    agreement.MEAN: "logp_difference",
    agreement.MAX: "logp_difference_max",
    "dynamic_sampling/extra_completions": "extra_completions",
    "dynamic_sampling/replaced_groups": "replaced_groups",
    "mix/reference_weight": "reference_weight",
    "mix/reference_logp": "reference_logp",
    "mix/reference_advantage": "reference_advantage",
}


class StopSignal:
    """Whether to stop after the current step: on Ctrl-C, SIGTERM or SIGHUP, or before a deadline.

    Attributes:
        deadline: in `time.monotonic()`, or None.
        reason: `SIGINT`, `SIGTERM`, `SIGHUP` or `time`; empty during training.
    """

    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline
        self.reason = ""

    def should_stop(self, longest_step: float) -> bool:
        """Whether a signal came, or the next step and its checkpoint might miss the deadline; in any process.

        Args:
            longest_step: seconds of the longest step so far.
        """
        if self.deadline is not None and time.monotonic() + 1.5 * longest_step + 5 > self.deadline:
            self.reason = self.reason or "time"
        self.reason = next(filter(None, processes.gather(self.reason)), "")
        return bool(self.reason)

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """On the first Ctrl-C, SIGTERM or SIGHUP stop after the current step; on the second one end as usual.

        SIGHUP says that the terminal is gone, e.g. a lost ssh connection. A process that ignores it (nohup) still does.
        """

        def stop(number: int, _frame: FrameType | None) -> None:
            self.reason = signal.Signals(number).name
            if number == signal.SIGHUP:
                _leave_terminal()
            for other in before:
                signal.signal(other, before[other])

        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
        for number in before:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _leave_terminal() -> None:
    """Discard the output of a terminal that is gone: an error there would end the run without a checkpoint."""
    with Path(os.devnull).open("w") as discarded:
        for descriptor in (1, 2):
            if os.isatty(descriptor) or not _is_open(descriptor):
                os.dup2(discarded.fileno(), descriptor)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


class RunCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Writes metrics.jsonl, marks finished checkpoints, and stops on a signal or before the deadline."""

    def __init__(
        self, run: Run, stop: StopSignal, report: Callable[[int, dict[str, float]], None], steps_per_batch: int
    ) -> None:
        self.run = run
        self.stop = stop
        self.report = report
        self.steps_per_batch = steps_per_batch  # on the same completions, which a checkpoint does not contain
        self.step_started = time.monotonic()
        self.step_seconds = 0.0
        self.longest_step = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, lr_scheduler: Any = None, **_: Any
    ) -> None:
        """Use the learning rate of the present schedule from the first step on.

        A checkpoint holds the one of the schedule under which it was saved, and a continued run has a longer schedule.
        """
        scheduler = getattr(lr_scheduler, "scheduler", lr_scheduler)  # accelerate wraps it
        step = scheduler.last_epoch
        rates = [rate * factor(step) for rate, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
        for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        scheduler._last_lr = rates  # the value that is logged; there is no public way to set it

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock of a step."""
        self.step_started = time.monotonic()

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Stop the clock of a step, before an evaluation follows."""
        self.step_seconds = time.monotonic() - self.step_started

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Stop with a checkpoint if due, but never between two steps on the same completions."""
        self.longest_step = max(self.longest_step, time.monotonic() - self.step_started)
        if state.global_step % self.steps_per_batch != 0:
            return control
        if self.stop.should_stop(self.steps_per_batch * self.longest_step) and state.global_step < state.max_steps:
            control.should_training_stop = True
            control.should_save = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write complete.json last. A checkpoint without it is ignored."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's template without any content
        mark_complete(folder, state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        model: Any = None,
        **_: Any,
    ) -> None:
        """Record the metrics of a step.

        Raises:
            RunError: the loss or the gradient became NaN or infinite.
            SetupError: the loss is NaN or infinite at the first step.
        """
        if logs is None or "loss" not in logs:
            return  # the summary at the end
        row = {name: logs[trl_name] for trl_name, name in METRICS.items() if logs.get(trl_name) is not None}
        row.setdefault("seconds", self.step_seconds)
        row |= {
            name.removesuffix("/mean"): value
            for name, value in logs.items()
            if name.startswith("rewards/") and name.endswith("/mean")
        }
        row |= {name: value for name, value in logs.items() if name.startswith("source/")}
        row["adapter_norm"] = adapter_norm(model)
        self.run.append("metrics.jsonl", [{"step": state.global_step, **row}])
        # In fp16 the gradient scaler starts too high on purpose: it skips the steps that overflow, and halves itself.
        overflow = not args.fp16 and not math.isfinite(row.get("grad_norm", 0.0))
        if not math.isfinite(row["loss"]) and state.global_step == 1:
            raise SetupError(
                "the loss is NaN or infinite at the first step",
                f"base model and adapter in {'fp16' if args.fp16 else 'bf16' if args.bf16 else 'fp32'}",
                "weights or adapter are broken, or too large for this precision: try model.load_in=16bit, another "
                "adapter, or a GPU that has bf16",
            )
        if not math.isfinite(row["loss"]) or overflow:
            raise RunError(
                f"the loss or its gradient is NaN or infinite at step {state.global_step}",
                str(self.run.folder / "metrics.jsonl"),
                "lower method.learning_rate, then --resume from the last checkpoint",
            )
        self.report(state.global_step, row)


def adapter_norm(model: Any) -> float:
    """Euclidean norm of all LoRA B weights: 0 for a new adapter, near 0 for one that learned nothing."""
    squares = [weight.detach().float().pow(2).sum() for name, weight in model.named_parameters() if "lora_B" in name]
    return math.sqrt(float(sum(squares)))  # one transfer from the GPU instead of one for each layer
