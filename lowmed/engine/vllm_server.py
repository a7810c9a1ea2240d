"""Completions of a training step from a vLLM server, which loads the adapter in training before each step.

The server holds the base in 16 bit, on another GPU or machine. lowmed sends each question once, with its images, and
gets token ids and their log-probabilities. Loss and gradient are computed here, by the model in training.
"""

import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lowmed import processes
from lowmed.data.image.policy import one_channel
from lowmed.engine.adapter import write_adapter
from lowmed.engine.prefix import sampling
from lowmed.engine.prefix.decoder import Decoder
from lowmed.engine.prefix.parts import InputsOf
from lowmed.errors import SetupError
from lowmed.evaluation import endpoint
from lowmed.judge import openai_client
from lowmed.judge.job import Job, JobEndedError

OPTION = "model.rollout_url"
ADAPTER = "rollout_adapter"  # folder in the run directory, which the server reads
PAUSES_SECONDS = (0.5, 2.0, 8.0, 20.0)  # before each retry of a busy server
SECONDS = 1800.0  # of all requests of a step
GATE_PROMPTS, GATE_TOKENS, GATE_SHARE = 4, 16, 0.5  # greedy tokens that are compared before training

Row = tuple[list[int], list[float]]  # tokens of a completion, and their log-probabilities


class RolloutServerError(SetupError):
    """The server failed, or is wrong. The last whole step is kept."""


@dataclass(frozen=True)
class Question:
    """A prompt of a batch.

    Attributes:
        messages: chat messages, with images as PIL images.
        ids: its tokens as the model in training reads them, without padding.
    """

    messages: list[dict[str, Any]]
    ids: list[int]


