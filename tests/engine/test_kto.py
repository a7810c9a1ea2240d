"""The KTO trainer: loss and gradient equal TRL's, and the size of its forward passes changes rounding only."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from preference_trainers import (
    BETA,
    FAMILY,
    QUESTIONS,
    batch,
    gradient,
    image_of,
    move,
    naive_log_probs,
    nano_with_adapter,
    require_equal,
    restored,
)
from trl import KTOConfig, KTOTrainer

from lowmed import prompt
from lowmed.data.split import DataSplit
from lowmed.data.unpaired import LabeledCompletion
from lowmed.engine import chat, kto, load, training_data
from lowmed.engine.job import TrainingJob
from lowmed.engine.prefix import packing, sampling
from lowmed.engine.training_data import TrainingRow
from lowmed.engine.unpaired_rows import mismatched_rows
from lowmed.methods import KtoSpec
from lowmed.nano import phantom
from lowmed.plan.workload import Batch
from lowmed.recipe import LoraSpec
from lowmed.recipe.io import load_recipe

WEIGHTS = ("method.desirable_weight=1.3", "method.undesirable_weight=0.7")
Builder = Callable[..., tuple[Any, DataSplit]]


@pytest.fixture(scope="module")
def nano() -> load.Loaded:
    return nano_with_adapter()


def split_of(samples: tuple[Any, ...]) -> DataSplit:
    """Questions with a labeled completion each, of different lengths; every second one is bad."""
    texts = {sample.id: prompt.reference_completion(FAMILY, sample) for sample in samples}
    wrong = {name: text.replace("<answer>", "<answer>certainly not ") for name, text in texts.items()}
    unpaired = {
        name: (LabeledCompletion(wrong[name] if number % 2 else text, number % 2 == 0),)
        for number, (name, text) in enumerate(texts.items())
    }
    return DataSplit("phantom", samples, {}, {}, {}, phantom.open_image, "digest", unpaired=unpaired)


@pytest.fixture
def build(nano: load.Loaded, tmp_path: Path) -> Iterator[Builder]:
    """Builds lowmed's trainer for the first questions of phantom."""

    def build_one(
        *settings: str, start: str | None = None, rows_per_pass: int = QUESTIONS, passes: int = 1, steps: int = 1
    ) -> tuple[Any, DataSplit]:
        per_step = rows_per_pass * passes
        options = ["data.unpaired=x", f"method.beta={BETA}", f"method.prompts_per_step={per_step}", *WEIGHTS, *settings]
        recipe = load_recipe("kto", options, nano=True).model_copy(update={"lora": LoraSpec(start=start)})
        split = split_of(tuple(phantom.samples("train", 8)))
        rows = training_data.schedule(split.train, per_step * steps, len(FAMILY.wordings), 0)
        dataset = training_data.as_dataset(rows, FAMILY, phantom.open_image, nano.policy, with_completion=False)
        common = {
            "output_dir": str(tmp_path), "max_steps": steps, "use_cpu": True, "report_to": "none", "bf16": False,
            "per_device_train_batch_size": rows_per_pass, "gradient_accumulation_steps": passes, "logging_steps": 1,
            "gradient_checkpointing": False, "remove_unused_columns": False, "disable_tqdm": True, "optim": "sgd",
            "learning_rate": 0.5, "lr_scheduler_type": "constant", "save_strategy": "no",
        }  # fmt: skip
        run: Any = None
        size = Batch(rows_per_pass, 1, False)
        trainer = kto.build(TrainingJob(recipe, nano, run, rows, dataset, split, [], size, common))
        nano.model.train()
        return trainer, split

    with restored(nano.model):
        yield build_one


