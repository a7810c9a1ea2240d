"""A damaged checkpoint is named and skipped, never used and never a traceback."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Lowmed

import lowmed as package
from lowmed.engine import checkpoint_damage, checkpoints, train
from lowmed.errors import RunError, SetupError
from lowmed.recipe.io import load_recipe
from lowmed.run import COMPLETE, Run

SHORT = ["method.max_steps=4", "method.save_steps=2", "method.prompts_per_step=2", "data.max_train_questions=8"]
Change = Callable[[Path], object]


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = load_recipe("rarl-sft", SHORT, nano=True)
    return package.train(recipe, tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture(scope="module")
def model() -> Any:
    return train.load_for_training(load_recipe("rarl-sft", SHORT, nano=True)).model


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    """The run as if its process had been killed before it wrote the adapter."""
    copy = Run(tmp_path / "run")
    shutil.copytree(trained.folder, copy.folder)
    shutil.rmtree(copy.adapter)
    copy.update(status="running")
    return copy


def forget_digests(folder: Path) -> None:
    (folder / COMPLETE).write_text('{"step": 4}')


def truncate(name: str) -> Change:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def empty(name: str) -> Change:
    return lambda folder: (folder / name).write_bytes(b"")


def remove(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Change:
    return lambda folder: (folder / name).write_text(text)


def state(name: str, **values: Any) -> Change:
    def change(folder: Path) -> None:
        import torch

        content = torch.load(folder / name, weights_only=False)
        torch.save({**content, **values}, folder / name)

    return change


def other_shapes(folder: Path) -> None:
    import torch

    content = torch.load(folder / "optimizer.pt", weights_only=False)
    first = content["state"][0]
    first["exp_avg"] = first["exp_avg"][:1]
    torch.save(content, folder / "optimizer.pt")


def other_adapter(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = str(folder / "adapter_model.safetensors")
    save_file({name: weight[:1].contiguous() for name, weight in load_file(file).items()}, file)


CHANGES: dict[str, Change] = {
    **{f"no {name}": remove(name) for name in checkpoint_damage.NEEDED},
    **{f"half of {name}": truncate(name) for name in checkpoint_damage.NEEDED},
    **{f"empty {name}": empty(name) for name in checkpoint_damage.NEEDED},
    "optimizer of other shapes": other_shapes,
    "optimizer without groups": state("optimizer.pt", param_groups=[]),
    "optimizer without settings": state("optimizer.pt", param_groups=[{"params": [*range(1000)]}]),
    "optimizer that is a list": lambda folder: __import__("torch").save([], folder / "optimizer.pt"),
    "scheduler of another step": state("scheduler.pt", last_epoch=1),
    "scheduler with text": state("scheduler.pt", base_lrs=["fast"]),
    "generator of the wrong type": state("rng_state.pth", python=(3, (1, 2), None)),
    "generator of another size": state("rng_state.pth", cpu=__import__("torch").zeros(3)),
    "adapter of other shapes": other_adapter,
    "state that is a list": write("trainer_state.json", "[]"),
    "state of another step": write("trainer_state.json", '{"global_step": 2}'),
    "state with unknown keys": write("trainer_state.json", '{"global_step": 4, "evil": 1}'),
    "state nested deeply": write("trainer_state.json", "[" * 100_000),
    "weights of a whole model": write("model.safetensors", "x"),
    "another adapter in a folder": lambda folder: (folder / "second").mkdir(),
    "complete.json that is a list": write(COMPLETE, "[]"),
    "complete.json that is no JSON": write(COMPLETE, "{"),
    "complete.json with other files": write(COMPLETE, '{"files": []}'),
}


@pytest.mark.parametrize("digests", [True, False], ids=["digests", "no digests"])
@pytest.mark.parametrize("case", CHANGES)
def test_every_damage_is_found_with_and_without_digests(case: str, digests: bool, run: Run, model: Any) -> None:
    folder = run.checkpoints / "checkpoint-4"
    if not digests:
        forget_digests(folder)
    assert checkpoint_damage.damage(folder, model) is None
    CHANGES[case](folder)
    reason = checkpoint_damage.damage(folder, model)
    assert reason
    assert "\n" not in reason


def test_a_flipped_bit_in_any_file_is_found(run: Run, model: Any) -> None:
    folder = run.checkpoints / "checkpoint-4"
    for file in sorted(folder.iterdir()):
        if file.name == COMPLETE:
            continue
        content = file.read_bytes()
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        assert checkpoint_damage.damage(folder, model) == f"{file.name} has changed"
        file.write_bytes(content)
    (folder / "more.txt").write_text("x")
    assert checkpoint_damage.damage(folder, model) == "more.txt does not belong to it"


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt"])
def test_a_pickle_of_a_received_run_runs_no_code(name: str, run: Run, tmp_path: Path) -> None:
    import torch

    for folder in run.complete_checkpoints():
        torch.save(Evil(tmp_path / "marker"), folder / name)
        (folder / COMPLETE).write_text(json.dumps({"step": checkpoint_damage.step_of(folder)}))
    with pytest.raises(RunError) as raised:
        package.resume_training(run)
    assert not (tmp_path / "marker").exists()
    assert str(run.checkpoints / "checkpoint-4") in raised.value.where
    if name == "scaler.pt":  # only fp16 has one, and a CPU computes in fp32
        assert raised.value.what == "the run was trained in fp16 on CPU, and this machine computes in fp32"
        assert f"lora.start={run.checkpoints / 'checkpoint-4'}" in raised.value.fix
    else:
        assert f"{name}: UnpicklingError" in raised.value.where
    assert run.status()[0] == "failed"


def test_the_arguments_in_a_checkpoint_are_not_read(run: Run, tmp_path: Path) -> None:
    import torch

    for folder in run.complete_checkpoints():
        torch.save(Evil(tmp_path / "marker"), folder / "training_args.bin")
        (folder / COMPLETE).write_text(json.dumps({"step": checkpoint_damage.step_of(folder)}))
    assert package.resume_training(run).record.status == "finished"
    assert not (tmp_path / "marker").exists()


def test_a_run_resumed_with_another_gpu_precision_or_version_states_it(run: Run) -> None:
    versions = dict(run.record.versions or {})
    run.update(card="Tesla T4", precision="bf16", versions={**versions, "torch": "2.0", "gone": "1.0"})
    lines: list[str] = []
    package.resume_training(run, log=lines.append)
    assert (
        f"resume  with CPU (fp32), torch {versions['torch']}, gone missing instead of "
        "Tesla T4 (bf16), torch 2.0, gone 1.0 from step 4 on"
    ) in lines
    [earlier] = run.record.earlier_machines
    assert (earlier.until_step, earlier.card, earlier.precision) == (4, "Tesla T4", "bf16")
    assert earlier.versions == {"torch": "2.0", "gone": "1.0"}
    assert (run.record.card, run.record.precision, run.record.versions) == ("CPU", "fp32", versions)


def test_a_run_that_starts_again_from_its_first_step_was_trained_by_one_machine(run: Run) -> None:
    shutil.rmtree(run.checkpoints)
    run.update(card="Tesla T4", precision="bf16")
    assert package.resume_training(run).record.earlier_machines == ()
    assert run.record.card == "CPU"


def test_a_damaged_checkpoint_is_skipped_with_a_line_and_the_result_is_the_same(
    run: Run, trained: Run, lowmed: Lowmed
) -> None:
    truncate("optimizer.pt")(run.checkpoints / "checkpoint-4")
    (run.checkpoints / "checkpoint-x").mkdir()
    (run.checkpoints / "checkpoint-x" / COMPLETE).write_text("{}")
    (run.checkpoints / "checkpoint-9").write_text("a file")
    result = lowmed("sft", "--resume", "run")
    assert result.returncode == 0, result.stderr
    assert "resume  checkpoint-4 is damaged (optimizer.pt has changed)" in result.stderr
    assert "resume  training goes back to checkpoint-2" in result.stderr
    weights = "adapter_model.safetensors"
    assert (run.adapter / weights).read_bytes() == (trained.adapter / weights).read_bytes()
    assert (run.checkpoints / "damaged-checkpoint-4" / "optimizer.pt").is_file()
    assert run.complete_checkpoints()[0].name == "checkpoint-4"


def test_a_run_without_an_intact_checkpoint_can_be_resumed_once_it_is_restored(run: Run, trained: Run) -> None:
    for folder in run.complete_checkpoints():
        (folder / "rng_state.pth").unlink()
    before = {path: path.stat().st_mtime_ns for path in run.checkpoints.rglob("*")}
    with pytest.raises(RunError, match="no checkpoint of the run is intact") as raised:
        package.resume_training(run)
    assert str(run.checkpoints / "checkpoint-2") in raised.value.where
    assert {path: path.stat().st_mtime_ns for path in run.checkpoints.rglob("*")} == before
    assert run.status()[0] == "failed"
    shutil.rmtree(run.checkpoints)
    shutil.copytree(trained.checkpoints, run.checkpoints)
    assert package.resume_training(run).record.status == "finished"


def test_other_failures_to_load_a_checkpoint_name_it(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match=r"cannot be loaded \(KeyError: 'x'\)") as raised,
        checkpoints.load_errors(tmp_path),
    ):
        raise KeyError("x")
    assert raised.value.where == str(tmp_path)
    with pytest.raises(SetupError), checkpoints.load_errors(tmp_path):
        raise SetupError("kept", "", "")
