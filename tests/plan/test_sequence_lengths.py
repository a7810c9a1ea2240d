from pathlib import Path

import pytest
from data import made

from lowmed.data.image.policy import PixelPolicy
from lowmed.data.ingest.image_store import ImageStoreSettings
from lowmed.errors import DataError
from lowmed.plan import sequence_lengths
from lowmed.recipe.io import load_recipe


def prepared(folder: Path, budget: int = 256) -> Path:
    for seed, size in enumerate([(280, 280), (560, 560), (1400, 700)]):  # 100, 400 and 1,250 tokens as they came
        made.make_image(seed, size).save(folder / f"{seed}.png")
    rows = [made.row(number, f"{number}.png") for number in range(3)]
    rows[1]["explanation"] = "A bright ring is to be seen. " * 25
    rows[2]["question"] = "What is to be seen? " * 30
    made.jsonl(folder / "rows.jsonl", *rows)
    out = folder / "prepared"
    made.build(folder / "rows.jsonl", out, ImageStoreSettings(PixelPolicy(budget), salt=made.SALT))
    return out


def of(path: Path | None, *overrides: str) -> sequence_lengths.SequenceLengths:
    where = ("data.source=folder", f"data.path={path}") if path else ()
    return sequence_lengths.sequence_lengths(load_recipe("rarl", [*where, *overrides]))


def test_lengths_of_prepared_data_come_from_the_stored_images(tmp_path: Path) -> None:
    result = of(prepared(tmp_path))
    assert result.image == 256
    assert result.mean_image == pytest.approx((100 + 256 + 242) / 3)
    assert result.text > sequence_lengths.TEMPLATE_TOKENS + 600 // 4
    assert result.images == 1
    assert "3 prepared rows" in result.source


def test_a_lower_maximum_in_the_recipe_shrinks_images_further(tmp_path: Path) -> None:
    out = prepared(tmp_path)
    assert of(out, "model.max_image_tokens=64").image <= 64
    assert of(out, "model.max_image_tokens=1024").image == 256  # images are never enlarged


def test_without_prepared_data_the_maximum_is_assumed() -> None:
    assert of(None).image == 256
    assert of(None, "model.max_image_tokens=1024").image == 1024
    assert sequence_lengths.sequence_lengths(load_recipe("rarl", nano=True)).image == 9


def test_completions_have_the_maximum_length_in_grpo_and_the_reference_length_in_sft(tmp_path: Path) -> None:
    out = prepared(tmp_path)
    assert of(out, "method.max_completion_length=77").completion == 77
    sft = sequence_lengths.sequence_lengths(load_recipe("rarl-sft", ["data.source=folder", f"data.path={out}"]))
    assert 200 < sft.completion < 300
    direct = ["data.source=folder", f"data.path={out}", "prompts.train=direct"]
    assert sequence_lengths.sequence_lengths(load_recipe("rarl-sft", direct)).completion < 40


@pytest.mark.parametrize("content", ["", "{", '{"images": ["images/none.png"], "question": "?", "options": []}'])
def test_a_damaged_folder_is_reported(content: str, tmp_path: Path) -> None:
    out = prepared(tmp_path)
    (out / "samples.jsonl").write_text(content)
    with pytest.raises(DataError, match="prepared data set"):
        of(out)


def test_a_long_wording_and_the_known_length_of_a_source_count() -> None:
    short = sequence_lengths.sequence_lengths(load_recipe("text-cot", ["data.source=phantom"]))
    long = sequence_lengths.sequence_lengths(load_recipe("text-cot", ["data.source=phantom", "prompts.train=ehrmind"]))
    assert short.text == sequence_lengths.TEMPLATE_TOKENS + 20
    assert long.text > short.text + 80
    notes = sequence_lengths.sequence_lengths(load_recipe("ehr-medcalc-sft"))
    assert notes.text > 3800
    assert (notes.image, notes.images, notes.completion) == (0, 0, 1700)
    assert "image" not in notes.source
