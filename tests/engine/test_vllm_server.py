"""Completions from a server with vLLM's routes: they come from the model in training, or training stops."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Lowmed
from preference_trainers import FAMILY, nano_with_adapter
from vllm_nano import NanoServer, nano_server

from lowmed import prompt
from lowmed.engine import generate, load
from lowmed.engine.prefix import sampling
from lowmed.engine.vllm_server import VllmSampler
from lowmed.errors import SetupError
from lowmed.nano import phantom

GRPO = (
    "grpo", "--recipe", "rarl", "--nano", "method.max_steps=3", "method.prompts_per_step=4",
    "method.num_generations=4", "method.max_completion_length=48", "model.rollout=vllm-server",
    "method.skip_zero_variance_groups=false",
)  # fmt: skip
Change = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def running() -> Iterator[NanoServer]:
    with nano_server() as server:
        yield server


@pytest.fixture
def server(running: NanoServer) -> NanoServer:
    running.change, running.stale_after, running.requests = None, None, []
    return running


def differences(run: Path) -> list[float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["logp_difference"] for row in rows]


@pytest.mark.slow
def test_a_server_samples_from_the_adapter_in_training(server: NanoServer, lowmed: Lowmed, tmp_path: Path) -> None:
    server.stale_after = 2
    trained = lowmed(*GRPO, f"model.rollout_url={server.url}", "--out", "r")
    assert trained.returncode == 0, trained.stderr
    *exact, stale = differences(tmp_path / "r")
    assert max(exact) < 1e-5
    assert stale > 10 * max(exact)  # an adapter that the server ignores shows in the metric
    routes = [route for route, _ in server.requests]
    assert routes.count("load_lora_adapter") == 3
    assert routes.count("unload_lora_adapter") == 2
    questions = [body for route, body in server.requests if route == "chat/completions"]
    assert [body["n"] for body in questions] == [1] * 4 + [4] * 12  # the comparison comes first
    assert len((tmp_path / "r" / "rollouts.jsonl").read_text().splitlines()) == 48


@pytest.mark.slow
def test_a_server_that_fails_in_the_middle_costs_no_step(server: NanoServer, lowmed: Lowmed, tmp_path: Path) -> None:
    def failing(answer: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        loads = sum(route == "load_lora_adapter" for route, _ in server.requests)
        return (200, answer) if loads < 3 else (404, {"error": "gone"})

    server.change = failing
    failed = lowmed(*GRPO, f"model.rollout_url={server.url}", "--out", "r")
    assert failed.returncode == 2
    assert "responds with 404" in failed.stderr
    assert (tmp_path / "r" / "checkpoints" / "checkpoint-2" / "complete.json").is_file()
    server.change = None
    resumed = lowmed("grpo", "--resume", "r")
    assert resumed.returncode == 0, resumed.stderr
    assert max(differences(tmp_path / "r")) < 1e-5
    seeds = [body["seed"] for route, body in server.requests if route == "chat/completions" and body["temperature"]]
    failed_step, repeated = set(seeds[8:-4]), set(seeds[-4:])  # not all requests of the former were sent
    assert failed_step
    assert failed_step <= repeated


@pytest.fixture(scope="module")
def nano() -> load.Loaded:
    return nano_with_adapter()


def sampled(nano: load.Loaded, url: str, folder: Path) -> tuple[list[list[int]], list[list[float]]]:
    """Three completions of each of two questions, by a server."""
    samples = phantom.samples("test", 2)
    inputs = generate.encode(nano, samples, FAMILY, phantom.open_image)
    ids = [row[mask.bool()].tolist() for row, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]
    messages: list[Any] = [prompt.build_messages(FAMILY, sample) for sample in samples]
    for sample, chat in zip(samples, messages, strict=True):
        images = iter(sample.images)
        for message in chat:
            for part in message["content"]:
                if part["type"] == "image":
                    part["image"] = phantom.open_image(next(images))
    how = sampling.Sampling(24, 1.0, nano.suppressed, nano.end_ids)
    sampler = VllmSampler(url, folder, how, FAMILY.prefill)
    sampler.prepare(messages, ids)

    def inputs_of(rows: list[int]) -> dict[str, Any]:
        assert rows == [0, 3]
        return dict(generate.encode(nano, samples, FAMILY, phantom.open_image))

    return sampler.completions(nano.model, [0, 0, 0, 1, 1, 1], inputs_of, 0)


def test_completions_are_those_of_the_seed_and_the_adapter(
    nano: load.Loaded, server: NanoServer, tmp_path: Path
) -> None:
    ids, log_probs = sampled(nano, server.url, tmp_path)
    assert [len(row) for row in ids] == [len(row) for row in log_probs]
    assert len(ids) == 6
    assert all(value <= 0 for row in log_probs for value in row)


def tokens_lost(answer: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    for choice in answer["choices"]:
        del choice["token_ids"]
    return 200, answer


def another_image_size(answer: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return 200, {**answer, "prompt_token_ids": answer["prompt_token_ids"][:-3]}


def other_tokens(answer: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    for choice in answer["choices"]:
        choice["token_ids"] = [token + 1 for token in choice["token_ids"]]
    return 200, answer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (tokens_lost, "the server returns no token ids"),
        (another_image_size, "tokens, and the model in training as"),
        (other_tokens, "the server generates other tokens than the model in training"),
        (lambda _answer: (404, {"error": "no such model"}), "responds with 404"),
        (lambda answer: (200, {**answer, "choices": []}), "the server returns 0 completions instead of 1"),
    ],
    ids=["no-tokens", "image-size", "other-tokens", "404", "too-few"],
)
def test_training_stops_at_a_server_that_is_wrong(
    nano: load.Loaded, server: NanoServer, tmp_path: Path, change: Change, message: str
) -> None:
    server.change = change
    with pytest.raises(SetupError, match=message):
        sampled(nano, server.url, tmp_path)


def test_training_stops_without_a_server(nano: load.Loaded, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="the server does not respond"):
        sampled(nano, "http://127.0.0.1:1/v1", tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.rollout_url=http://127.0.0.1:1/v1", "method.temperature=0.9"], "log-probabilities of temperature 1"),
        ([], "belong together"),
        (["model.rollout_url=127.0.0.1:1"], "the URL is invalid"),
        (["model.rollout_url=http://127.0.0.1:1/v1", "model.backend=unsloth"], "does not run unsloth's layers"),
    ],
)
def test_check_and_training_refuse_what_a_server_cannot_do(lowmed: Lowmed, settings: list[str], message: str) -> None:
    for command in (["check", *GRPO[1:]], [*GRPO, "--out", "r"]):
        refused = lowmed(*command, *settings)
        assert refused.returncode == 2
        assert message in refused.stderr
