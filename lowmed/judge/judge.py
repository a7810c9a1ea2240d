"""The judge: a served model that decides whether an answer is correct. It receives text only."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from lowmed.judge import verdict, waiting
from lowmed.judge.cache import Cache
from lowmed.judge.job import Job
from lowmed.judge.records import JudgeIdentity
from lowmed.judge.rubric import ANSWER, Query, Rubric
from lowmed.judge.transport import OPTION, Transport
from lowmed.judge.usage import Usage
from lowmed.judge.verdict import Verdict
from lowmed.progress import Log, no_log
from lowmed.records import JudgeUsage
from lowmed.run import FOLDER

CACHE = Path(FOLDER) / "judge.sqlite"
CONCURRENT_REQUESTS = 8
SECONDS_PER_TRY = 120.0
SECONDS_PER_JOB = 300.0  # and those of its queries, which a slow server on a CPU takes
SECONDS_PER_QUERY = 30.0


class Judge:
    """Queries one model on one server, caches its verdicts, and counts requests.

    Thread-safe. A pickled judge starts its counts at zero. Its attribute `log` gets a line every 20 s while `ask_all`
    waits.

    Args:
        url: URL of an OpenAI-compatible API, .../v1; the key is read from LOWMED_JUDGE_KEY.
        model: its name on the server.
        cache: file of the cached verdicts.
        prices: per million prompt and completion tokens, in any currency.
        seconds: timeout of one try.
        job_seconds: limit of a whole job, of `ask` or `ask_all`; default 5 minutes and 30 seconds a query, 8 at a time.

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
        job_seconds: float | None = None,
    ) -> None:
        from lowmed.judge import openai_client

        self.url, self.model, self.prices, self.seconds = url.rstrip("/"), model, prices, seconds
        self.job_seconds = job_seconds
        self.log: Log = no_log
        self.host = openai_client.host(url, OPTION)
        self._cache_path = cache
        self._lock = threading.Lock()
        self._usage = Usage(self.host, model, prices)
        self._transport = Transport(self.url, model, seconds, self._usage)
        self._failed: dict[str, Verdict] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.url, self.model, self._cache_path, self.prices, self.seconds, self.job_seconds)

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
            JudgeUnavailableError: more than 5 % of the queries failed, or 8 in a row, or the time of the job is over.
            SetupError: the server rejects the request.
        """
        key = self._key(query)
        result = self._stored(query, key) or self._failed.get(key) or self._request(query, key, self.job(1))
        self._usage.add(**{result.by: 1})
        return result

    def job(self, queries: int) -> Job:
        """The time that a job of this many queries may take, from now on."""
        by_size = SECONDS_PER_JOB + SECONDS_PER_QUERY * queries / CONCURRENT_REQUESTS
        return Job(by_size if self.job_seconds is None else self.job_seconds)

    def ask_all(
        self,
        queries: Iterable[Query],
        *,
        strict: bool = False,
        job: Job | None = None,
        advance: Callable[[int, str], None] = lambda _done, _note: None,
    ) -> list[Verdict]:
        """The verdicts of many queries, sent concurrently, equal ones once. `ask` repeats the failures of this call.

        Args:
            queries: the queries.
            strict: no query follows, so the failure limit holds however few were sent.
            job: the job that the queries are a part of; default a job of their own.
            advance: called after each query with the number of those done, and the counts sent, answered and failed;
                also every 20 s without one.

        Raises:
            JudgeUnavailableError, SetupError: as `ask`; verdicts received by then are cached.
        """
        listed = list(queries)
        keys = [self._key(query) for query in listed]
        unique = dict(zip(keys, listed, strict=True))
        limits = job or self.job(len(unique))
        pool = ThreadPoolExecutor(CONCURRENT_REQUESTS)
        verdicts: dict[str, Verdict] = {}
        started, before = time.monotonic(), self._usage.counts()

        def note_wait() -> None:
            advance(len(verdicts), self._usage.note())
            if line := waiting.line(len(verdicts), len(unique), started, limits, self._usage.note(before)):
                self.log(line)

        try:
            futures = {pool.submit(self._stored_or_requested, query, key, limits): key for key, query in unique.items()}
            for future in waiting.completed(futures, note_wait):
                verdicts[futures[future]] = future.result()
                advance(len(verdicts), self._usage.note())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            limits.end()  # the other requests, which may last for minutes
            raise
        finally:
            pool.shutdown()
        for key in unique:
            result = verdicts[key]
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

    def _stored_or_requested(self, query: Query, key: str, job: Job) -> Verdict:
        return self._stored(query, key) or self._request(query, key, job)

    def _stored(self, query: Query, key: str) -> Verdict | None:
        if settled := verdict.by_rule(query):
            return settled
        with self._lock:  # the first thread opens the cache
            cache = self._cache
        stored = cache.get(key)
        return Verdict(*stored, "cache") if stored else None

    def _request(self, query: Query, key: str, job: Job) -> Verdict:
        result = self._transport.send(query, job)
        if result.value is not None:
            self._cache.put(key, result.value, result.why)
        return result


def _rebuild(
    url: str,
    model: str,
    cache: Path,
    prices: tuple[float, float] | None,
    seconds: float,
    job_seconds: float | None,
) -> Judge:
    return Judge(url, model, cache=cache, prices=prices, seconds=seconds, job_seconds=job_seconds)
