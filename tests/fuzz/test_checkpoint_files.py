"""A checkpoint that somebody changed: it is named as damaged, or the Trainer's own steps load and use it."""

import io
import json
import random
import resource
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzz.mutate import mutated_bytes, mutated_json, mutated_object, search
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lowmed.engine import checkpoint_damage
from lowmed.run import COMPLETE

MOST_GROWTH_KIB = 2 * 2**20  # of the memory of the process
STEP = 3


class Adapted(torch.nn.Module):
    """Two trained weights of an adapter, and a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        self.peft_config = {"default": None}
        self.lora_a, self.lora_b = torch.nn.Parameter(torch.ones(2, 6)), torch.nn.Parameter(torch.zeros(4, 2))
        self.base = torch.nn.Parameter(torch.ones(4, 6), requires_grad=False)

    def trained(self) -> list[torch.nn.Parameter]:
        return [self.lora_a, self.lora_b]


def optimizer_of(model: Adapted) -> tuple[torch.optim.Optimizer, Any]:
    optimizer = torch.optim.AdamW(model.trained(), lr=1e-3, weight_decay=0.0)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))


def train_step(model: Adapted, optimizer: torch.optim.Optimizer, scheduler: Any) -> None:
    (model.base @ model.lora_a.T @ model.lora_b.T).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as transformers writes it, without digests: somebody could have changed these too."""
    folder = tmp_path_factory.mktemp("run") / f"checkpoint-{STEP}"
    folder.mkdir()
    model = Adapted()
    optimizer, scheduler = optimizer_of(model)
    for _ in range(STEP):
        train_step(model, optimizer, scheduler)
    weights = {"lora_a": model.lora_a.detach(), "lora_b": model.lora_b.detach()}
    for name in ("adapter_model", "ema_adapter"):
        save_file(weights, folder / f"{name}.safetensors")
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    torch.save(scheduler.state_dict(), folder / "scheduler.pt")
    generators = {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.get_rng_state()}
    torch.save(generators, folder / "rng_state.pth")
    state = {"epoch": 0.5, "global_step": STEP, "max_steps": 8, "logging_steps": 1, "eval_steps": 500, "save_steps": 4,
             "num_train_epochs": 1, "total_flos": 0.0, "num_input_tokens_seen": 0, "log_history": []}  # fmt: skip
    (folder / "trainer_state.json").write_text(json.dumps(state))
    (folder / COMPLETE).write_text(json.dumps({"step": STEP}))
    assert checkpoint_damage.damage(folder, Adapted()) is None
    return folder


def use_weights(file: Path) -> None:
    Adapted().load_state_dict({**Adapted().state_dict(), **load_file(file)})


def load(file: Path) -> Any:
    return checkpoint_damage.load_torch(file)


def use_optimizer(file: Path) -> None:
    model = Adapted()
    optimizer, scheduler = optimizer_of(model)
    optimizer.load_state_dict(load(file))
    train_step(model, optimizer, scheduler)


def use_scheduler(file: Path) -> None:
    model = Adapted()
    optimizer, scheduler = optimizer_of(model)
    scheduler.load_state_dict(load(file))
    train_step(model, optimizer, scheduler)


def use_generators(file: Path) -> None:
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        state = load(file)
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])
        torch.set_rng_state(state["cpu"])
        assert random.random() < 1
        assert np.random.random() < 1
        assert torch.rand(1) < 1
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


USE: dict[str, Callable[[Path], None]] = {
    "adapter_model.safetensors": use_weights, "ema_adapter.safetensors": use_weights, "optimizer.pt": use_optimizer,
    "scheduler.pt": use_scheduler, "rng_state.pth": use_generators,
}  # fmt: skip


def changed(file: str, original: bytes, seed: int) -> bytes:
    """Half of the files have other bytes, and half are intact files with another content."""
    if seed % 2:
        return mutated_bytes(original, seed)
    if file.endswith(".safetensors"):
        (length,) = struct.unpack("<Q", original[:8])
        header = mutated_json(original[8 : 8 + length].decode(), seed)
        return struct.pack("<Q", len(header)) + header + original[8 + length :]
    written = io.BytesIO()
    torch.save(mutated_object(torch.load(io.BytesIO(original), weights_only=False), seed), written)
    return written.getvalue()


