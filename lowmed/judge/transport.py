"""One query sent to a judge's server, with retries."""

import threading
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from lowmed.errors import SetupError
from lowmed.judge import verdict
from lowmed.judge.job import Job, JobEndedError
from lowmed.judge.rubric import PARAMETERS, Query
from lowmed.judge.usage import Usage
from lowmed.judge.verdict import Verdict

if TYPE_CHECKING:  # httpx takes 0.2 s to import, and most commands use no judge
    from lowmed.judge.openai_client import Client

KEY = "LOWMED_JUDGE_KEY"
OPTION = "--judge-url"
PAUSES_SECONDS = (0.5, 2.0, 8.0, 20.0)  # before each retry of a busy or unreachable server
ATTEMPTS = 2  # a malformed verdict is requested once more, with another code


class Transport:
    """Client for one model on one server; thread-safe.

    Args:
        url: URL of an OpenAI-compatible API, .../v1
        model: its name on the server.
        seconds: timeout of one try.
        usage: counts requests and tokens.
    """

    def __init__(self, url: str, model: str, seconds: float, usage: Usage) -> None:
        self.url, self.model, self.seconds, self.usage = url, model, seconds, usage
        self._lock = threading.Lock()

    def send(self, query: Query, job: Job) -> Verdict:
        """The judge's verdict; its value is None, with the reason, if the judge failed.

        Args:
            query: the query.
            job: the job that it belongs to.

        Raises:
            JudgeUnavailableError: too many queries failed, or the time of the job is over.
            SetupError: the server rejects the request.
        """
        from lowmed.judge import openai_client

        self.usage.add_rubric(f"{query.rubric.name} {query.rubric.digest}")
        why = ""
        for attempt in range(ATTEMPTS):
            try:
                return self._request(query, query.code(attempt), job)
            except verdict.MalformedError as error:
                self.usage.add(malformed=1)
                why = openai_client.shown(str(error))
            except JobEndedError as error:
                raise self.usage.late(str(error)) from error
            except openai_client.NoResponseError as error:
                if error.status is not None and 300 <= error.status < 500 and error.status not in (408, 429):
                    fix = f"check {OPTION}, --judge-model and {KEY}"
                    raise SetupError(f"the judge {error}", self.usage.host, fix) from error
                why = str(error)
                break
        self.usage.add(unanswered=1)
        self.usage.stop_if_failing(last=why)
        return Verdict(None, why, "failed")

    def _request(self, query: Query, code: str, job: Job) -> Verdict:
        import httpx

        from lowmed.judge import openai_client

        with self._lock:  # the first thread creates the client
            client = self._client
        self.usage.add(requests=1)
        body = {
            "model": self.model,
            "messages": query.messages(code),
            "response_format": query.rubric.schema,
            **PARAMETERS,
        }
        content = openai_client.complete(
            client,
            self.url,
            body,
            pauses=PAUSES_SECONDS,
            seconds=self.seconds,
            job=job,
            retry_on=(httpx.RequestError,),
        )
        prompt_tokens, completion_tokens = verdict.tokens(content)
        self.usage.add(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        result = verdict.read(content, query, code)
        self.usage.add(answered=1)
        return replace(result, why=openai_client.redacted(result.why))

    @cached_property
    def _client(self) -> "Client":
        from lowmed.judge import openai_client

        return openai_client.client(self.url, OPTION, KEY)
