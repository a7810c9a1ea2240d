"""A model that another program serves (vLLM, llama.cpp, Ollama) behind an OpenAI-compatible chat API.

This is the only part of lowmed that sends images, and only to the given URL.
"""

import base64
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from queue import SimpleQueue
from typing import Any

import httpx
from PIL import Image

from lowmed import prompt
from lowmed.data.image.policy import PixelPolicy, fit
from lowmed.errors import SetupError
from lowmed.evaluation.answerer import Answerer, Completion, OpenImage
from lowmed.judge import openai_client, verdict
from lowmed.judge.job import Job, JobEndedError
from lowmed.sample import Sample

MAX_CONCURRENCY = 16
REJECTED, REJECTIONS = "rejected", (400, 413, 422)  # statuses that concern one request, not all of them
MAX_REJECTED_IN_A_ROW = 8
PAUSES_SECONDS = (0.5, 2.0, 8.0, 20.0, 30.0)  # before each retry; limits of requests are often per minute
# Before the server's first response only these are retried: an address without a server is reported at once.
DROPPED = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
SECONDS_PER_COMPLETION = 600
SECONDS_PER_JOB = 900.0  # and those of its completions, which a slow server on a CPU takes
JOB_SECONDS_PER_COMPLETION = 120.0
KEY = "LOWMED_API_KEY"
REASONING = ("reasoning_content", "reasoning")  # transformers, llama.cpp, older vLLM; vLLM
# vLLM continues the last message with these. llama.cpp always continues one of the assistant.
CONTINUE = {"add_generation_prompt": False, "continue_final_message": True}

_TO_DO = {
    None: "start the server, then repeat the command",
    429: "lower --max-concurrency, or wait; then repeat the command",
}


class RejectedError(SetupError):
    """The server rejects one request, for example by a content filter."""


