"""User errors: three parts on stderr, exit code 2, and no partial output."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import Lowmed
from PIL import Image

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")


def expect_error(result: subprocess.CompletedProcess[str], expected: str, folder: Path) -> str:
    assert result.returncode == 2, result.stderr
    lines = result.stderr[result.stderr.index("error: ") :].splitlines()
    assert expected in lines[0], result.stderr
    assert lines[1].startswith("  where  ")
    assert lines[-1].startswith("  fix    ")
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (folder / "runs").exists()
    assert not (folder / "run").exists()
    return result.stderr


def write_data(folder: Path, *changes: dict[str, object], image: bytes | None = None) -> Path:
    data = folder / "data"
    data.mkdir()
    Image.new("RGB", (64, 64), "grey").save(data / "a.png")
    if image is not None:
        (data / "a.png").write_bytes(image)
    row = {"images": ["a.png"], "question": "Is it grey?", "answer": "yes", "kind": "closed"}
    rows = [{"id": str(number), **row, **change} for number, change in enumerate(changes or ({},))]
    (data / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return data


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["grpo"], "no recipe given"),
        (["grpo", "--recipe", "ralr", "--nano"], "there is no recipe `ralr`"),
        (["grpo", "--recipe", "missing.yaml"], "there is no recipe file missing.yaml"),
        (["grpo", "--recipe", "rarl", "--nano", "lora.rnak=4"], "rarl.yaml has a mistake"),
        (["grpo", "--recipe", "rarl", "--nano", "lora.rank=many"], "rarl.yaml has a mistake"),
        (["grpo", "--recipe", "rarl", "--nano", "lora.rank"], "`lora.rank` is not an override"),
        (["grpo", "--recipe", "rarl-sft", "--nano"], "the recipe's method is sft"),
        (["sft", "--recipe", "rarl", "--nano"], "the recipe's method is grpo"),
        (["grpo", "--recipe", "rarl", "--nano", "method.rewards=[{name: accurcy}]"], "rarl.yaml has a mistake"),
        (
            ["grpo", "--recipe", "rarl", "--nano", "method.rewards=[{name: format, wieght: 2}]"],
            "rarl.yaml has a mistake",
        ),
        (["grpo", "--recipe", "rarl", "--nano", "prompts.train=poetic"], "rarl.yaml has a mistake"),
        (["grpo", "--resume", "missing"], "the run does not exist"),
        (["grpo", "--recipe", "rarl", "--nano", "--allow-changed-data"], "only a resumed run can have changed data"),
        (["grpo", "--recipe", "rarl", "--nano", "model.rollout=vllm"], "vllm cannot sample from a 4-bit base"),
        (["grpo", "--recipe", "zhu-msa", "--nano"], "needs a judge, and the recipe configures none"),
        (["plan", "--recipe", "rarl", "--gpu", "T5"], "the GPU `T5` is unknown"),
        (["rewards", "show", "accurcy"], "there is no reward `accurcy`"),
        (["bridge", "--recipe", "rarl", "--nano"], "the recipe has no `bridge` section"),
        (
            ["judge", "calibrate", "missing.jsonl", "--judge-url", "http://127.0.0.1:9/v1", "--judge-model", "m"],
            "the file does not exist",
        ),
        (["verify", "missing"], "the run does not exist"),
        (["merge", "missing", "--out", "out"], "the run does not exist"),
        (["export", "missing", "--to", "gguf", "--out", "out"], "the run does not exist"),
        (["ask", "runs/none", "What is it?"], "the run does not exist"),
        (["chat", "runs/none"], "the run does not exist"),
        (["serve", "runs/none"], "the folder does not exist"),
        (["ask", "nano", "missing.png", "What is it?"], "the image does not exist"),
        (["grpo", "--resume", "auto"], "no unfinished run"),
        (["check", "--recipe", "rarl", "--nano", "data.source=vqa_rad"], "there is no data source"),
        (["check", "--recipe", "rarl", "--nano", "data.source=vqa-rad", "data.path=missing"], "does not exist"),
        (["eval", "nano"], "no data to evaluate on"),
        (["eval", "nano", "--on", "phantom", "--with-base"], "its own base"),
        (["recipes", "show", "ralr"], "there is no recipe `ralr`"),
    ],
)
def test_a_mistake_is_reported_and_nothing_is_written(
    arguments: list[str], expected: str, lowmed: Lowmed, tmp_path: Path
) -> None:
    expect_error(lowmed(*arguments), expected, tmp_path)


def test_a_row_without_an_answer_is_named(lowmed: Lowmed, tmp_path: Path) -> None:
    write_data(tmp_path, {}, {"answer": ""})
    result = lowmed("check", "--recipe", "rarl", "data.source=folder", "data.path=data")
    assert "samples.jsonl:2: no answer" in expect_error(result, "1 of 2 rows of folder cannot be used", tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"no image", "a text, not an image"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer: run git lfs pull"),
        (b"\x89PNG\r\n\x1a\n", "the image is damaged at its beginning"),
    ],
)
def test_an_image_that_cannot_be_opened_is_named(content: bytes, reason: str, lowmed: Lowmed, tmp_path: Path) -> None:
    write_data(tmp_path, image=content)
    result = lowmed("check", "--recipe", "rarl", "data.source=folder", "data.path=data")
    assert "samples.jsonl:1" in expect_error(result, f"no row can be used; 1 x {reason}", tmp_path)


def test_a_share_of_broken_rows_can_be_allowed(lowmed: Lowmed, tmp_path: Path) -> None:
    data = write_data(
        tmp_path, {}, {"answer": ""}, {"images": ["b.png"], "group": "b"}, {"images": ["c.png"], "group": "c"}
    )
    for name, colour in (("b", "white"), ("c", "black")):
        Image.new("RGB", (64, 64), colour).save(data / f"{name}.png")
    keep = ("data.source=folder", "data.path=data", "data.held_out=0.5", "data.max_rejected=0.25")
    result = lowmed("check", "--recipe", "rl-plain", *keep)
    assert "1 x no answer" in result.stdout, result.stderr


@without_gpu
def test_without_a_gpu_the_error_suggests_the_embedded_model(lowmed: Lowmed, tmp_path: Path) -> None:
    message = expect_error(lowmed("grpo", "--recipe", "rarl"), "needs a CUDA GPU, and none was found", tmp_path)
    assert "no folder here has this name" in message
    assert "--nano" in message


@without_gpu
def test_a_driver_that_torch_cannot_use_is_reported(lowmed: Lowmed, tmp_path: Path) -> None:
    """The machine has an executable named `nvidia-smi` and no driver."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "nvidia-smi").symlink_to(sys.executable)
    result = lowmed("grpo", "--recipe", "rarl", PATH=f"{programs}:{os.environ['PATH']}")
    expect_error(result, "cannot use the installed NVIDIA driver", tmp_path)


@pytest.mark.slow
def test_an_existing_output_directory_is_unchanged(lowmed: Lowmed, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("keep")
    expect_error(
        lowmed("sft", "--recipe", "rarl-sft", "--nano", "--out", "taken"), "the run directory exists", tmp_path
    )
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_a_disk_that_fills_up_during_saving_is_reported(tmp_path: Path) -> None:
    """Uses a real file system of 600 kB in a separate mount namespace."""
    small = tmp_path / "small"
    small.mkdir()
    mount = f"mount -t tmpfs -o size=600k tmpfs {small}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow a mount namespace")
    train = "sft --recipe rarl-sft --nano method.max_steps=2 method.prompts_per_step=2 method.save_steps=1"
    command = f"{mount} && {sys.executable} -m lowmed {train} --out {small}/run; code=$?; ls -a {small}/run; exit $code"
    result = subprocess.run(["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr[-3000:]
    assert "error: the disk is full" in result.stderr
    assert "Traceback" not in result.stderr
    assert "adapter" not in result.stdout.split()
