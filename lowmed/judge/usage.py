"""Counts of a judge's requests, tokens and cost, and the limit on failures."""

import threading
from collections import Counter

from lowmed.errors import RunError
from lowmed.records import JudgeUsage

MAX_FAILED = 0.05
MIN_QUERIES = 100  # with fewer queries, a few failures do not stop a run that will send more


class Usage:
    """Thread-safe counters.

    Args:
        host: host of the judge's server.
        model: name of the judge model.
        prices: per million prompt and completion tokens.
    """

    def __init__(self, host: str, model: str, prices: tuple[float, float] | None) -> None:
        self.host, self.model, self.prices = host, model, prices
        self._counts: Counter[str] = Counter()
        self._rubrics: set[str] = set()
        self._lock = threading.Lock()

    def add(self, **counts: int) -> None:
        """Add to the counters."""
        with self._lock:
            self._counts.update(counts)

    def add_rubric(self, rubric: str) -> None:
        """Record that a query uses a rubric."""
        with self._lock:
            self._rubrics.add(rubric)

    def stop_if_failing(self, *, final: bool = False) -> None:
        """Stop a run whose judge fails too often.

        Args:
            final: no query follows, so the limit holds however few were sent.

        Raises:
            RunError: more than 5 % of the queries failed.
        """
        failed, succeeded = self._counts["unanswered"], self._counts["answered"]
        if failed > MAX_FAILED * max(failed + succeeded, 0 if final else MIN_QUERIES):
            raise RunError(
                f"{failed} of {failed + succeeded} queries to the judge failed, more than {MAX_FAILED:.0%}",
                f"{self.model} at {self.host}",
                "check that the server is up and follows the JSON schema, then repeat the command; verdicts are kept",
            )

    def record(self) -> JudgeUsage:
        """The counts so far."""
        with self._lock:
            counts, rubrics = Counter(self._counts), sorted(self._rubrics)
        cost = None
        if self.prices:
            cost = (counts["prompt_tokens"] * self.prices[0] + counts["completion_tokens"] * self.prices[1]) / 1e6
        return JudgeUsage(
            host=self.host,
            model=self.model,
            rubrics=tuple(rubrics),
            content="question, gold answer and the text judged; never an image",
            verdicts_by={name: counts[name] for name in ("rule", "cache", "judge", "failed")},
            requests=counts["requests"],
            malformed=counts["malformed"],
            prompt_tokens=counts["prompt_tokens"],
            completion_tokens=counts["completion_tokens"],
            cost=cost,
        )