class VllmSampler:
    """Samples completions on a server. It takes the place of `Sampler`.

    Args:
        url: URL of the server's API, .../v1
        folder: the run directory; the server must be able to read it.
        how: how completions are sampled.
        prefill: the start of the assistant's turn, which the prompt contains.
    """

    def __init__(self, url: str, folder: Path, how: sampling.Sampling, prefill: str) -> None:
        self.url, self.folder, self.how, self.prefill = url.rstrip("/"), folder.resolve(), how, prefill
        self.client = openai_client.client(url, OPTION, endpoint.KEY)
        self.questions: list[Question] = []
        self._process = secrets.token_hex(3)  # a process before this one may have left its adapter on the server
        self._loaded: str | None = None
        self._compared = False

    def prepare(self, prompts: Sequence[list[dict[str, Any]]], ids: Sequence[list[int]]) -> None:
        """Take the distinct prompts of the next batch, as messages and as tokens."""
        self.questions = [Question(messages, tokens) for messages, tokens in zip(prompts, ids, strict=True)]

    def completions(
        self, model: Any, prompt_of_row: Sequence[int], inputs_of: InputsOf, step: int
    ) -> tuple[list[list[int]], list[list[float]]]:
        """One completion for each row, and the log-probabilities of its tokens; arguments as of `Sampler`.

        Raises:
            RolloutServerError: the server does not respond, reads a prompt in another way, returns no tokens, or
                generates other tokens than the model in training.
        """
        # From the generator of the run, in every process, so that a resumed run requests the same.
        seeds = torch.randint(2**31 - 1, (len(self.questions),)).tolist()
        return processes.from_first(lambda: self._completions(model, prompt_of_row, inputs_of, step, seeds))

    def _completions(
        self, model: Any, prompt_of_row: Sequence[int], inputs_of: InputsOf, step: int, seeds: Sequence[int]
    ) -> tuple[list[list[int]], list[list[float]]]:
        name = f"{self.folder.name}-{self._process}-{step}"
        if name != self._loaded:
            self._load(model, name)
        if not self._compared:
            self._compare(model, [prompt_of_row.index(prompt) for prompt in range(len(self.questions))], inputs_of)
            self._compared = True
        counts = [prompt_of_row.count(prompt) for prompt in range(len(self.questions))]
        answers = [iter(rows) for rows in self._ask(self.how, counts, seeds)]
        rows = [next(answers[prompt]) for prompt in prompt_of_row]
        return [ids for ids, _ in rows], [values for _, values in rows]

    def _ask(self, how: sampling.Sampling, counts: Sequence[int], seeds: Sequence[int]) -> list[list[Row]]:
        """Completions of the first questions, as many as there are counts; one request for each question."""
        job = Job(SECONDS)

        def one(question: Question, count: int, seed: int) -> list[Row]:
            return self._sample(how, question, count, seed, job)

        with ThreadPoolExecutor(len(counts)) as pool:
            try:
                return list(pool.map(one, self.questions[: len(counts)], counts, seeds))
            except BaseException:
                job.end()
                raise

    def _compare(self, model: Any, first_rows: list[int], inputs_of: InputsOf) -> None:
        """Compare greedy tokens of the server with those of the model in training.

        Raises:
            RolloutServerError: less than half of the first tokens are the same.
        """
        rows = first_rows[:GATE_PROMPTS]
        greedy = replace(self.how, max_new_tokens=GATE_TOKENS, temperature=0.0, decoder=Decoder())
        training = model.training
        model.eval()
        own = sampling.generate(model, inputs_of(rows), range(len(rows)), greedy)
        model.train(training)
        served = [answer[0][0] for answer in self._ask(greedy, [1] * len(rows), [0] * len(rows))]
        shares = [_common(a, b) / max(len(a), len(b)) for a, b in zip(own, served, strict=True)]
        share = sum(shares) / len(shares)
        if share < GATE_SHARE:
            raise RolloutServerError(
                f"the server generates other tokens than the model in training: of the first {GATE_TOKENS} greedy "
                f"tokens of {len(rows)} prompts, {share:.0%} are the same",
                f"{self.url}, adapter {self.folder / ADAPTER}",
                "serve the base of the recipe with --enable-lora; docs/scale.md has the command",
            )

    def _load(self, model: Any, name: str) -> None:
        """Give the server the adapter under a new name: it may keep keys and values of prompts for each name."""
        write_adapter(model, self.folder / ADAPTER)
        if self._loaded:
            self._post("unload_lora_adapter", {"lora_name": self._loaded})
        self._loaded = None
        self._post("load_lora_adapter", {"lora_name": name, "lora_path": str(self.folder / ADAPTER)})
        self._loaded = name

    def _post(self, route: str, body: dict[str, Any]) -> None:
        import httpx

        try:
            response = self.client.post(f"{self.url}/{route}", json=body, timeout=SECONDS)
        except httpx.RequestError as error:
            raise self._error(f"the server does not respond: {openai_client.shown(str(error))}") from error
        if response.status_code != 200:
            what = openai_client.shown(response.text)
            raise self._error(f"the server refuses {route} with {response.status_code}: {what}")

    def _sample(self, how: sampling.Sampling, question: Question, count: int, seed: int, job: Job) -> list[Row]:
        body = {
            "model": self._loaded,
            "messages": self._messages(question),
            "n": count,
            "max_tokens": how.max_new_tokens,
            "temperature": how.temperature,
            "top_p": how.top_p,
            "top_k": how.top_k or -1,
            "min_p": how.min_p or 0.0,
            "seed": seed,
            "stop_token_ids": list(how.end_ids),
            "logit_bias": {str(token): -100 for token in how.suppressed},
            "logprobs": True,
            "return_token_ids": True,
            "skip_special_tokens": False,
            **(endpoint.CONTINUE if self.prefill else {}),
        }
        try:
            content = openai_client.complete(
                self.client, self.url, body, pauses=PAUSES_SECONDS, seconds=SECONDS, job=job
            )
        except (JobEndedError, openai_client.NoResponseError) as error:
            raise self._error(f"the server {error}") from error
        return self._read(content, question, count)

    def _messages(self, question: Question) -> list[dict[str, Any]]:
        messages = [{**message, "content": _content(message["content"])} for message in question.messages]
        return [*messages, {"role": "assistant", "content": self.prefill}] if self.prefill else messages

    def _read(self, content: Any, question: Question, count: int) -> list[Row]:
        try:
            read = content["prompt_token_ids"]
            choices = sorted(content["choices"], key=lambda choice: choice["index"])
            rows = [
                (
                    [int(token) for token in choice["token_ids"]],
                    [float(one["logprob"]) for one in choice["logprobs"]["content"]],
                )
                for choice in choices
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise self._error("the server returns no token ids: it is no vLLM server, or an old one") from error
        if read != question.ids:
            raise RolloutServerError(
                f"the server reads a prompt as {len(read)} tokens, and the model in training as {len(question.ids)}",
                self.url,
                "serve the base of the recipe, with its chat template and the pixel limits of the recipe",
            )
        if len(rows) != count or any(not ids or len(ids) != len(values) for ids, values in rows):
            raise self._error(
                f"the server returns {len(rows)} completions instead of {count}, or some are not complete"
            )
        return rows

    def _error(self, what: str) -> RolloutServerError:
        return RolloutServerError(
            what, self.url, "start the server as docs/scale.md says, then --resume the run from its last checkpoint"
        )


def _content(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [endpoint.image_part(one_channel(part["image"])) if part["type"] == "image" else part for part in content]


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of equal tokens at the start."""
    pairs = zip(first, second, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