def loss_and_gradient(trainer: Any, model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the first step of lowmed's trainer, in one pass."""
    inputs = batch(trainer)
    trainer.score([inputs])
    loss = trainer._compute_loss(model, inputs)
    return loss, gradient(model, loss)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("start", [None, "adapter"])
def test_loss_and_gradient_equal_those_of_trl(
    start: str | None, shared: bool, nano: load.Loaded, build: Builder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        if not shared:
            config = sampling.unwrapped(nano.model).config.text_config
            patch.setattr(config, "layer_types", ["sliding_attention"] * len(config.layer_types))
        ours, split = build(start=start)
    assert ours.shares_prompts == shared
    if start:
        nano.model.delete_adapter("ref")  # TRL adds the same copy again
    end = chat.turn_end(nano.tokenizer)
    rows = [
        {
            "prompt": chat.render(nano.processor, FAMILY, row.sample),
            "completion": split.unpaired[row.sample.id][0].completion + end,
            "label": split.unpaired[row.sample.id][0].label,
            "images": ours.train_dataset[number]["images"],
        }
        for number, row in enumerate(ours.data_collator.rows)
    ]
    stock = KTOTrainer(
        model=nano.model,
        args=KTOConfig(
            str(tmp_path), beta=BETA, desirable_weight=1.3, undesirable_weight=0.7, max_length=None, use_cpu=True,
            report_to="none", bf16=False, per_device_train_batch_size=QUESTIONS, gradient_checkpointing=False,
            remove_unused_columns=False, disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=nano.processor,
    )  # fmt: skip
    if start is None:
        nano.model.delete_adapter("ref")  # the base is the reference
    move(nano.model)  # away from the copy that is the reference with a starting adapter
    nano.model.train()
    loss = stock._compute_loss(nano.model, batch(stock), False)
    expected = loss, gradient(nano.model, loss)
    require_equal(loss_and_gradient(ours, nano.model), expected)
    for name in ("kl", "rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "entropy"):
        assert ours._metrics["train"][name] == pytest.approx(stock._metrics["train"][name], rel=1e-4), name
    assert {row["label"] for row in rows} == {True, False}


def test_the_loss_equals_its_formula_with_z0_from_the_previous_row(nano: load.Loaded, build: Builder) -> None:
    ours, split = build()
    ours_and_slope = loss_and_gradient(ours, nano.model)
    samples = [row.sample for row in ours.data_collator.rows]
    completions = [split.unpaired[sample.id][0] for sample in samples]

    def ratio(sample: Any, text: str) -> torch.Tensor:
        image = image_of(nano, sample)
        with torch.no_grad(), nano.model.disable_adapter():
            reference = naive_log_probs(nano, sample, image, text).sum()
        return naive_log_probs(nano, sample, image, text).sum() - reference

    mismatched = [ratio(sample, completions[number - 1].completion) for number, sample in enumerate(samples)]
    z0 = torch.stack(mismatched).mean().clamp(min=0).detach()
    assert z0 > 0
    losses = []
    for sample, one in zip(samples, completions, strict=True):
        above = ratio(sample, one.completion) - z0
        losses.append(
            1.3 * (1 - torch.sigmoid(BETA * above)) if one.label else 0.7 * (1 - torch.sigmoid(-BETA * above))
        )
    expected = torch.stack(losses).mean()
    require_equal(ours_and_slope, (expected, gradient(nano.model, expected)))


def trained(trainer: Any) -> tuple[torch.Tensor, list[dict[str, float]]]:
    trainer.train()
    weights = [weight.detach().flatten() for weight in trainer.model.parameters() if weight.requires_grad]
    return torch.cat(weights).clone(), [row for row in trainer.state.log_history if "loss" in row]


def test_passes_of_one_row_train_like_one_pass(nano: load.Loaded, build: Builder) -> None:
    before = {name: weight.detach().clone() for name, weight in nano.model.named_parameters() if weight.requires_grad}
    results = []
    for rows_per_pass in (1, 2, 4):
        for name, weight in nano.model.named_parameters():
            if name in before:
                weight.data.copy_(before[name])
        trainer, _ = build(rows_per_pass=rows_per_pass, passes=4 // rows_per_pass, steps=2)
        results.append(trained(trainer))
    start = torch.cat([weight.flatten() for weight in before.values()])
    one_pass, expected = results[-1]
    change = (one_pass - start).norm()
    assert change > 1e-3
    for weights, metrics in results[:-1]:
        assert (weights - one_pass).norm() < 1e-4 * change
        for one, other in zip(metrics, expected, strict=True):
            assert one == pytest.approx(other, rel=1e-3)
    assert all(row["kl"] > 0 for row in expected)
    assert {"rewards/chosen", "rewards/rejected", "rewards/margins"} <= expected[0].keys()


def test_each_prompt_is_read_once_for_both_completions(nano: load.Loaded, build: Builder) -> None:
    ours, _ = build()
    inputs = batch(ours)
    [both] = inputs["scored"]
    length = both["completion_mask"].shape[1]
    packed = packing.pack(nano.model, {name: both[name] for name in both if name != "completion_mask"}, length)
    assert (len(both["input_ids"]), len(packed.blocks)) == (2 * QUESTIONS, QUESTIONS)
    assert nano.vision_cache
    nano.vision_cache.features.clear()
    before = nano.vision_cache.encoded
    loss_and_gradient(ours, nano.model)
    assert nano.vision_cache.encoded - before == QUESTIONS


def test_pixels_stay_in_main_memory(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = build()
    with monkeypatch.context() as patch:
        patch.setattr(ours.accelerator.state, "device", torch.device("meta"))  # in place of a GPU
        inputs = next(iter(ours.get_train_dataloader()))
    parts = (inputs, inputs["mismatched"], *inputs["scored"])
    assert {pixels.device.type for part in parts for pixels in part["pixel_values"]} == {"cpu"}


def spec(**settings: float) -> KtoSpec:
    return KtoSpec.model_validate({"kind": "kto", "beta": 1.0, **settings})


def test_good_completions_become_likelier_and_bad_ones_less_likely() -> None:
    ratios = torch.tensor([0.5, 0.5], requires_grad=True)
    losses, rewards = kto.kto(ratios, torch.tensor([True, False]), torch.tensor(0.5), spec(desirable_weight=3, beta=2))
    assert losses.tolist() == [1.5, 0.5]
    assert rewards.tolist() == [1.0, 1.0]
    torch.autograd.backward(losses.sum())
    assert ratios.grad is not None
    assert ratios.grad.tolist() == [-1.5, 0.5]  # weight * beta / 4


def test_z0_is_never_negative(nano: load.Loaded, build: Builder) -> None:
    ours, _ = build(start="adapter")
    for name, weight in nano.model.named_parameters():
        if "lora_B.default" in name:
            weight.data.zero_()
    inputs = batch(ours)
    ours.score([inputs])
    mismatched = ours.scored(inputs["mismatched"], reference=True)
    assert (ours.scored(inputs["mismatched"], reference=False) - mismatched).mean() < 0
    assert inputs["kl"] == 0


def rows_of(*questions: int) -> list[TrainingRow]:
    samples = tuple(phantom.samples("train", 4))
    return [TrainingRow(samples[number], 0) for number in questions]


@pytest.mark.parametrize(
    ("questions", "per_step", "expected"),
    [
        ((0, 1, 2, 3), 4, [3, 0, 1, 2]),  # the previous row, as in TRL
        ((0, 1, 2, 3), 2, [1, 0, 3, 2]),  # of the same step
        ((0, 0, 1, 2), 4, [3, 3, 1, 2]),  # not of the same question
        ((0, 0, 1, 2), 2, [3, 3, 3, 2]),  # from elsewhere if the step has no other question
        ((0, 1, 2, 2), 2, [1, 0, 1, 1]),
        ((0, 0), 2, [1, 0]),  # a run of one question
    ],
)
def test_the_mismatched_completion_is_that_of_the_previous_row_of_another_question(
    questions: tuple[int, ...], per_step: int, expected: list[int]
) -> None:
    assert mismatched_rows(rows_of(*questions), per_step) == expected
