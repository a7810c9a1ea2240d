"""The judge: another program's model, asked whether an answer is right; text alone is sent, and only to its address."""

import hashlib
import json
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from lowmed.judge import verdict
from lowmed.judge.cache import Cache
from lowmed.judge.rubric import ANSWER, Query, Rubric
from lowmed.judge.transport import OPTION, Transport
from lowmed.judge.usage import Usage
from lowmed.judge.verdict import Verdict
from lowmed.run import FOLDER

CACHE = Path(FOLDER) / "judge.sqlite"
AT_ONCE = 8
SECONDS_PER_TRY = 120.0


class Judge:
    """Asks one model at one address, remembers its verdicts, and counts what was sent.

    May be used from several threads; a pickled judge begins its counts anew.

    Args:
        url: of an OpenAI-compatible interface, .../v1; its key is taken from LOWMED_JUDGE_KEY.
        model: what the server calls the model.
        cache: file of the verdicts given so far.
        prices: per million prompt and completion tokens, in any currency.
        seconds: one try may take.

    Raises:
        SetupError: the address is none, or leads out of this machine while LOWMED_OFFLINE=1.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        cache: Path = CACHE,
        prices: tuple[float, float] | None = None,
        seconds: float = SECONDS_PER_TRY,
    ) -> None:
        from lowmed.judge import openai_client

        self.url, self.model, self.prices, self.seconds = url.rstrip("/"), model, prices, seconds
        self.host = openai_client.host(url, OPTION)
        self._cache_path = cache
        self._lock = threading.Lock()
        self._tally = Usage(self.host, model, prices)
        self._wire = Transport(self.url, model, seconds, self._tally)
        self._failed: dict[str, Verdict] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.url, self.model, self._cache_path, self.prices, self.seconds)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Judge) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash((self.url, self.model))

    def identity(self, rubric: Rubric = ANSWER) -> dict[str, str]:
        """What verdicts depend on, beside what is judged: two judges may be compared only where this is equal."""
        return {"model": self.model, "rubric": rubric.name, "rubric_digest": rubric.digest}

    def verdict(self, question: str, gold: str | Sequence[str], answer: str) -> Verdict:
        """Whether an answer, as read out of its completion, says the same as the gold one, or one of several.

        Raises:
            RunError, SetupError: as `ask`.
        """
        golds = (gold,) if isinstance(gold, str) else tuple(gold)
        return self.ask(Query(ANSWER, question, golds, answer))

    def ask(self, query: Query) -> Verdict:
        """The verdict by rule, from the cache, or from the judge; None in it where the judge failed.

        Raises:
            RunError: more than one in twenty of the questions put to the judge failed.
            SetupError: the server refuses what it is sent.
        """
        key = self._key(query)
        result = self._known(query, key) or self._failed.get(key) or self._asked(query, key)
        self._tally.add(**{result.by: 1})
        return result

    def ask_all(self, queries: Iterable[Query], *, strict: bool = False) -> list[Verdict]:
        """The verdicts of many, several asked at once and equal ones once. What fails here stays so for `ask`.

        Args:
            queries: what is judged.
            strict: nothing follows, so that the share that may fail is exact, however few were asked.

        Raises:
            RunError, SetupError: as `ask`; verdicts given by then are in the cache.
        """
        listed = list(queries)
        keys = [self._key(query) for query in listed]
        wanted = dict(zip(keys, listed, strict=True))
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            given = dict(zip(wanted, pool.map(self._first, wanted.items()), strict=True))
        finally:
            pool.shutdown(cancel_futures=True)
        for key, result in given.items():
            self._failed.pop(key, None)
            if result.value is None:
                self._failed[key] = result
            self._tally.add(**{result.by: 1})
        if strict:
            self._tally.stop(final=True)
        return [given[key] for key in keys]

    def record(self) -> dict[str, Any]:
        """What was sent where by this object, for the record of a run; no text of it, and no key."""
        return self._tally.record()

    @cached_property
    def _cache(self) -> Cache:
        return Cache(self._cache_path)

    def _key(self, query: Query) -> str:
        parts = [self.url, self.model, query.rubric.name, query.code()]  # the code holds rubric, parameters and texts
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _first(self, item: tuple[str, Query]) -> Verdict:
        key, query = item
        return self._known(query, key) or self._asked(query, key)

    def _known(self, query: Query, key: str) -> Verdict | None:
        if settled := verdict.by_rule(query):
            return settled
        with self._lock:  # the property is made once, whichever thread comes first
            cache = self._cache
        kept = cache.get(key)
        return Verdict(*kept, "cache") if kept else None

    def _asked(self, query: Query, key: str) -> Verdict:
        result = self._wire.put(query)
        if result.value is not None:
            self._cache.put(key, result.value, result.why)
        return result


def _again(url: str, model: str, cache: Path, prices: tuple[float, float] | None, seconds: float) -> Judge:
    return Judge(url, model, cache=cache, prices=prices, seconds=seconds)
