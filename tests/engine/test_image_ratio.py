"""The measurement of the reward `image_dependence` with the real nano model, and what would fool it."""

from collections.abc import Callable
from statistics import fmean

import pytest
import torch
from conftest import Lowmed

from lowmed import prompt, rewards
from lowmed.data.image.policy import prepare
from lowmed.engine import device, load, patches
from lowmed.engine.image_ratio import image_log_ratio
from lowmed.engine.training_data import TrainingRow
from lowmed.nano import phantom
from lowmed.recipe import LoraSpec, ModelSpec
from lowmed.rewards import Weighted
from lowmed.rewards.image_dependence import ImageDependence
from lowmed.run import Run
from lowmed.sample import Sample

FAMILY = prompt.family("reasoning")
TRAIN = phantom.samples("train", 60)
ROWS = [TrainingRow(sample, 0) for sample in TRAIN[:12]]


@pytest.fixture(scope="module")
def nano() -> load.Loaded:
    spec = ModelSpec(name="nano")
    loaded = load.with_trainable_adapter(load.load_base(spec, device.find_device(spec)), LoraSpec(), "nano")
    patches.use_torch_log_probs()
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:  # a new adapter changes nothing
            torch.nn.init.normal_(weight, std=0.02, generator=torch.Generator().manual_seed(1))
    return loaded


def built(family: prompt.Family = FAMILY, **options: float) -> list[Weighted]:
    return rewards.with_corpus(rewards.build([("image_dependence", 1.0, options)], family.completion_format), TRAIN)


def measured(
    nano: load.Loaded,
    completions: list[tuple[int, str]],
    family: prompt.Family = FAMILY,
    rows_per_pass: int = 3,
    **options: float,
) -> list[float | None]:
    measure = image_log_ratio(built(family, **options), nano, ROWS, family, phantom.open_image, rows_per_pass)
    assert measure is not None
    numbers, texts = [row for row, _ in completions], [text for _, text in completions]
    ids = [nano.tokenizer(text)["input_ids"] for text in texts]
    images = [[prepare(phantom.open_image(image), nano.policy) for image in ROWS[row].sample.images] for row in numbers]
    return measure(numbers, images, texts, ids)


def thinking(thought: str, sample: Sample) -> str:
    return f"<think>{thought}</think><answer>{sample.written_answer}</answer>"


def alone(nano: load.Loaded, row: int, text: str, family: prompt.Family = FAMILY, min_tokens: int = 1) -> float:
    """The ratio of one completion from two forward passes over it alone."""
    sample, reward = ROWS[row].sample, built()[0].reward
    assert isinstance(reward, ImageDependence)
    begin, end = ("<think>", "</think>") if "<think>" in text else ("<answer>", "</answer>")
    span = text.index(begin) + len(begin), text.index(end)
    means = []
    for images in (sample.images, reward.exchanged[sample.id]):
        prepared = [prepare(phantom.open_image(image), nano.policy) for image in images]
        chat = nano.processor.apply_chat_template(prompt.build_messages(family, sample, 0), add_generation_prompt=True)
        inputs = nano.processor(text=[chat + text], images=prepared, return_tensors="pt")
        with torch.no_grad():
            logs = nano.model(**inputs).logits.float().log_softmax(2)[0]
        ids = inputs["input_ids"][0]
        offsets = nano.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        places = [
            len(ids) - len(offsets) + at
            for at, (first, last) in enumerate(offsets)
            if first < span[1] and last > span[0]
        ]
        total = torch.stack([logs[place - 1, ids[place]] for place in places]).sum()
        means.append(float(total) / max(len(places), min_tokens))
    return means[0] - means[1]


def test_the_ratio_is_that_of_two_passes_over_the_tokens_of_the_reasoning(nano: load.Loaded) -> None:
    longer = prompt.reference_completion(FAMILY, ROWS[1].sample).replace("<think>", "<think>I looked for a long time. ")
    completions = [
        (1, prompt.reference_completion(FAMILY, ROWS[1].sample)),
        (1, longer),
        (1, "<think>It is not there.</think><answer>none</answer>"),
        (1, f"<answer>{ROWS[1].sample.written_answer}</answer>"),
        (2, prompt.reference_completion(FAMILY, ROWS[2].sample)),
    ]
    training = nano.model.training
    result = measured(nano, completions, min_tokens=1)
    assert nano.model.training == training
    assert result[2:4] == [None, None]
    for value, (row, text) in zip(result, completions, strict=True):
        if value is not None:
            assert value == pytest.approx(alone(nano, row, text), abs=1e-4)
    assert len({value is not None and round(value, 4) for value in result}) == 4


