"""A run whose memory runs out goes on, once, with half the rows in a forward pass or half the completions at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import lowmed
from lowmed.errors import SetupError
from lowmed.recipe import Recipe
from lowmed.run import Run

pytestmark = pytest.mark.slow
METHODS = {
    "sft": ("rarl-sft", ["method.prompts_per_step=4"]),
    "grpo": (
        "rl-plain",
        ["method.prompts_per_step=2", "method.num_generations=4", "method.max_completion_length=32",
         "method.temperature=1.3", "method.mask_truncated_completions=false"],
    ),
}  # fmt: skip


def recipe(kind: str, *settings: str) -> Recipe:
    name, short = METHODS[kind]
    return lowmed.load_recipe(name, [*short, "method.max_steps=3", "method.save_steps=20", *settings], nano=True)


@contextmanager
def memory_ends(when: Callable[[int], bool], *, backward: bool = False) -> Iterator[None]:
    """Raise torch's own error inside trained layers of a forward or backward pass, by the number of their calls."""
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if when(calls):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")

    def forward_hook(module: Any, _inputs: Any, output: Any) -> None:
        is_trained = type(module).__module__.startswith("peft.tuners.lora") and isinstance(output, torch.Tensor)
        if is_trained and output.requires_grad:
            output.register_hook(lambda _gradient: check()) if backward else check()

    handle = torch.nn.modules.module.register_module_forward_hook(forward_hook)
    try:
        yield
    finally:
        handle.remove()


