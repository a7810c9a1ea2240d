"""What a judge was asked, what it cost, and when too much of it failed."""

import threading
from collections import Counter
from typing import Any

from lowmed.errors import RunError

MOST_FAILED = 0.05
SETTLED = 100  # below so many questions, a few failures do not yet stop a run that goes on


class Usage:
    """Counts that several threads add to.

    Args:
        host: that the questions go to.
        model: that answers there.
        prices: per million prompt and completion tokens.
    """

    def __init__(self, host: str, model: str, prices: tuple[float, float] | None) -> None:
        self.host, self.model, self.prices = host, model, prices
        self._counts: Counter[str] = Counter()
        self._rubrics: set[str] = set()
        self._lock = threading.Lock()

    def add(self, **counts: int) -> None:
        """Count."""
        with self._lock:
            self._counts.update(counts)

    def judging(self, rubric: str) -> None:
        """Note that a question is put by that rubric."""
        with self._lock:
            self._rubrics.add(rubric)

    def stop(self, *, final: bool = False) -> None:
        """End a run whose judge fails too often.

        Args:
            final: nothing follows, so that the share is exact however few were asked.

        Raises:
            RunError: more than one in twenty of the questions put to the judge got no verdict.
        """
        failed, given = self._counts["unanswered"], self._counts["answered"]
        if failed > MOST_FAILED * max(failed + given, 0 if final else SETTLED):
            raise RunError(
                f"{failed} of {failed + given} questions put to the judge failed, more than {MOST_FAILED:.0%}",
                f"{self.model} at {self.host}",
                "see that the server is up and keeps to the JSON schema, then go on; given verdicts are kept",
            )

    def record(self) -> dict[str, Any]:
        """What was sent where, without any text of it."""
        with self._lock:
            counts, rubrics = Counter(self._counts), sorted(self._rubrics)
        cost = None
        if self.prices:
            cost = (counts["prompt_tokens"] * self.prices[0] + counts["completion_tokens"] * self.prices[1]) / 1e6
        return {
            "host": self.host,
            "model": self.model,
            "rubrics": rubrics,
            "sent": "question, gold answer and the text judged; never an image",
            "verdicts_by": {name: counts[name] for name in ("rule", "cache", "judge", "failed")},
            **{name: counts[name] for name in ("requests", "malformed", "prompt_tokens", "completion_tokens")},
            "cost": cost,
        }
