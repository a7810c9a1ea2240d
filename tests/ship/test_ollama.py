"""The Modelfile names the right files and uses the prompt format and decoding of training."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from ship import gguf_text_made as made

from lowmed import nano
from lowmed.errors import RunError
from lowmed.recipe.io import load_recipe
from lowmed.run import create_run
from lowmed.ship.export import ExportRequest
from lowmed.ship.gguf.convert import write_gguf
from lowmed.ship.ollama import export_ollama, ollama_template, write_modelfile

pytest.importorskip("gguf", reason="the extra `gguf` is not installed")


def test_the_modelfile_names_the_first_language_file_and_the_projector(tmp_path: Path) -> None:
    written = write_gguf(nano.folder(), tmp_path, ("q8_0", "f16"), name="nano")
    text = write_modelfile(nano.folder(), written, tmp_path).read_text(encoding="utf-8")
    named = [line.removeprefix("FROM ") for line in text.splitlines() if line.startswith("FROM ")]
    assert named == ["./nano-q8_0.gguf", "./mmproj-nano-f16.gguf"]
    assert all((tmp_path / name).is_file() for name in named)


def test_prompts_that_pre_fill_are_refused_before_the_merge(tmp_path: Path) -> None:
    recipe = load_recipe("rarl", ["prompts.prefill='<think>'"], nano=True)
    run = create_run(recipe, "prefilled", out=str(tmp_path / "run"))
    with pytest.raises(RunError, match="pre-fill the assistant's turn"):
        export_ollama(ExportRequest("ollama", str(run.folder), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_system_message_of_training_is_that_of_the_modelfile(tmp_path: Path) -> None:
    written = [Path("nano-f16.gguf"), Path("mmproj-nano-f16.gguf")]
    assert "SYSTEM" not in write_modelfile(nano.folder(), written, tmp_path).read_text()
    text = write_modelfile(nano.folder(), written, tmp_path, "You are careful.").read_text()
    assert '\nSYSTEM """You are careful."""\n' in text
    recipe = load_recipe("rarl", ['prompts.system=Say "yes"'], nano=True)
    run = create_run(recipe, "quoted", out=str(tmp_path / "run"))
    with pytest.raises(RunError, match="quotes that would end it"):
        export_ollama(ExportRequest("ollama", str(run.folder), tmp_path / "out"))


def test_decoding_is_greedy_without_penalty_and_stops_at_the_end_tokens_of_transformers(tmp_path: Path) -> None:
    text = write_modelfile(nano.folder(), [Path("nano-f16.gguf"), Path("mmproj-nano-f16.gguf")], tmp_path).read_text()
    parameters = [line.split(" ", 2)[1:] for line in text.splitlines() if line.startswith("PARAMETER ")]
    assert parameters == [
        ["temperature", "0"],
        ["repeat_penalty", "1"],
        ["num_ctx", "4096"],
        ["stop", '"<|im_end|>"'],
        ["stop", '"<|endoftext|>"'],
    ]
    assert "not a diagnostic device" in text.splitlines()[0]
    assert "at most 1280 x 784 pixels" in text


def test_the_template_is_chatml_with_a_default_system_turn(tmp_path: Path) -> None:
    # Rendered once by hand with Go's text/template: equal to the chat template, with a system turn and without.
    text = write_modelfile(nano.folder(), [Path("nano-f16.gguf"), Path("mmproj-nano-f16.gguf")], tmp_path).read_text()
    template = text.split('TEMPLATE """')[1].removesuffix('"""\n')
    turn = "<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{{ end }}"
    assert template.endswith(system + turn)


def template_of(folder: Path, tmp_path: Path) -> str:
    text = write_modelfile(folder, [Path("a-f16.gguf")], tmp_path).read_text()
    return text.split('TEMPLATE """')[1].removesuffix('"""\n')


def test_the_default_system_turn_is_that_of_the_chat_template(tmp_path: Path) -> None:
    folder = made.save_model("llama", tmp_path / "merged", num_hidden_layers=1)
    assert 'system") }}{{ end }}<|im_start|>' in template_of(folder, tmp_path)
    path = folder / "chat_template.jinja"
    system = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are SmolLM.<|im_end|>\n{% endif %}"
    path.write_text(system + path.read_text())
    assert 'system") }}<|im_start|>system\nYou are SmolLM.<|im_end|>\n{{ end }}' in template_of(folder, tmp_path)


def test_the_modelfile_of_a_text_only_model_has_one_file_and_no_word_of_images(tmp_path: Path) -> None:
    folder = made.save_model("qwen2", tmp_path / "merged")
    written = write_gguf(folder, tmp_path / "out", ("f16", "q8_0"), name="made")
    text = write_modelfile(folder, written, tmp_path / "out").read_text()
    assert [line for line in text.splitlines() if line.startswith("FROM")] == ["FROM ./made-f16.gguf"]
    assert "image" not in text
    assert 'PARAMETER stop "<|im_end|>"' in text


def test_the_published_templates_of_qwen2_5_qwen3_and_llama_3_are_distinguished(tmp_path: Path) -> None:
    folder = made.save_model("llama", tmp_path / "merged", num_hidden_layers=1)
    published = files("trl") / "chat_templates"
    (folder / "chat_template.jinja").write_text((published / "qwen2_5.jinja").read_text())
    system = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    assert f'system") }}}}{system}{{{{ end }}}}<|im_start|>' in template_of(folder, tmp_path)
    for name in ("qwen3", "llama3_1", "llama3_2"):
        (folder / "chat_template.jinja").write_text((published / f"{name}.jinja").read_text())
        with pytest.raises(RunError, match="not plain ChatML"):
            ollama_template(folder)


def test_a_folder_without_generation_config_stops_at_the_end_token_of_its_config(tmp_path: Path) -> None:
    folder = made.save_model("llama", tmp_path / "merged", num_hidden_layers=1)
    assert 'PARAMETER stop "<|im_end|>"' in write_modelfile(folder, [Path("a.gguf")], tmp_path).read_text()
    (folder / "generation_config.json").unlink()
    assert 'PARAMETER stop "<|im_end|>"' in write_modelfile(folder, [Path("a.gguf")], tmp_path).read_text()


Change = Callable[[str], str]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("<|im_start|>", "<|start|>"),
        lambda text: text.replace("<|im_end|>\n", "<|im_end|>"),
        lambda text: "{{ bos_token }}" + text,
        lambda text: "<|im_start|>system\n{{ '{{' }}<|im_end|>\n" + text,
        lambda text: "<|im_start|>system\nalways<|im_end|>\n" + text,  # in addition to that of the chat
        lambda text: text.replace("message.content", "message.content.split('</think>')[-1]"),  # as in Qwen3
    ],
)
def test_another_chat_template_is_refused_before_the_merge_and_nothing_is_written(
    change: Change, tmp_path: Path
) -> None:
    folder = made.save_model("llama", tmp_path / "merged", num_hidden_layers=1)
    path = folder / "chat_template.jinja"
    path.write_text(change(path.read_text()))
    for refuse in (ollama_template, lambda merged: write_modelfile(merged, [Path("a.gguf")], tmp_path)):
        with pytest.raises(RunError, match="not plain ChatML"):
            refuse(folder)
    assert not (tmp_path / "Modelfile").exists()
