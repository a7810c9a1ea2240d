"""The model card."""

from typing import Any

import yaml

from lowmed.report import card
from lowmed.report.run_report import read
from lowmed.run import Run


def _block(text: str) -> dict[str, Any]:
    result: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return result


def test_the_card_states_use_limits_and_results(finished: Run) -> None:
    text = card.render(read(finished))
    for words in (
        *("not for clinical use", "Intended use", "## Not for", "license of the data", "answer-prior baseline"),
        *(
            "interval by image",
            "## Limits",
            "How to load",
            "laterality errors",
            "| tuned |",
            "| base |",
            "Recipe digest",
        ),
    ):
        assert words in text, words


def test_the_metadata_block_holds_metrics_with_intervals_and_no_unloadable_base(finished: Run) -> None:
    block = _block(card.render(read(finished)))
    assert block["library_name"] == "peft"
    assert "base_model" not in block
    [model] = block["model-index"]
    metrics = model["results"][0]["metrics"]
    assert [metric["name"].split()[0] for metric in metrics] == ["strict", "lenient"]
    assert "n=60" in metrics[0]["name"]


def test_a_hub_base_is_named_and_loaded_at_the_training_resolution(finished: Run) -> None:
    text = (finished.folder / "recipe.yaml").read_text()
    (finished.folder / "recipe.yaml").write_text(text.replace("name: nano", "name: Qwen/Qwen2-VL-2B-Instruct"))
    card_text = card.render(read(finished))
    assert _block(card_text)["base_model"] == "Qwen/Qwen2-VL-2B-Instruct"
    assert 'PeftModel.from_pretrained(base, "this folder")' in card_text
    assert "max_pixels=200704" in card_text