class _RejectedQuestions:
    """The questions that a server rejected since it answered one; thread-safe."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._lock = threading.Lock()

    def add(self, question: str) -> int:
        """Count a question, and return their number."""
        with self._lock:
            self._ids.add(question)
            return len(self._ids)

    def clear(self) -> None:
        """Count from 0 again."""
        with self._lock:
            self._ids.clear()


class _Server:
    """The server of one evaluation; thread-safe. Each thread has its own connection, which it keeps.

    Raises:
        SetupError: the URL is invalid, or names another machine while LOWMED_OFFLINE=1.
    """

    def __init__(self, url: str) -> None:
        openai_client.host(url, "--endpoint")
        self.url = url
        self._threads = threading.local()
        self._responded = False

    @property
    def _client(self) -> openai_client.Client:
        if not hasattr(self._threads, "client"):
            self._threads.client = openai_client.client(self.url, "--endpoint", KEY, of_one_thread=True)
        client: openai_client.Client = self._threads.client
        return client

    def post(self, body: dict[str, Any], job: Job) -> Any:
        """The server's response, retried while the server is busy, or does not respond although it did before.

        Raises:
            SetupError: it does not respond, rejects the request, or is too slow for the whole evaluation.
        """
        try:
            content = openai_client.complete(
                self._client,
                self.url,
                body,
                pauses=PAUSES_SECONDS,
                seconds=SECONDS_PER_COMPLETION,
                job=job,
                retry_on=(httpx.RequestError,) if self._responded else DROPPED,
            )
        except JobEndedError as error:
            fix = "use a faster server, then repeat the command; the stored completions are kept"
            raise SetupError(f"the endpoint is too slow: {error}", self.url, fix) from error
        except openai_client.NoResponseError as error:
            fix = f"{_TO_DO.get(error.status, 'check --endpoint and --model')}; the stored completions are kept"
            kind = RejectedError if error.status in REJECTIONS else SetupError
            raise kind(f"the endpoint {error}", self.url, fix) from error
        self._responded = True
        return content


def answerer(
    url: str,
    name: str,
    family: prompt.Family,
    policy: PixelPolicy,
    max_new_tokens: int,
    *,
    max_concurrency: int = MAX_CONCURRENCY,
    skip_rejected: bool = False,
) -> Answerer:
    """An answerer for the served model; its key is read from LOWMED_API_KEY.

    Args:
        url: URL of the API, e.g. http://127.0.0.1:8000/v1
        name: name of the model on the server.
        family: the prompts.
        policy: size of the images that are sent.
        max_new_tokens: completion limit.
        max_concurrency: most requests at once. Completions are in the order of their arrival, so that a slow one holds
            back no other.
        skip_rejected: give an empty completion with the finish reason `rejected` where the server rejects a request,
            unless it rejects 8 questions in a row.

    Raises:
        SetupError: the URL is invalid, or names another machine while LOWMED_OFFLINE=1.
    """
    server = _Server(url)

    def answer(
        samples: Sequence[Sample], open_image: OpenImage, *, copies: int, temperature: float
    ) -> Iterator[Completion]:
        total = len(samples) * copies
        rejected = _RejectedQuestions()
        preparing = [threading.Lock() for _ in range(max_concurrency)]  # of a question by one of its requests
        job = Job(SECONDS_PER_JOB + JOB_SECONDS_PER_COMPLETION * total / max_concurrency)

        @lru_cache(2 * max_concurrency)  # the copies of a question, whose requests follow each other
        def messages(question: int) -> list[prompt.Message]:
            return _messages(family, samples[question], open_image, policy)

        def one(number: int) -> Completion:
            question = number // copies
            sample = samples[question]
            with preparing[question % max_concurrency]:
                content = messages(question)
            body = {
                "model": name,
                "messages": content,
                "max_tokens": max_new_tokens,
                "temperature": temperature,
                **(CONTINUE if family.prefill else {}),
            }
            try:
                response = server.post(body, job)
            except RejectedError:
                if not skip_rejected or rejected.add(sample.id) >= MAX_REJECTED_IN_A_ROW:
                    raise
                return Completion(sample, "", 0, REJECTED)
            rejected.clear()
            return completion(sample, response, url, family)

        yield from _as_completed(one, total, max_concurrency, job)

    return answer


def _as_completed(one: Callable[[int], Completion], total: int, max_concurrency: int, job: Job) -> Iterator[Completion]:
    """The completions as they arrive. After an error no request is sent, and those that have arrived come first."""
    arrived: SimpleQueue[Future[Completion]] = SimpleQueue()
    error: BaseException | None = None
    with ThreadPoolExecutor(max_concurrency) as pool:
        try:
            sent = open_requests = 0
            while open_requests or (sent < total and not error):
                while sent < total and open_requests < max_concurrency and not error:
                    pool.submit(one, sent).add_done_callback(arrived.put)
                    sent, open_requests = sent + 1, open_requests + 1
                future = arrived.get()
                open_requests -= 1
                if not future.exception():
                    yield future.result()
                elif not error:
                    error = future.exception()
                    job.end()  # the other requests, which may last for minutes
            if error:
                raise error
        except BaseException:
            job.end()
            raise


def _messages(
    family: prompt.Family, sample: Sample, open_image: OpenImage, policy: PixelPolicy
) -> list[prompt.Message]:
    """The messages that a loaded model would get, with the prepared images as PNG, then the prefill, if any."""
    images = iter(sample.images)
    messages = prompt.build_messages(family, sample)
    for message in messages:
        message["content"] = [
            image_part(fit(open_image(reference := next(images)), policy, reference))
            if part["type"] == "image"
            else part
            for part in message["content"]
        ]
    return [*messages, {"role": "assistant", "content": family.prefill}] if family.prefill else messages


def image_part(image: Image.Image) -> dict[str, Any]:
    """A prepared image as a part of a message. One channel is enough for a gray one: a third of the time of RGB."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()},
    }


def _text(message: dict[str, Any]) -> str:
    """The completion as the model wrote it: many servers move the content of its think block to a field of its own."""
    text = message["content"] or ""
    if not isinstance(text, str):
        raise TypeError("the completion is not text")
    texts = [one for name in REASONING if isinstance(one := message.get(name), str) and one]
    if not texts or "<think>" in text:
        return text
    reasoning = texts[0]
    return f"<think>{reasoning}</think>{text}" if text else f"<think>{reasoning}"


def completion(sample: Sample, content: Any, url: str, family: prompt.Family) -> Completion:
    """The completion in a server's response.

    Args:
        sample: the question.
        content: the parsed response.
        url: URL of the API, for the error message.
        family: the prompts.

    Raises:
        SetupError: the response is not a chat completion.
    """
    try:
        choice = content["choices"][0]
        text = _text(choice["message"])
        finish_reason = "length" if choice.get("finish_reason") == "length" else "stop"
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise SetupError(
            f"the endpoint's response is not a chat completion: {openai_client.shown(str(content))}",
            url,
            "set --endpoint to the OpenAI-compatible URL, .../v1",
        ) from error
    prompt_tokens, tokens = verdict.tokens(content)
    # Some servers return the continued message as a whole.
    text = family.opening + text.removeprefix(family.prefill).removeprefix(family.opening)
    return Completion(sample, text, tokens, finish_reason, prompt_tokens)
