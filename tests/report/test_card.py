"""The model card."""

from dataclasses import replace
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


def test_the_card_names_the_model_that_wrote_the_explanations(finished: Run) -> None:
    content = read(finished)
    assert "explanations |" not in card.render(content)
    run = content.run.model_copy(update={"explanations_by": ("a|b",)})
    assert r"| explanations | completions of a\|b, kept where" in card.render(replace(content, run=run))


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


def test_no_text_of_a_recipe_acts_in_the_card(finished: Run) -> None:
    content = read(finished)
    about = "A recipe [click](javascript:x) ![x](https://tracker/x.png) <img src=x>\n\n# Heading\n\n| a | b |"
    text = card.render(replace(content, recipe=content.recipe.model_copy(update={"about": about})))
    [shown] = [line for line in text.splitlines() if line.startswith("A recipe")]
    assert shown == (
        r"A recipe \[click\](javascript:x) !\[x\](https://tracker/x.png) &lt;img src=x&gt; # Heading \| a \| b \|"
    )