def test_prompts_without_reasoning_have_the_tokens_of_the_answer_measured(nano: load.Loaded) -> None:
    direct = prompt.family("direct")
    text = f"<answer>{ROWS[0].sample.written_answer}</answer>"
    [value] = measured(nano, [(0, text)], direct)
    assert value == pytest.approx(alone(nano, 0, text, direct), abs=1e-4)


def test_a_short_reasoning_is_measured_as_a_longer_one(nano: load.Loaded) -> None:
    text = thinking("It is there", ROWS[0].sample)
    [value] = measured(nano, [(0, text)], min_tokens=16)
    assert value == pytest.approx(alone(nano, 0, text, min_tokens=16), abs=1e-4)


def test_an_image_that_is_exchanged_for_itself_makes_no_difference(
    nano: load.Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = {row.sample.id: row.sample.images for row in ROWS}
    monkeypatch.setattr(ImageDependence, "exchanged", property(lambda _: same))
    [value] = measured(nano, [(3, prompt.reference_completion(FAMILY, ROWS[3].sample))])
    assert value == pytest.approx(0, abs=1e-6)
    monkeypatch.setattr(ImageDependence, "exchanged", property(lambda _: {}))
    assert measured(nano, [(3, prompt.reference_completion(FAMILY, ROWS[3].sample))]) == [None]


FILLERS = ("The", "image", "shows", "in", "the", "so", "is", "there", "it", "a", "of", "and")
HACKS: dict[str, Callable[[Sample], str]] = {
    "description five times": lambda sample: " ".join([sample.explanation] * 5),
    "question copied": lambda sample: sample.question,
    "question, then description": lambda sample: f"{sample.question} {sample.explanation}",
    "description, then ramble": lambda sample: sample.explanation + " It was looked at again, area by area." * 12,
    "words of the finding alone": lambda sample: " ".join(
        word for word in sample.explanation.split() if word not in FILLERS
    ),
    "answer alone": lambda sample: sample.answer,
    "answer in three words": lambda sample: f"It is {sample.answer}",
    "words in order of the alphabet": lambda sample: " ".join(sorted(sample.explanation.split())),
    "another image's description": lambda sample: TRAIN[(TRAIN.index(sample) + 29) % 60].explanation,
}


def test_no_known_hack_has_a_higher_mean_than_a_description_of_the_image(nano: load.Loaded) -> None:
    thoughts = {"honest": lambda sample: sample.explanation, **HACKS}
    texts = [
        (number, thinking(thought(row.sample), row.sample))
        for number, row in enumerate(ROWS)
        for thought in thoughts.values()
    ]
    ratios = measured(nano, texts, rows_per_pass=len(thoughts))
    means = {
        name: fmean(ratio for ratio in ratios[at :: len(thoughts)] if ratio is not None)
        for at, name in enumerate(thoughts)
    }
    assert means["honest"] > 0.2
    assert max(means, key=lambda name: means[name]) == "honest"


def test_nothing_is_measured_if_no_reward_needs_it(nano: load.Loaded) -> None:
    others = rewards.build([("accuracy", 1.0, {}), ("consistency", 1.0, {})])
    assert image_log_ratio(others, nano, ROWS, FAMILY, phantom.open_image, 3) is None


def test_a_run_with_both_measurements_and_a_vote_records_all_of_them(lowmed: Lowmed, tmp_path: object) -> None:
    rules = "[{name: accuracy}, {name: consistency, weight: 0.5}, {name: image_dependence}, {name: majority}]"
    result = lowmed(
        "grpo", "--recipe", "capo", "--nano", "--out", "r", f"method.rewards={rules}", "method.max_steps=2",
        "method.num_generations=4", "method.prompts_per_step=3", "method.max_completion_length=40",
        "method.canary_steps=1",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    run = Run(tmp_path / "r")  # type: ignore[operator]
    scores = [row["scores"] for row in run.rows("rollouts.jsonl")]
    assert len(scores) == 24
    right = [score for score in scores if score["accuracy"]["value"] == 1]
    assert right
    for score in right:
        assert "likelihood" in score["consistency"]["why"]
        assert "nats a token" in score["image_dependence"]["why"]
    wrong = [score for score in scores if score["accuracy"]["value"] == 0]
    assert all(score["image_dependence"]["value"] == 0 for score in wrong)
    assert {score["majority"]["value"] for score in scores} <= {0.0, 1.0, None}
    canaries = run.rows("canaries.jsonl")
    assert [row["step"] for row in canaries] == [1, 2]
    assert all(row["canary/worst_hack"] <= 0 for row in canaries)
