"""From check to evaluation on the real VQA-RAD: its dirty labels, its JPEGs, its leaking test split."""

import json
from pathlib import Path

import pytest
from conftest import Lowmed


def source(folder: Path) -> tuple[str, ...]:
    return "data.source=vqa-rad", f"data.path={folder}"


def test_check_prints_the_published_counts(lowmed: Lowmed, whole_vqa_rad: Path) -> None:
    process = lowmed("check", "--recipe", "rl-plain", "--nano", *source(whole_vqa_rad), "--json")
    assert process.returncode == 0, process.stderr
    result = json.loads(process.stdout)
    text = "\n".join([*result["data"], *result["split"]])
    assert "test: 451 rows, 203 images; closed 272, open 179 (yes/no answers 251)" in text
    assert "unused images: 1 (first: synpic35356.jpg)" in text
    assert text.count("the published split shares") == 1
    assert "the published split shares 202 with train" in text
    assert result["images"]["most_tokens"] <= result["images"]["budget"] == 256
    assert all(line["below_full"] == 0 for line in result["rewards"]["gold"])


def test_check_reads_the_part_of_vqa_rad_and_uses_the_cache_the_second_time(
    lowmed: Lowmed, new_process: Lowmed, vqa_rad: Path, tmp_path: Path
) -> None:
    arguments = ("check", "--recipe", "rl-plain", "--nano", *source(vqa_rad), "--json")
    first = lowmed(*arguments, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert first.returncode == 0, first.stderr
    assert "prepare vqa-rad  432/432" in first.stderr
    report = json.loads(first.stdout)
    text = "\n".join([*report["data"], *report["split"]])
    assert "test: 81 rows, 37 images" in text
    assert "the published split shares 36 with train" in text
    assert all(line["below_full"] == 0 for line in report["rewards"]["gold"])
    second = new_process(*arguments, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")
    assert {path.name for path in (tmp_path / "cache/lowmed").iterdir()} == {"data"}


def test_the_published_split_of_the_part_is_refused_until_allowed(lowmed: Lowmed, vqa_rad: Path) -> None:
    official = (*source(vqa_rad), "data.split_by=official")
    refused = lowmed("check", "--recipe", "rl-plain", "--nano", *official)
    assert refused.returncode == 2
    assert "36 of the 37 test images of vqa-rad also occur in its train split" in refused.stderr
    allowed = lowmed("check", "--recipe", "rl-plain", "--nano", *official, "data.allow_shared_images=true")
    assert allowed.returncode == 0, allowed.stderr
    assert "81 questions on 37 images; 36 of them are trained on" in allowed.stdout


def test_the_published_split_is_refused_until_allowed_by_name(lowmed: Lowmed, whole_vqa_rad: Path) -> None:
    official = (*source(whole_vqa_rad), "data.split_by=official")
    refused = lowmed("check", "--recipe", "rl-plain", "--nano", *official)
    assert refused.returncode == 2
    assert "202 of the 203 test images of vqa-rad also occur in its train split" in refused.stderr
    allowed = lowmed("check", "--recipe", "rl-plain", "--nano", *official, "data.allow_shared_images=true")
    assert allowed.returncode == 0, allowed.stderr
    assert "451 questions on 203 images; 202 of them are trained on" in allowed.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "recipe", "small"),
    [
        (
            "sft",
            "rarl-sft",
            ("prompts.train=direct", "prompts.infer=direct", "method.max_steps=2", "method.prompts_per_step=4"),
        ),
        (
            "grpo",
            "rarl",
            (
                "method.allow_abstaining=[reasoning]",
                "method.max_steps=2",
                "method.num_generations=4",
                "method.prompts_per_step=2",
                "method.max_completion_length=32",
            ),
        ),
    ],
)
def test_a_few_steps_train_and_are_evaluated(
    kind: str, recipe: str, small: tuple[str, ...], lowmed: Lowmed, whole_vqa_rad: Path, tmp_path: Path
) -> None:
    budget = ("model.max_image_tokens=64", "eval.max_new_tokens=32")
    trained = lowmed(kind, "--recipe", recipe, "--nano", *source(whole_vqa_rad), *small, *budget, "--out", "run")
    assert trained.returncode == 0, trained.stderr
    assert "the published split shares 202 with train" in trained.stderr
    run = tmp_path / "run"
    record = json.loads((run / "run.json").read_text())
    assert record["image_pixels"][1] == 64 * 28 * 28
    if kind == "grpo":
        rollouts = [json.loads(line) for line in (run / "rollouts.jsonl").read_text().splitlines()]
        assert len(rollouts) == 2 * 4 * 2
        assert all(set(row["scores"]) == {"accuracy", "reasoning", "format"} for row in rollouts)
        assert all(row["scores"]["reasoning"]["value"] is None for row in rollouts)  # VQA-RAD explains nothing

    process = lowmed("eval", "run", "--questions", "12", "--controls", "4", "--json")
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    held_out, test = report["splits"]["held-out"], report["splits"]["test"]
    assert held_out["images_trained_on"] == 0
    assert 100 < test["images_trained_on"] < 203
    assert "the published split shares 202 with train" in test["stamp"]
    for part in (held_out, test):
        tuned = part["results"]["tuned"]
        assert tuned["questions"] == 12
        low, high = tuned["strict"]["wilson"]
        assert low <= tuned["strict"]["accuracy"] <= high
    for path in run.rglob("*"):
        assert path.suffix not in (".jpg", ".jpeg", ".png"), "an image was copied into the run"
    stored = "".join(path.read_text() for path in run.rglob("*.json"))
    assert str(whole_vqa_rad) not in stored
