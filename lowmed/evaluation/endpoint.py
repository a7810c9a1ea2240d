"""A model that another program serves (vLLM, llama.cpp, Ollama) behind an OpenAI-compatible chat API.

This is the only part of lowmed that sends images, and only to the given URL.
"""

import base64
import io
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from lowmed import prompt
from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.errors import SetupError
from lowmed.evaluation.answerer import Answerer, Completion, OpenImage
from lowmed.judge import openai_client, verdict
from lowmed.judge.job import Job, JobEndedError
from lowmed.sample import Sample

CONCURRENT_REQUESTS = 8
REJECTED, REJECTIONS = "rejected", (400, 413, 422)  # statuses that concern one request, not all of them
MAX_REJECTED_IN_A_ROW = 8
PAUSES_SECONDS = (0.5, 2.0, 8.0)  # before each retry of a busy server
SECONDS_PER_COMPLETION = 600
SECONDS_PER_JOB = 900.0  # and those of its completions, which a slow server on a CPU takes
JOB_SECONDS_PER_COMPLETION = 120.0
KEY = "LOWMED_API_KEY"
# vLLM continues the last message with these. llama.cpp always continues one of the assistant.
CONTINUE = {"add_generation_prompt": False, "continue_final_message": True}


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


def answerer(
    url: str,
    name: str,
    family: prompt.Family,
    policy: PixelPolicy,
    max_new_tokens: int,
    *,
    skip_rejected: bool = False,
) -> Answerer:
    """An answerer for the served model; its key is read from LOWMED_API_KEY.

    Args:
        url: URL of the API, e.g. http://127.0.0.1:8000/v1
        name: name of the model on the server.
        family: the prompts.
        policy: size of the images that are sent.
        max_new_tokens: completion limit.
        skip_rejected: give an empty completion with the finish reason `rejected` where the server rejects a request,
            unless it rejects 8 questions in a row.

    Raises:
        SetupError: the URL is invalid, or names another machine while LOWMED_OFFLINE=1.
    """
    client = openai_client.client(url, "--endpoint", KEY)

    def answer(
        samples: Sequence[Sample], open_image: OpenImage, *, copies: int, temperature: float
    ) -> Iterator[Completion]:
        total = len(samples) * copies
        rejected = _RejectedQuestions()
        job = Job(SECONDS_PER_JOB + JOB_SECONDS_PER_COMPLETION * total / CONCURRENT_REQUESTS)

        def one(number: int) -> Completion:
            sample = samples[number // copies]
            body = {
                "model": name,
                "messages": _messages(family, sample, open_image, policy),
                "max_tokens": max_new_tokens,
                "temperature": temperature,
                **(CONTINUE if family.prefill else {}),
            }
            try:
                content = _post(client, url, body, job)
            except RejectedError:
                if not skip_rejected or rejected.add(sample.id) >= MAX_REJECTED_IN_A_ROW:
                    raise
                return Completion(sample, "", 0, REJECTED)
            rejected.clear()
            return completion(sample, content, url, family)

        with ThreadPoolExecutor(CONCURRENT_REQUESTS) as pool:
            try:
                for start in range(0, total, CONCURRENT_REQUESTS):  # in batches, so that a failure stops soon
                    yield from pool.map(one, range(start, min(start + CONCURRENT_REQUESTS, total)))
            except BaseException:
                job.end()  # the other requests, which may last for minutes
                raise

    return answer


def _messages(
    family: prompt.Family, sample: Sample, open_image: OpenImage, policy: PixelPolicy
) -> list[prompt.Message]:
    """The messages that a loaded model would get, with the prepared images as PNG, then the prefill, if any."""
    images = iter(sample.images)
    messages = prompt.build_messages(family, sample)
    for message in messages:
        message["content"] = [
            {"type": "image_url", "image_url": {"url": _png(open_image, next(images), policy)}}
            if part["type"] == "image"
            else part
            for part in message["content"]
        ]
    return [*messages, {"role": "assistant", "content": family.prefill}] if family.prefill else messages


def _png(open_image: OpenImage, reference: str, policy: PixelPolicy) -> str:
    buffer = io.BytesIO()
    prepare(open_image(reference), policy, reference).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _post(client: httpx.Client, url: str, body: dict[str, Any], job: Job) -> Any:
    """The server's response, retried while the server is busy.

    Raises:
        SetupError: it does not respond, rejects the request, or is too slow for the whole evaluation.
    """
    try:
        return openai_client.complete(client, url, body, pauses=PAUSES_SECONDS, seconds=SECONDS_PER_COMPLETION, job=job)
    except JobEndedError as error:
        fix = "use a faster server, then repeat the command; the stored completions are kept"
        raise SetupError(f"the endpoint is too slow: {error}", url, fix) from error
    except openai_client.NoResponseError as error:
        start = "start the server, then repeat the command"
        fix = start if error.status is None else "check --endpoint and --model; the stored completions are kept"
        kind = RejectedError if error.status in REJECTIONS else SetupError
        raise kind(f"the endpoint {error}", url, fix) from error


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
        text = choice["message"]["content"] or ""
        if not isinstance(text, str):
            raise TypeError("the completion is not text")
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
