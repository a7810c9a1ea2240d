"""A question put to a judge's server, until there is a verdict or an end."""

import threading
from functools import cached_property
from typing import TYPE_CHECKING

from lowmed.errors import SetupError
from lowmed.judge import verdict
from lowmed.judge.rubric import PARAMETERS, Query
from lowmed.judge.usage import Usage
from lowmed.judge.verdict import Verdict

if TYPE_CHECKING:  # httpx takes a fifth of a second to load, and most commands ask no judge
    import httpx

KEY = "LOWMED_JUDGE_KEY"
OPTION = "--judge-url"
PAUSES_SECONDS = (0.5, 2.0, 8.0, 20.0)  # before a busy or silent server is asked again
ATTEMPTS = 2  # a malformed verdict is asked for once more, under another code


class Transport:
    """Speaks to one model at one address, from several threads.

    Args:
        url: of an OpenAI-compatible interface, .../v1
        model: what the server calls the model.
        seconds: one try may take.
        tally: counts what is sent and what comes back.
    """

    def __init__(self, url: str, model: str, seconds: float, tally: Usage) -> None:
        self.url, self.model, self.seconds, self.tally = url, model, seconds, tally
        self._lock = threading.Lock()

    def put(self, query: Query) -> Verdict:
        """The judge's verdict; None in it, with the reason, where it gave none.

        Raises:
            RunError: more than one in twenty of the questions so far got none.
            SetupError: the server refuses what it is sent.
        """
        from lowmed.judge import openai_client

        self.tally.judging(f"{query.rubric.name} {query.rubric.digest}")
        why = ""
        for attempt in range(ATTEMPTS):
            try:
                return self._request(query, query.code(attempt))
            except verdict.MalformedError as error:
                self.tally.add(malformed=1)
                why = str(error)
            except openai_client.NoAnswerError as error:
                if error.status is not None and 300 <= error.status < 500 and error.status not in (408, 429):
                    fix = f"check {OPTION}, --judge-model and {KEY}"
                    raise SetupError(f"the judge {error}", self.tally.host, fix) from error
                why = str(error)
                break
        self.tally.add(unanswered=1)
        self.tally.stop()
        return Verdict(None, why, "failed")

    def _request(self, query: Query, code: str) -> Verdict:
        import httpx

        from lowmed.judge import openai_client

        with self._lock:  # the client is made once, whichever thread comes first
            client = self._client
        self.tally.add(requests=1)
        body = {
            "model": self.model,
            "messages": query.messages(code),
            "response_format": query.rubric.schema,
            **PARAMETERS,
        }
        content = openai_client.complete(
            client, self.url, body, pauses=PAUSES_SECONDS, seconds=self.seconds, again=(httpx.RequestError,)
        )
        prompt, completion = verdict.tokens(content)
        self.tally.add(prompt_tokens=prompt, completion_tokens=completion)
        result = verdict.read(content, query, code)
        self.tally.add(answered=1)
        return result

    @cached_property
    def _client(self) -> "httpx.Client":
        from lowmed.judge import openai_client

        return openai_client.client(self.url, OPTION, KEY)
