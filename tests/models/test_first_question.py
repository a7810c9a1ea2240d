"""`check` and training read one question with the model's files, and refuse mixed folders with the same words."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import server
from conftest import Lowmed
from models import tiny
from models.test_families import text_rows

from lowmed.models import FAMILIES

Change = Callable[[Path], None]


def edited(name: str, change: Callable[[dict[str, Any]], None]) -> Change:
    """A change of a JSON file of a model folder."""

    def apply(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return apply


def another_image_token(config: dict[str, Any]) -> None:
    config["image_token_id"] = 597


def larger_patches(config: dict[str, Any]) -> None:
    config["vision_config"]["patch_size"] = 28


def small_vocabulary(config: dict[str, Any]) -> None:
    config["text_config"]["vocab_size"] = 590


def larger_processed_patches(settings: dict[str, Any]) -> None:
    settings["image_processor"]["patch_size"] = 28


def template_without_images(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
        "{{ part.text }}{% endfor %}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
    )


def template_that_thinks(folder: Path) -> None:
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().rstrip() + "{% if add_generation_prompt %}<think>\n{% endif %}")


def template_of_another_model(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(
        "{% for message in messages %}{{ message.content | upper_case }}{% endfor %}"
    )


def other_end_token(settings: dict[str, Any]) -> None:
    settings["eos_token"] = "<|im_start|>"  # noqa: S105  # a token, no password


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


WRONG: list[tuple[str, Change, str]] = [
    ("qwen2_5_vl", edited("config.json", another_image_token), "the model cannot read what its processor writes"),
    ("qwen3_vl", edited("config.json", another_image_token), "the model cannot read what its processor writes"),
    ("gemma3", edited("config.json", another_image_token), "the model cannot read what its processor writes"),
    ("internvl", edited("config.json", another_image_token), "the model cannot read what its processor writes"),
    ("qwen2_5_vl", edited("config.json", larger_patches), "the model cannot read what its processor writes"),
    ("qwen2_5_vl", edited("config.json", small_vocabulary), "cannot load the model folder"),
    ("smolvlm", edited("config.json", larger_patches), "the pixel policy"),
    ("qwen2_5_vl", edited("processor_config.json", larger_processed_patches), "the pixel policy"),
    ("qwen2_5_vl", template_without_images, "images of"),
    ("qwen2_5_vl", template_that_thinks, "opens <think>"),
    ("qwen2_5_vl", template_of_another_model, "chat template cannot be rendered"),
    ("qwen2_5_vl", no_tokenizer, "cannot load the model folder"),
    ("llama", edited("tokenizer_config.json", other_end_token), "ends a turn with <|im_start|>"),
]


@pytest.mark.parametrize(("family", "change", "words"), WRONG)
def test_check_and_training_refuse_a_mixed_folder_alike(
    family: str, change: Change, words: str, tmp_path: Path, lowmed: Lowmed
) -> None:
    folder = tiny.save(family, tmp_path / "model")
    change(folder)
    data = ["data.source=phantom", "data.max_train_questions=8"]
    if FAMILIES[family].text_only:
        data = ["data.source=folder", f"data.path={text_rows(tmp_path / 'rows')}", "data.split_by=image"]
    options = ("--recipe", "vqa-rad-sft", f"model.name={folder}", *data)
    checked = lowmed("check", *options)
    trained = lowmed("sft", *options, "method.max_steps=1", "--out", "run")
    assert checked.returncode == trained.returncode == 2, checked.stderr + trained.stderr
    assert words in checked.stderr
    error = checked.stderr[checked.stderr.index("error: ") :]
    assert trained.stderr.endswith(error)
    assert len(error.splitlines()) == 3
    assert not (tmp_path / "run").exists()


def cached(folder: Path, name: str, cache: Path) -> None:
    """Put a model folder, without its weights, where the client of the hub keeps a model."""
    model = cache / f"models--{name.replace('/', '--')}"
    (model / "refs").mkdir(parents=True)
    (model / "refs/main").write_text("0" * 40)
    shutil.copytree(folder, model / "snapshots" / ("0" * 40), ignore=shutil.ignore_patterns("*.safetensors"))


@pytest.mark.slow
def test_the_files_of_a_hub_id_in_the_cache_are_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.save("qwen2_5_vl", tmp_path / "model")
    (folder / "generation_config.json").unlink()  # a model may have none
    cached(folder, "some/good", tmp_path / "hub")
    template_without_images(folder)
    cached(folder, "some/mixed", tmp_path / "hub")
    options = ("check", "--recipe", "vqa-rad-sft", "data.source=phantom", "data.max_train_questions=8")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with server() as commands:  # its libraries read these variables when they are imported
        good, mixed, absent = (
            commands.run(tmp_path, *options, f"model.name=some/{name}") for name in ("good", "mixed", "other")
        )
    assert good.returncode == 0, good.stderr
    assert "its other files were read, with one question" in good.stdout
    assert mixed.returncode == 2
    assert "images of" in mixed.stderr
    assert absent.returncode == 0, absent.stderr
    assert "it is not on this machine" in absent.stdout


def test_check_claims_nothing_about_files_of_the_embedded_model(lowmed: Lowmed) -> None:
    result = lowmed("check", "--recipe", "rarl-sft", "--nano")
    assert result.returncode == 0, result.stderr
    assert "model.name" not in result.stdout.partition("not checked: ")[2]