@pytest.fixture
def little_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_GROWTH_KIB


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("name", USE)
def test_a_changed_file_of_a_checkpoint_is_damaged_or_can_be_used(name: str, checkpoint: Path) -> None:
    file = checkpoint / name
    original = file.read_bytes()

    @search(60)
    @given(st.integers(0, 2**32))
    def read_it(seed: int) -> None:
        file.write_bytes(changed(name, original, seed))
        reason = checkpoint_damage.damage(checkpoint, Adapted())
        if reason is None:
            USE[name](file)
        else:
            assert len(reason) < 400

    try:
        read_it()
    finally:
        file.write_bytes(original)


def deflated(original: bytes) -> bytes:
    """The same content in a compressed archive, as one that grows to any size."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(original)) as read, zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in read.namelist():
            archive.writestr(member, read.read(member))
    return written.getvalue()


def with_content(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    def edited(original: bytes) -> bytes:
        content, written = torch.load(io.BytesIO(original), weights_only=False), io.BytesIO()
        change(content)
        torch.save(content, written)
        return written.getvalue()

    return edited


def renamed(original: bytes) -> bytes:
    return original.replace(b"lora_a", b"lora_x")


CASES: list[tuple[str, str, Callable[[bytes], bytes]]] = [
    # PEFT ignores weights whose names it does not know.
    ("adapter_model.safetensors", "its weights are not those", renamed),
    ("optimizer.pt", "compressed", deflated),
    ("optimizer.pt", "settings are missing", with_content(lambda state: state["param_groups"][0].update(amsgrad=True))),
    ("optimizer.pt", "settings are missing", with_content(lambda state: state["param_groups"][0].update(foreach=1.5))),
    ("optimizer.pt", "settings are missing", with_content(lambda state: state["param_groups"][0].update(betas=[2, 2]))),
    ("optimizer.pt", "settings are missing", with_content(lambda state: state["param_groups"][0].update(eps=2**70))),
    ("optimizer.pt", "another adapter", with_content(lambda state: state["param_groups"][0].update(params=[1, 0]))),
    ("optimizer.pt", "another adapter", with_content(lambda state: state["param_groups"][0].update(params=[{}, 1]))),
    ("optimizer.pt", "not those of AdamW", with_content(lambda state: state["state"][0].update(step=torch.ones(2)))),
    ("optimizer.pt", "not the state of an", with_content(lambda state: state.update(defaults=1))),
    ("optimizer.pt", "its shapes", with_content(lambda state: state["state"].update({0: state["state"][1]}))),
    ("scheduler.pt", "not the state of a", with_content(lambda state: state.update(get_lr=1))),
    ("scheduler.pt", "not the state of a", with_content(lambda state: state.update(lr_lambdas=[0]))),
    ("scheduler.pt", "another optimizer", with_content(lambda state: state["base_lrs"].append(0.1))),
    ("scheduler.pt", "a number is missing", with_content(lambda state: state.update(_step_count=float("nan")))),
]


@pytest.mark.parametrize(("name", "reason", "edit"), CASES, ids=range(len(CASES)))
def test_a_checkpoint_that_once_failed_later_is_damaged(
    name: str, reason: str, edit: Callable[[bytes], bytes], checkpoint: Path
) -> None:
    file = checkpoint / name
    original = file.read_bytes()
    file.write_bytes(edit(original))
    try:
        assert reason in str(checkpoint_damage.damage(checkpoint, Adapted()))
    finally:
        file.write_bytes(original)


@search(60)
@given(st.integers(0, 2**32))
def test_a_changed_list_of_digests_is_read_or_named(checkpoint: Path, seed: int) -> None:
    files = {name: checkpoint_damage.digest(checkpoint / name) for name in checkpoint_damage.file_names(checkpoint)}
    file = checkpoint / COMPLETE
    original = file.read_bytes()
    file.write_bytes(mutated_json(json.dumps({"step": STEP, "files": files}), seed))
    try:
        reason = checkpoint_damage.damage(checkpoint, Adapted())
        assert reason is None or len(reason) < 400
    finally:
        file.write_bytes(original)
