"""What a run records of its rewards: the code of custom ones, and the judge."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lowmed import rewards
from lowmed.progress import Log
from lowmed.run import Run


@contextmanager
def recorded(run: Run, run_rewards: Sequence[rewards.Weighted], log: Log) -> Iterator[None]:
    """Record the digests of custom rewards, and address and usage of the judge, even if training fails.

    Args:
        run: the run.
        run_rewards: its rewards.
        log: gets lines during long waits for the judge.
    """
    judges = (getattr(weighted.reward, "judge", None) for weighted in run_rewards)
    judge = next((judge for judge in judges if judge), None)
    if judge:
        judge.log = log
    _record_code(run, run_rewards)
    try:
        yield
    finally:
        _record_code(run, run_rewards)  # again, because a reward may import when it is called
        if judge:
            run.update(judge_usage=[*run.record.judge_usage, judge.usage()])


def _record_code(run: Run, run_rewards: Sequence[rewards.Weighted]) -> None:
    now, before = rewards.code_digests(run_rewards), run.record.reward_code
    together = [{**old, **new} for old, new in zip(before, now, strict=True)] if before else now
    if together != list(before):
        run.update(reward_code=together)