def assert_close(run: Run, other: Run) -> None:
    """Equal up to rounding, which Adam's first steps amplify where a gradient is almost 0."""
    first, second = (load_file(one.adapter / "adapter_model.safetensors") for one in (run, other))
    trained = [name for name in second if "lora_B" in name]
    difference, norm = (
        torch.cat([values.flatten() for values in part]).norm()
        for part in ([first[name] - second[name] for name in trained], [second[name] for name in trained])
    )
    assert difference < 1e-3 * norm
    for row, expected in zip(run.rows("metrics.jsonl"), other.rows("metrics.jsonl"), strict=True):
        for name in ("step", "loss", "grad_norm"):
            assert row[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("kind", METHODS)
def test_half_the_rows_give_the_same_adapter(kind: str, tmp_path: Path) -> None:
    rows = recipe(kind).method.rows_per_step
    half = lowmed.train(recipe(kind, f"method.per_device_train_batch_size={rows // 2}"), tmp_path / "half")
    log: list[str] = []
    calls = 0

    def in_second_step(call: int) -> bool:
        nonlocal calls
        calls = call
        return (tmp_path / "run/metrics.jsonl").exists() and not any("memory" in line for line in log) and call > 40

    with memory_ends(in_second_step, backward=True):
        run = lowmed.train(recipe(kind), tmp_path / "run", log=log.append)
    assert calls > 40
    assert [line for line in log if line.startswith("memory")] == [
        f"memory  ran out in step 2; going on with {rows // 2} instead of {rows} rows in a forward pass"
    ]
    record = run.record
    assert (record.status, record.steps, record.batch_halved_after) == ("finished", 3, 1)
    assert record.batch is not None
    assert record.batch["per_device_train_batch_size"] == rows // 2
    assert [row["step"] for row in run.rows("metrics.jsonl")] == [1, 2, 3]
    assert_close(run, half)


def test_a_second_time_fails_with_the_checkpoint_and_resumes(tmp_path: Path) -> None:
    log: list[str] = []
    with memory_ends(lambda _: (tmp_path / "run/metrics.jsonl").exists()), pytest.raises(SetupError) as raised:
        lowmed.train(recipe("sft"), tmp_path / "run", log=log.append)
    assert raised.value.what == "the GPU ran out of memory in step 2, with 2 rows in a forward pass"
    assert "with a lower method.per_device_train_batch_size" in raised.value.fix
    run = Run(tmp_path / "run")
    assert (run.record.status, run.record.error) == ("failed", raised.value.what)
    assert run.last_checkpoint() == run.checkpoints / "checkpoint-1"
    lowmed.resume_training(run)
    assert run.record.status == "finished"
    undisturbed = lowmed.train(recipe("sft", "method.per_device_train_batch_size=2"), tmp_path / "undisturbed")
    assert_close(run, undisturbed)


def test_one_row_cannot_be_halved(tmp_path: Path) -> None:
    with memory_ends(lambda _: True), pytest.raises(SetupError) as raised:
        lowmed.train(recipe("sft", "method.per_device_train_batch_size=1"), tmp_path / "run")
    assert raised.value.what == "the GPU ran out of memory in step 1, with 1 row in a forward pass"
    assert raised.value.fix.endswith("with a lower model.max_image_tokens, or method.gradient_checkpointing=true")
    assert Run(tmp_path / "run").record.batch_halved_after is None


@contextmanager
def memory_for(rows: int, when: Callable[[], bool]) -> Iterator[None]:
    """Raise torch's own error inside a layer that decodes a token of more rows at once."""

    def hook(module: Any, _inputs: Any, output: Any) -> None:
        decodes = type(module).__name__.startswith("SiLU") and output.dim() == 2  # the prefill has another dimension
        if decodes and len(output) > rows and when():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")

    handle = torch.nn.modules.module.register_module_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return lowmed.train(recipe("grpo"), tmp_path_factory.mktemp("undisturbed") / "run")


def assert_equal(run: Run, other: Run) -> None:
    assert run.record.status == "finished"
    for name in ("rollouts.jsonl", "adapter/adapter_model.safetensors"):
        assert (run.folder / name).read_bytes() == (other.folder / name).read_bytes()


def test_sampling_goes_on_with_half_the_completions_and_the_same_tokens(undisturbed: Run, tmp_path: Path) -> None:
    log: list[str] = []
    with memory_for(4, lambda: (tmp_path / "run/metrics.jsonl").exists()):
        run = lowmed.train(recipe("grpo"), tmp_path / "run", log=log.append)
    assert [line for line in log if line.startswith("memory")] == [
        "memory  ran out in step 2 while sampling; going on with 4 instead of 8 completions at once"
    ]
    record = run.record
    assert (record.sampling_halved_after, record.rows_per_draw, record.batch_halved_after) == (1, 8, None)
    assert record.batch is not None
    assert record.batch["rows_per_generate"] == 4
    assert_equal(run, undisturbed)


def test_sampling_that_fails_again_leaves_a_checkpoint_and_resumes_equal(undisturbed: Run, tmp_path: Path) -> None:
    with (
        memory_for(2, lambda: (tmp_path / "run/metrics.jsonl").exists()),
        pytest.raises(SetupError) as raised,
    ):
        lowmed.train(recipe("grpo"), tmp_path / "run")
    assert raised.value.what == "the GPU ran out of memory while it sampled 4 completions at once"
    assert raised.value.where == "step 2"
    run = Run(tmp_path / "run")
    assert (run.record.status, run.record.error) == ("failed", raised.value.what)
    assert run.last_checkpoint() == run.checkpoints / "checkpoint-1"
    with memory_for(4, lambda: True):  # the smaller number is kept
        lowmed.resume_training(run)
    assert_equal(run, undisturbed)


def test_one_completion_cannot_be_halved(tmp_path: Path) -> None:
    from lowmed.engine.out_of_memory import SamplingError, sample_less
    from lowmed.run import create_run

    run = create_run(recipe("grpo"), "run", out=str(tmp_path / "run"))
    run.update(batch={"per_device_train_batch_size": 1, "rows_per_generate": 5, "gradient_checkpointing": False})
    with pytest.raises(SamplingError, match="sampled 1 completion at once"):
        sample_less(run, lambda _line: None, 0, 1)
    assert sample_less(run, lambda _line: None, 0, 5) == 3
