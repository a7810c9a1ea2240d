"""Whatever is wrong is told in three parts on stderr, exit 2, and nothing is left half-written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import Lowmed
from PIL import Image

needs_no_card = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA card")


def told(ended: subprocess.CompletedProcess[str], expected: str, folder: Path) -> str:
    assert ended.returncode == 2, ended.stderr
    lines = ended.stderr[ended.stderr.index("error: ") :].splitlines()
    assert expected in lines[0], ended.stderr
    assert lines[1].startswith("  where  ")
    assert lines[-1].startswith("  fix    ")
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    assert not (folder / "runs").exists()
    assert not (folder / "run").exists()
    return ended.stderr


def own_data(folder: Path, *changes: dict[str, object], image: bytes | None = None) -> Path:
    data = folder / "data"
    data.mkdir()
    Image.new("RGB", (64, 64), "grey").save(data / "a.png")
    if image is not None:
        (data / "a.png").write_bytes(image)
    row = {"images": ["a.png"], "question": "Is it grey?", "answer": "yes", "kind": "closed"}
    rows = [{"id": str(number), **row, **change} for number, change in enumerate(changes or ({},))]
    (data / "samples.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
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
        (["grpo", "--resume", "nowhere"], "the run does not exist"),
        (["grpo", "--recipe", "rarl", "--nano", "model.rollout=vllm"], "vllm cannot sample from a 4-bit base"),
        (["grpo", "--recipe", "zhu-msa", "--nano"], "needs a judge, and the recipe configures none"),
        (["plan", "--recipe", "rarl", "--gpu", "T5"], "the GPU `T5` is unknown"),
        (["rewards", "show", "accurcy"], "there is no reward `accurcy`"),
        (["bridge", "--recipe", "rarl", "--nano"], "the recipe has no `bridge` section"),
        (
            ["judge", "calibrate", "nowhere.jsonl", "--judge-url", "http://127.0.0.1:9/v1", "--judge-model", "m"],
            "the file does not exist",
        ),
        (["verify", "nowhere"], "the run does not exist"),
        (["merge", "nowhere", "--out", "out"], "the run does not exist"),
        (["export", "nowhere", "--to", "gguf", "--out", "out"], "the run does not exist"),
        (["ask", "runs/none", "What is it?"], "the run does not exist"),
        (["chat", "runs/none"], "the run does not exist"),
        (["ask", "nano", "nowhere.png", "What is it?"], "the image does not exist"),
        (["grpo", "--resume", "auto"], "no unfinished run"),
        (["check", "--recipe", "rarl", "--nano", "data.source=vqa_rad"], "there is no data source"),
        (["check", "--recipe", "rarl", "--nano", "data.source=vqa-rad", "data.path=nowhere"], "does not exist"),
        (["eval", "nano"], "no data to evaluate on"),
        (["eval", "nano", "--on", "phantom", "--with-base"], "its own base"),
        (["recipes", "show", "ralr"], "there is no recipe `ralr`"),
    ],
)
def test_mistakes_are_told_before_anything_heavy_or_written(
    arguments: list[str], expected: str, lowmed: Lowmed, tmp_path: Path
) -> None:
    told(lowmed(*arguments), expected, tmp_path)


def test_a_row_without_an_answer_is_named(lowmed: Lowmed, tmp_path: Path) -> None:
    own_data(tmp_path, {}, {"answer": ""})
    ended = lowmed("check", "--recipe", "rarl", "data.source=folder", "data.path=data")
    assert "samples.jsonl:2: no answer" in told(ended, "1 of 2 rows of folder cannot be used", tmp_path)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_an_image_that_does_not_open_is_named(content: bytes, lowmed: Lowmed, tmp_path: Path) -> None:
    own_data(tmp_path, image=content)
    ended = lowmed("check", "--recipe", "rarl", "data.source=folder", "data.path=data")
    assert "a.png" in told(ended, "no row can be used", tmp_path)


def test_broken_rows_can_be_kept_out_by_name(lowmed: Lowmed, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "white").save(tmp_path / "b.png")
    data = own_data(
        tmp_path, {}, {"answer": ""}, {"images": ["b.png"], "group": "b"}, {"images": ["c.png"], "group": "c"}
    )
    for name in "bc":
        shutil.copy(tmp_path / "b.png", data / f"{name}.png")
    keep = ("data.source=folder", "data.path=data", "data.held_out=0.5", "data.max_rejected=0.25")
    ended = lowmed("check", "--recipe", "rarl", *keep)
    assert "1 x no answer" in ended.stdout, ended.stderr


@needs_no_card
def test_without_a_card_the_embedded_model_is_named(lowmed: Lowmed, tmp_path: Path) -> None:
    message = told(lowmed("grpo", "--recipe", "rarl"), "needs a CUDA GPU, and none was found", tmp_path)
    assert "--nano" in message


@needs_no_card
def test_a_driver_that_torch_can_not_use_is_told(lowmed: Lowmed, tmp_path: Path) -> None:
    """An executable of the driver's name is all that the machine has of it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "nvidia-smi").symlink_to(sys.executable)
    ended = lowmed("grpo", "--recipe", "rarl", PATH=f"{programs}:{os.environ['PATH']}")
    told(ended, "cannot use the installed NVIDIA driver", tmp_path)


@pytest.mark.slow
def test_a_folder_that_exists_is_left_as_it_is(lowmed: Lowmed, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("keep")
    told(lowmed("sft", "--recipe", "rarl-sft", "--nano", "--out", "taken"), "the run directory exists", tmp_path)
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_a_disk_that_fills_up_while_saving_is_told(tmp_path: Path) -> None:
    """A real file system of 600 kB, in a mount namespace of its own."""
    small = tmp_path / "small"
    small.mkdir()
    mount = f"mount -t tmpfs -o size=600k tmpfs {small}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow a mount namespace")
    train = "sft --recipe rarl-sft --nano method.max_steps=2 method.prompts_per_step=2 method.save_steps=1"
    command = f"{mount} && {sys.executable} -m lowmed {train} --out {small}/run; code=$?; ls -a {small}/run; exit $code"
    ended = subprocess.run(["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr[-3000:]
    assert "error: the disk is full" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "adapter" not in ended.stdout.split()
