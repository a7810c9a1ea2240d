"""Counts of a judge's requests, tokens and cost, and the limit on failures."""

import threading
from collections import Counter
from collections.abc import Mapping

from lowmed.errors import JudgeUnavailableError
from lowmed.records import JudgeUsage

MAX_FAILED = 0.05
MAX_IN_A_ROW = 8
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
        self._failed_in_a_row = 0
        self._lock = threading.Lock()

    def add(self, **counts: int) -> None:
        """Add to the counters."""
        with self._lock:
            self._counts.update(counts)
            if counts.get("answered"):
                self._failed_in_a_row = 0
            self._failed_in_a_row += counts.get("unanswered", 0)

    def add_rubric(self, rubric: str) -> None:
        """Record that a query uses a rubric."""
        with self._lock:
            self._rubrics.add(rubric)

    def counts(self) -> Counter[str]:
        """The counters so far."""
        with self._lock:
            return Counter(self._counts)

    def note(self, before: Mapping[str, int] | None = None) -> str:
        """How many requests were made, answered and failed so far, for the progress.

        Args:
            before: the counters at the start, if not all requests count.
        """
        now, before = self.counts(), before or {}
        sent, answered, failed = (now[name] - before.get(name, 0) for name in ("requests", "answered", "unanswered"))
        return f"sent {sent}, answered {answered}, failed {failed}"

    def stop_if_failing(self, *, final: bool = False, last: str = "") -> None:
        """Stop a run whose judge fails too often.

        Args:
            final: no query follows, so the limit holds however few were sent.
            last: why the last query failed.

        Raises:
            JudgeUnavailableError: more than 5 % of the queries failed, or 8 in a row.
        """
        with self._lock:
            failed, succeeded = self._counts["unanswered"], self._counts["answered"]
            in_a_row = self._failed_in_a_row
        why = f"; the last one: the server {last}" if last else ""
        if failed > MAX_FAILED * max(failed + succeeded, 0 if final else MIN_QUERIES):
            raise self._error(
                f"{failed} of {failed + succeeded} queries to the judge failed, more than {MAX_FAILED:.0%}{why}"
            )
        if in_a_row >= MAX_IN_A_ROW:
            raise self._error(f"{in_a_row} queries to the judge failed in a row{why}")

    def late(self, why: str) -> JudgeUnavailableError:
        """The error of a job whose time is over."""
        return self._error(f"the judge is too slow: {why} ({self.note()})")

    def _error(self, what: str) -> JudgeUnavailableError:
        return JudgeUnavailableError(
            what,
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
