"""A warning during GRPO: steps in which no group of completions had different rewards teach nothing."""

from typing import Any

from transformers import TrainerCallback

from lowmed.progress import Log

STEPS = 10


class SpreadWarning(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Writes one line after `STEPS` steps in a row without a group whose completions differ in reward.

    It writes again only after a step with such a group. A resumed run counts from zero.

    Args:
        log: gets the line.
    """

    def __init__(self, log: Log) -> None:
        self.log, self.steps = log, 0

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Count the step."""
        share = (logs or {}).get("frac_reward_zero_std")
        if share is None:
            return
        self.steps = self.steps + 1 if share >= 1 else 0
        if self.steps == STEPS:
            mean = float((logs or {}).get("reward", 0.0))
            self.log(
                f"WARNING in {STEPS} steps no group had completions of different reward (mean {mean:.3f} at step "
                f"{state.global_step}), so nothing was learned; `lowmed probe` measures what the base can do"
            )
