"""A run whose rewards never differ within a group states that it learns nothing."""

from types import SimpleNamespace

from conftest import Lowmed

from lowmed.engine.no_spread import STEPS, SpreadWarning


def lines(*shares: float | None) -> list[str]:
    written: list[str] = []
    warning = SpreadWarning(written.append)
    for step, share in enumerate(shares, 1):
        logs = {"loss": 0.0} if share is None else {"loss": 0.0, "reward": 0.25, "frac_reward_zero_std": share}
        warning.on_log(None, SimpleNamespace(global_step=step), None, logs)
    return written


def test_it_is_stated_once_after_steps_without_any_difference() -> None:
    [line] = lines(*[1.0] * (3 * STEPS))
    assert f"in {STEPS} steps no group" in line
    assert f"mean 0.250 at step {STEPS}" in line


def test_a_single_group_with_a_difference_starts_the_count_again() -> None:
    nearly = [1.0] * (STEPS - 1)
    assert lines(*nearly, 0.99, *nearly) == []
    assert len(lines(*nearly, 1.0, 0.5, *nearly, 1.0)) == 2


def test_other_logs_do_not_count() -> None:
    assert lines(*[None] * (2 * STEPS)) == []
    assert len(lines(*[1.0, None] * STEPS)) == 1


def test_a_run_states_it(lowmed: Lowmed) -> None:
    settings = ("method.max_steps=10", "method.prompts_per_step=1", "method.num_generations=2")
    result = lowmed(
        "grpo", "--recipe", "rl-plain", "--nano", *settings, "method.max_completion_length=1",
        "method.rewards=[{name: accuracy}]", "--out", "run",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("WARNING in 10 steps no group had completions of different reward (mean 0.000") == 1
