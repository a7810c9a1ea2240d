"""Processes that divide the model end with the adapter of one process that holds all of it."""

import json
import signal
from pathlib import Path

import pytest
from commands import Commands
from conftest import Lowmed
from several_processes import assert_same, ended, in_one, in_processes, started, wait_for

from lowmed import architectures, processes
from lowmed.engine.shard_support import shard_error
from lowmed.plan import memory
from lowmed.plan.sequence_lengths import sequence_lengths
from lowmed.plan.workload import Batch, Workload
from lowmed.recipe.io import load_recipe

SCRIPT = Path(__file__).parent.parent / "divided_nano.py"
SHARD = "model.shard=fsdp"
SFT = (
    "sft", "--recipe", "rarl-sft", "--nano", "method.max_steps=2", "method.save_steps=1", "method.prompts_per_step=8",
    "method.per_device_train_batch_size=2", "method.gradient_checkpointing=true",
)  # fmt: skip
# Completions of unequal length, several calls of generate, and groups that cost no training pass.
GRPO = (
    "grpo", "--recipe", "rarl", "--nano", "method.max_steps=2", "method.prompts_per_step=3",
    "method.num_generations=2", "method.max_completion_length=40", "method.per_device_train_batch_size=1",
    "method.beta=0.04", "data.dev=0.05", "dev.eval_steps=2", "dev.questions=3", "eval.max_new_tokens=16",
)  # fmt: skip


def workload(shards: int) -> Workload:
    recipe = load_recipe("rarl", nano=True)
    model = architectures.read_architecture(recipe.model)
    return Workload(recipe, model, sequence_lengths(recipe), Batch(1, 1, True), 4, shards=shards)


@pytest.mark.slow
def test_each_process_holds_its_part_and_joins_the_passes_of_the_other(commands: Commands, tmp_path: Path) -> None:
    running = started(commands, tmp_path, code=SCRIPT.read_text())
    outputs = [process.communicate() for process in running]
    assert [process.wait() for process in running] == [0, 0], outputs
    first, second = (json.loads(out.splitlines()[-1]) for out, _errors in outputs)
    assert first["passes"] == second["passes"] == [4, 1]
    assert first["losses"] == pytest.approx([first["loss"]] * 4, rel=1e-6)
    assert second["losses"] == pytest.approx([first["loss"]], rel=1e-6)
    assert first["gradient"] < 1e-6
    assert first["held"] + second["held"] == first["before"]
    undivided, half = (sum(memory.weights(workload(shards)).values()) for shards in (1, 2))
    assert first["before"] - first["held"] == pytest.approx(undivided - half, rel=0.01)


@pytest.mark.slow
def test_sft_ends_with_the_adapter_of_one_process_after_a_kill(commands: Commands, tmp_path: Path) -> None:
    in_one(commands, tmp_path, *SFT, "--out", "one")
    running = started(commands, tmp_path, *SFT, SHARD, "--out", "two")
    wait_for(tmp_path / "two", "checkpoints/*/complete.json", running[0])
    running[1].send_signal(signal.SIGKILL)
    (code, errors), _killed = ended(running)
    assert (code, "another process of this run ended" in errors, "Traceback" in errors) == (3, True, False)
    refused = commands.start(tmp_path, "sft", "--resume", "two")
    assert "model.shard=fsdp divides the model among processes, and there is one" in refused.communicate()[1]
    in_processes(commands, tmp_path, "sft", "--resume", "two")
    assert_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_grpo_samples_and_trains_as_one_process(commands: Commands, tmp_path: Path) -> None:
    in_one(commands, tmp_path, *GRPO, "--out", "one")
    in_processes(commands, tmp_path, *GRPO, SHARD, "--out", "two")
    assert_same(tmp_path / "one", tmp_path / "two")
    completions = [(tmp_path / run / "dev_completions.jsonl").read_text().splitlines() for run in ("one", "two")]
    assert sorted(completions[0]) == sorted(completions[1])


@pytest.mark.parametrize(
    ("change", "count", "what"),
    [
        ("model.load_in=4bit", 1, "divides the model among processes, and there is one"),
        ("model.backend=unsloth", 2, "unsloth's layers cannot be divided"),
        ("model.rollout=cuda_graphs", 2, "a CUDA graph cannot gather the layers"),
        ("model.rollout_dtype=16bit", 2, "is larger than the model that was divided"),
    ],
)
def test_what_cannot_be_divided_is_refused(change: str, count: int, what: str) -> None:
    error = shard_error(load_recipe("rarl", [SHARD, change]), count)
    assert error is not None
    assert what in error.what
    assert shard_error(load_recipe("rarl", [change]), count) is None


def test_check_refuses_what_training_refuses(lowmed: Lowmed) -> None:
    alone = lowmed("check", "--recipe", "rarl", "--nano", SHARD)
    assert (alone.returncode, "use --processes N" in alone.stderr) == (2, True)
    three = lowmed("check", "--recipe", "rarl", "--nano", SHARD, "--processes", "3")
    assert "3 processes cannot share the 64 rows" in three.stderr
    assert lowmed("check", "--recipe", "rarl", "--nano", SHARD, "--processes", "2").returncode == 0
    zero = lowmed("check", "--recipe", "rarl", "--nano", "model.shard=zero3")
    assert "should be 'none' or 'fsdp'" in zero.stderr


def test_a_launcher_that_would_divide_rows_too_is_refused(commands: Commands, tmp_path: Path) -> None:
    variables = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "ACCELERATE_USE_FSDP": "true"}
    refused = commands.start(tmp_path, "sft", "--recipe", "rarl-sft", "--nano", SHARD, **variables)
    _out, errors = refused.communicate()
    assert refused.wait() == 2
    assert "FSDP of the launcher would divide rows and optimizer too" in errors
    assert "model.shard=fsdp divides a model" in errors


def test_errors_of_gloo_and_nccl_name_the_lost_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_taken", [processes.Place(0, 2, 0)])
    with pytest.raises(processes.LostProcessError), processes.lost_errors():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:545] Connection reset by peer")
    with pytest.raises(RuntimeError, match="shapes"), processes.lost_errors():
        raise RuntimeError("shapes differ")
