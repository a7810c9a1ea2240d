"""The reference completion of every prompt family earns full rewards, on real gold answers too."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lowmed import answer, prompt, rewards
from lowmed.nano import phantom
from lowmed.sample import Kind, Sample

DATA = Path(__file__).parents[3] / "shared" / "data"
FIXTURES = Path(__file__).parents[1] / "fixtures"
VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "answers.json"
PREDICTIONS = Path(__file__).parents[3] / "shared" / "predictions"


def _below_full(samples: list[Sample]) -> list[tuple[str, str, str]]:
    result = []
    for family in prompt.FAMILIES.values():
        built = rewards.build(
            [("accuracy", 1.0, {}), ("format", 0.2, {}), ("reasoning", 0.5, {})], family.completion_format
        )
        for reward in rewards.with_corpus(built, samples):
            scores = [(sample, reward(sample, prompt.reference_completion(family, sample))) for sample in samples]
            result += [
                (reward.name, sample.answer, score.why) for sample, score in scores if score.value not in (1, None)
            ]
    return result


def _samples(rows: list[dict[str, Any]], kinds: dict[str, Kind]) -> Iterator[Sample]:
    for number, row in enumerate(rows):
        gold = str(row["answer"]).strip()
        if gold:
            yield Sample(str(number), row["question"], gold, kinds[row["answer_type"].strip()], "g", "t")


@pytest.mark.parametrize(("folder", "count"), [(DATA / "vqa-rad", 2248), (FIXTURES / "vqa-rad", 432)])
def test_every_gold_answer_of_vqa_rad_earns_full_rewards(folder: Path, count: int) -> None:
    if not folder.exists():
        pytest.skip("the real VQA-RAD is not at ../shared/data/vqa-rad")
    rows = json.loads((folder / "vqa_rad_public.json").read_text(encoding="utf-8"))
    samples = list(_samples(rows, {"CLOSED": "closed", "OPEN": "open"}))
    assert len(samples) == count
    assert _below_full(samples) == []


@pytest.mark.parametrize("folder", [DATA / "slake-text", FIXTURES / "slake"])
@pytest.mark.parametrize("split", ["train", "validate", "test"])
def test_every_gold_answer_of_slake_earns_full_rewards(split: str, folder: Path) -> None:
    if not folder.exists():
        pytest.skip("the real SLAKE texts are not at ../shared/data/slake-text")
    rows = json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))
    samples = list(_samples(rows, {"CLOSED": "closed", "OPEN": "open"}))
    assert len(rows) - len(samples) == (1 if split == "train" else 0)
    assert _below_full(samples) == []


def test_gold_answers_of_every_kind_earn_full_rewards() -> None:
    samples = [
        Sample("choice", "Which?", "CT", "choice", "g", "t", options=("MRI", "CT", "A", "E. coli")),
        Sample("closed", "Is it?", "Yes", "closed", "g", "t"),
        Sample("offered", "Is it left or right?", "Right side", "closed", "g", "t"),
        Sample("open", "How wide?", "5.6cm focal, predominantly hypodense", "open", "g", "t"),
        Sample("json", "Report.", '{"findings": ["a", "b"], "count": 2}', "json", "g", "t"),
        Sample(
            "text",
            "Describe.",
            " ".join(f"The finding in zone {zone} is normal." for zone in range(9)),
            "text",
            "g",
            "t",
        ),
    ]
    assert _below_full([*samples, *phantom.samples("train", 300)]) == []


@pytest.mark.skipif(not VECTORS.exists(), reason="../shared/vectors is absent")
def test_accuracy_equals_the_strict_grade_on_the_vectors() -> None:
    compared = 0
    for case in json.loads(VECTORS.read_text())["cases"]:
        if case["kind"] not in ("mcq", "yesno"):
            continue
        options = case.get("options", {})
        gold = options.get(case["gold"], case["gold"])
        kind: Kind = "choice" if options else "closed"
        sample = Sample(case["id"], "?", gold, kind, "g", "t", options=tuple(options.values()))
        for completion in (case["input"], f"<think>I see it</think><answer>{case['input']}</answer>"):
            verdict = answer.grade(answer.read(completion, sample), sample)
            score = rewards.build([("accuracy", 1.0, {})])[0](sample, completion)
            assert score.value == float(verdict.strict_outcome == "correct")
            compared += verdict.strict_outcome == "correct"
    assert compared > 10


@pytest.mark.skipif(not PREDICTIONS.exists(), reason="../shared/predictions is absent")
def test_format_accepts_the_completions_of_a_published_model() -> None:
    rows = [json.loads(line) for line in (PREDICTIONS / "omnimedvqa-medvlm-r1-mri.jsonl").read_text().splitlines()]
    form = rewards.build([("format", 1.0, {})])[0]
    scores = [form(Sample("s", "?", row["answer"], "open", "g", "t"), row["completion"]) for row in rows]
    assert {score.why for score in scores if score.value != 1.0} == set()
