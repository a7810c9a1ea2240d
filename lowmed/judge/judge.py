"""The judge: a served model that decides whether an answer is correct. It receives text only."""

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
from lowmed.judge.records import JudgeIdentity
from lowmed.judge.rubric import ANSWER, Query, Rubric
from lowmed.judge.transport import OPTION, Transport
from lowmed.judge.usage import Usage
from lowmed.judge.verdict import Verdict
from lowmed.records import JudgeUsage
from lowmed.run import FOLDER

CACHE = Path(FOLDER) / "judge.sqlite"
CONCURRENT_REQUESTS = 8
SECONDS_PER_TRY = 120.0


class Judge:
    """Queries one model on one server, caches its verdicts, and counts requests.

    Thread-safe. A pickled judge starts its counts at zero.

    Args:
        url: URL of an OpenAI-compatible API, .../v1; the key is read from LOWMED_JUDGE_KEY.
        model: its name on the server.
        cache: file of the cached verdicts.
        prices: per million prompt and completion tokens, in any currency.
        seconds: timeout of one try.

    Raises:
        SetupError: the URL is invalid, or names another machine while LOWMED_OFFLINE=1.
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
        self._usage = Usage(self.host, model, prices)
        self._transport = Transport(self.url, model, seconds, self._usage)
        self._failed: dict[str, Verdict] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.url, self.model, self._cache_path, self.prices, self.seconds)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Judge) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash((self.url, self.model))

    def identity(self, rubric: Rubric = ANSWER) -> JudgeIdentity:
        """Model and rubric: scores of two judges are comparable only if their identities are equal."""
        return JudgeIdentity(model=self.model, rubric=rubric.name, rubric_digest=rubric.digest)

    def verdict(self, question: str, gold: str | Sequence[str], answer: str) -> Verdict:
        """Whether an extracted answer means the same as the gold answer, or as one of several.

        Raises:
            RunError, SetupError: as `ask`.
        """
        golds = (gold,) if isinstance(gold, str) else tuple(gold)
        return self.ask(Query(ANSWER, question, golds, answer))

    def ask(self, query: Query) -> Verdict:
        """The verdict by rule, from the cache, or from the model; its value is None if the model failed.

        Raises:
            RunError: more than 5 % of the queries failed.
            SetupError: the server rejects the request.
        """
        key = self._key(query)
        result = self._stored(query, key) or self._failed.get(key) or self._request(query, key)
        self._usage.add(**{result.by: 1})
        return result

    def ask_all(self, queries: Iterable[Query], *, strict: bool = False) -> list[Verdict]:
        """The verdicts of many queries, sent concurrently, equal ones once. `ask` repeats the failures of this call.

        Args:
            queries: the queries.
            strict: no query follows, so the failure limit holds however few were sent.

        Raises:
            RunError, SetupError: as `ask`; verdicts received by then are cached.
        """
        listed = list(queries)
        keys = [self._key(query) for query in listed]
        unique = dict(zip(keys, listed, strict=True))
        pool = ThreadPoolExecutor(CONCURRENT_REQUESTS)
        try:
            verdicts = dict(zip(unique, pool.map(self._stored_or_requested, unique.items()), strict=True))
        finally:
            pool.shutdown(cancel_futures=True)
        for key, result in verdicts.items():
            self._failed.pop(key, None)
            if result.value is None:
                self._failed[key] = result
            self._usage.add(**{result.by: 1})
        if strict:
            self._usage.stop_if_failing(final=True)
        return [verdicts[key] for key in keys]

    def usage(self) -> JudgeUsage:
        """Requests, tokens and cost of this object so far; no text and no key."""
        return self._usage.record()

    @cached_property
    def _cache(self) -> Cache:
        return Cache(self._cache_path)

    def _key(self, query: Query) -> str:
        parts = [self.url, self.model, query.rubric.name, query.code()]  # the code covers rubric, parameters and texts
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _stored_or_requested(self, item: tuple[str, Query]) -> Verdict:
        key, query = item
        return self._stored(query, key) or self._request(query, key)

    def _stored(self, query: Query, key: str) -> Verdict | None:
        if settled := verdict.by_rule(query):
            return settled
        with self._lock:  # the first thread opens the cache
            cache = self._cache
        stored = cache.get(key)
        return Verdict(*stored, "cache") if stored else None

    def _request(self, query: Query, key: str) -> Verdict:
        result = self._transport.send(query)
        if result.value is not None:
            self._cache.put(key, result.value, result.why)
        return result


def _rebuild(url: str, model: str, cache: Path, prices: tuple[float, float] | None, seconds: float) -> Judge:
    return Judge(url, model, cache=cache, prices=prices, seconds=seconds)
