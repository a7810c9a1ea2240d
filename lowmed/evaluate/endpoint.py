"""A model that another program serves (vLLM, llama.cpp, Ollama), asked over the OpenAI-compatible chat interface.

The only part of lowmed that sends images anywhere, and only to the address that was given.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from lowmed import prompt
from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.errors import SetupError
from lowmed.evaluate.answerer import Answerer, Completion, OpenImage
from lowmed.judge import openai_client
from lowmed.sample import Sample

AT_ONCE = 8
PAUSES_SECONDS = (0.5, 2.0, 8.0)  # before a busy server is asked again
SECONDS_PER_REPLY = 600
KEY = "LOWMED_API_KEY"


def answerer(url: str, name: str, family: prompt.Family, policy: PixelPolicy, max_new_tokens: int) -> Answerer:
    """The served model as something that answers; a key for it is taken from LOWMED_API_KEY.

    Args:
        url: of the interface, e.g. http://127.0.0.1:8000/v1
        name: what the server calls the model.
        family: how it is asked.
        policy: the size at which images are sent.
        max_new_tokens: a completion longer than this is cut.

    Raises:
        SetupError: the address is none, or leads out of this machine while LOWMED_OFFLINE=1.
    """
    client = openai_client.client(url, "--endpoint", KEY)

    def answer(
        samples: Sequence[Sample], open_image: OpenImage, *, copies: int, temperature: float
    ) -> Iterator[Completion]:
        def one(number: int) -> Completion:
            sample = samples[number // copies]
            body = {
                "model": name,
                "messages": _messages(family, sample, open_image, policy),
                "max_tokens": max_new_tokens,
                "temperature": temperature,
            }
            return _reply(sample, _post(client, url, body), url)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for start in range(0, len(samples) * copies, AT_ONCE):  # so that a failure stops soon
                yield from pool.map(one, range(start, min(start + AT_ONCE, len(samples) * copies)))

    return answer


def _messages(
    family: prompt.Family, sample: Sample, open_image: OpenImage, policy: PixelPolicy
) -> list[prompt.Message]:
    """The same messages as a loaded model gets, with the prepared images in them as PNG."""
    images = iter(sample.images)
    messages = prompt.build_messages(family, sample)
    for message in messages:
        message["content"] = [
            {"type": "image_url", "image_url": {"url": _png(open_image, next(images), policy)}}
            if part["type"] == "image"
            else part
            for part in message["content"]
        ]
    return messages


def _png(open_image: OpenImage, reference: str, policy: PixelPolicy) -> str:
    buffer = io.BytesIO()
    prepare(open_image(reference), policy, reference).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _post(client: httpx.Client, url: str, body: dict[str, Any]) -> Any:
    """The answer of the server, which is asked again while it is busy.

    Raises:
        SetupError: it does not answer, or refuses.
    """
    try:
        return openai_client.complete(client, url, body, pauses=PAUSES_SECONDS, seconds=SECONDS_PER_REPLY)
    except openai_client.NoAnswerError as error:
        silent = "start the server, then run the same command"
        fix = silent if error.status is None else "check --endpoint and --model; the replies so far are kept"
        raise SetupError(f"the endpoint {error}", url, fix) from error


def _reply(sample: Sample, content: Any, url: str) -> Completion:
    try:
        choice = content["choices"][0]
        text = choice["message"]["content"] or ""
        tokens = int((content.get("usage") or {}).get("completion_tokens", 0))
        finish_reason = "length" if choice.get("finish_reason") == "length" else "stop"
    except (KeyError, IndexError, TypeError) as error:
        raise SetupError(
            f"the endpoint's answer is no chat completion: {str(content)[:200]}",
            url,
            "give the OpenAI-compatible address, .../v1",
        ) from error
    return Completion(sample, text, tokens, finish_reason)
