"""The DPO trainer: its loss and gradient equal TRL's, and those of mDPO and SimPO equal their formulas."""

from collections.abc import Callable, Iterator
from dataclasses import replace
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
from torch.nn.functional import logsigmoid
from trl import DPOTrainer

from lowmed import prompt
from lowmed.data.image.policy import prepare
from lowmed.data.pairs import Pair
from lowmed.data.split import DataSplit
from lowmed.engine import chat, completion_batch, dpo, load, preference_rows, training_data
from lowmed.engine.job import TrainingJob
from lowmed.engine.prefix import sampling
from lowmed.evaluation import controls
from lowmed.nano import phantom
from lowmed.plan.workload import Batch
from lowmed.recipe import LoraSpec
from lowmed.recipe.io import load_recipe
from lowmed.sample import Sample, without_images


@pytest.fixture(scope="module")
def nano() -> load.Loaded:
    return nano_with_adapter()


def split_of(samples: tuple[Any, ...]) -> DataSplit:
    """Questions with a pair each; the completions of a pair have different lengths."""
    texts = {sample.id: prompt.reference_completion(FAMILY, sample) for sample in samples}
    pairs = {name: (Pair(text, text.replace("<answer>", "<answer>certainly not ")),) for name, text in texts.items()}
    return DataSplit("phantom", samples, {}, {}, {}, phantom.open_image, "digest", pairs=pairs)


Builder = Callable[..., tuple[Any, Any, DataSplit]]


@pytest.fixture
def trainers(nano: load.Loaded, tmp_path: Path) -> Iterator[Builder]:
    """lowmed's trainer, and TRL's with the same settings, pairs, prompts and reference."""

    def build(*settings: str, start: str | None = None) -> tuple[Any, Any, DataSplit]:
        recipe = load_recipe("dpo", ["data.pairs=x", f"method.beta={BETA}", *settings], nano=True)
        recipe = recipe.model_copy(update={"lora": LoraSpec(start=start)})
        split = split_of(tuple(phantom.samples("train", 8)))
        rows = training_data.schedule(split.train, QUESTIONS, len(FAMILY.wordings), 0)
        dataset = training_data.as_dataset(rows, FAMILY, phantom.open_image, nano.policy, with_completion=False)
        common = {
            "output_dir": str(tmp_path), "max_steps": 4, "use_cpu": True, "report_to": "none", "bf16": False,
            "per_device_train_batch_size": QUESTIONS, "gradient_checkpointing": False, "remove_unused_columns": False,
            "disable_tqdm": True,
        }  # fmt: skip
        run: Any = None
        size = Batch(QUESTIONS, 1, False)
        ours = dpo.build(TrainingJob(recipe, nano, run, rows, dataset, split, [], size, common))
        if "ref" in nano.model.peft_config:
            nano.model.delete_adapter("ref")  # TRL adds the same copy again
        end = chat.turn_end(nano.tokenizer)
        stock = DPOTrainer(
            model=nano.model,
            args=ours.args,
            train_dataset=Dataset.from_list(
                [
                    {
                        "prompt": chat.render(nano.processor, FAMILY, row.sample),
                        "chosen": split.pairs[row.sample.id][0].chosen + end,
                        "rejected": split.pairs[row.sample.id][0].rejected + end,
                        "images": dataset[number]["images"],
                    }
                    for number, row in enumerate(rows)
                ]
            ),
            processing_class=nano.processor,
        )
        if start is None:
            nano.model.delete_adapter("ref")  # the base is the reference
        nano.model.train()
        return ours, stock, split

    with restored(nano.model):
        yield build


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("start", [None, "adapter"])
def test_loss_and_gradient_equal_those_of_trl(
    start: str | None, shared: bool, nano: load.Loaded, trainers: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        if not shared:
            config = sampling.unwrapped(nano.model).config.text_config
            patch.setattr(config, "layer_types", ["sliding_attention"] * len(config.layer_types))
        ours, stock, _ = trainers(start=start)
    assert ours.shares_prompts == shared
    move(nano.model)  # away from the copy that is the reference with a starting adapter
    results = []
    for trainer in (ours, stock):
        loss = trainer._compute_loss(nano.model, batch(trainer), False)
        results.append((loss, gradient(nano.model, loss)))
    require_equal(*results)
    for name in ("rewards/margins", "rewards/accuracies", "logps/chosen", "entropy"):
        assert ours._metrics["train"][name] == pytest.approx(stock._metrics["train"][name], rel=1e-4), name
    assert ours._metrics["train"]["rewards/margins"][0] != 0


def test_a_new_adapter_has_no_copy_and_a_starting_adapter_has_one(nano: load.Loaded, trainers: Builder) -> None:
    trainers()
    assert "ref" not in nano.model.peft_config
    trainers(start="adapter")
    weights = dict(nano.model.named_parameters())
    copies = {name: weight for name, weight in weights.items() if ".ref." in name}
    assert copies
    assert all(torch.equal(weight, weights[name.replace(".ref.", ".default.")]) for name, weight in copies.items())
    assert not any(weight.requires_grad for weight in copies.values())


def test_every_distinct_image_is_encoded_once(nano: load.Loaded, trainers: Builder) -> None:
    ours, _, _ = trainers("method.image_weight=1", "method.image_control=shuffled")
    assert nano.vision_cache
    nano.vision_cache.features.clear()
    before = nano.vision_cache.encoded
    ours._compute_loss(nano.model, batch(ours))
    shown = {row.sample.images for row in ours.data_collator.rows}
    shown |= {row.sample.images for row in ours.data_collator.altered.rows if row}
    assert nano.vision_cache.encoded - before == len(shown)


def altered_question(nano: load.Loaded, control: str, sample: Sample, split: DataSplit) -> tuple[Sample, Any]:
    """The question with the altered image of a control, and that image."""
    if control == "blind":
        return without_images(sample), None
    if control == "grey":
        return sample, controls.grey(image_of(nano, sample))
    return sample, image_of(nano, controls.shuffled([sample], split.train)[0])


@pytest.mark.parametrize("control", ["blind", "grey", "shuffled"])
def test_the_loss_of_mdpo_equals_its_formula(control: str, nano: load.Loaded, trainers: Builder) -> None:
    ours, _, split = trainers("method.image_weight=0.7", "method.anchor_weight=1.3", f"method.image_control={control}")
    loss = ours._compute_loss(nano.model, batch(ours))
    slope = gradient(nano.model, loss)
    losses = []
    for row in ours.data_collator.rows:
        sample, pair = row.sample, split.pairs[row.sample.id][0]
        image = image_of(nano, sample)
        other, other_image = altered_question(nano, control, sample, split)
        ratios = []
        for question, shown, text in (
            (sample, image, pair.chosen), (sample, image, pair.rejected), (other, other_image, pair.chosen),
        ):  # fmt: skip
            with torch.no_grad(), nano.model.disable_adapter():
                reference = naive_log_probs(nano, question, shown, text).sum()
            ratios.append(naive_log_probs(nano, question, shown, text).sum() - reference)
        chosen, rejected, altered = ratios
        losses.append(
            -logsigmoid(BETA * (chosen - rejected))
            - 0.7 * logsigmoid(BETA * (chosen - altered))
            - 1.3 * logsigmoid(BETA * chosen)
        )
    expected = torch.stack(losses).mean()
    require_equal((loss, slope), (expected, gradient(nano.model, expected)))


def test_the_loss_of_simpo_equals_its_formula_and_needs_no_reference(nano: load.Loaded, trainers: Builder) -> None:
    ours, _, split = trainers("method.loss_type=simpo", "method.beta=2.5", "method.simpo_gamma=1.4", start="adapter")
    nano.model.delete_adapter("ref")  # that of TRL's trainer
    loss = ours._compute_loss(nano.model, batch(ours))
    slope = gradient(nano.model, loss)
    losses = []
    for row in ours.data_collator.rows:
        pair, image = split.pairs[row.sample.id][0], image_of(nano, row.sample)
        texts = pair.chosen, pair.rejected
        chosen, rejected = (naive_log_probs(nano, row.sample, image, text).mean() for text in texts)
        losses.append(-logsigmoid(2.5 * chosen - 2.5 * rejected - 1.4))
    expected = torch.stack(losses).mean()
    require_equal((loss, slope), (expected, gradient(nano.model, expected)))


def test_a_row_without_an_image_has_no_term_for_it(nano: load.Loaded, trainers: Builder) -> None:
    ours, _, _ = trainers("method.image_weight=1")
    collator = ours.data_collator
    rows = [None, *collator.altered.rows[1:]]
    collator.altered = replace(collator.altered, rows=rows)
    inputs = batch(ours)
    assert inputs["altered"].tolist() == list(range(1, QUESTIONS))
    assert len(inputs["input_ids"]) == 3 * QUESTIONS - 1
    assert torch.isfinite(ours._compute_loss(nano.model, inputs))


def test_tokens_are_the_prompt_with_its_prefill_and_the_rest_of_the_turn(nano: load.Loaded) -> None:
    family = replace(FAMILY, prefill="<think>")
    [sample] = phantom.samples("train", 1)
    [pair] = split_of((sample,)).pairs[sample.id]
    rows = [training_data.TrainingRow(sample, 0)]
    image = prepare(phantom.open_image(sample.images[0]), nano.policy)
    for shared in (True, False):
        collator = preference_rows.PreferenceCollator(nano, family, rows, [pair], None, shared_prompts=shared)
        encoded = collator([{"row": 0, "images": [image]}])
        for ids, mask, completion in zip(
            encoded["input_ids"], encoded["attention_mask"], (pair.chosen, pair.rejected), strict=True
        ):
            text = nano.tokenizer.decode(ids[mask.bool()])
            assert text.endswith(f"assistant\n{completion}<|im_end|>")
        completion_ids = encoded["input_ids"][:, -encoded["completion_mask"].shape[1] :]
        trained = nano.tokenizer.decode(completion_ids[0][encoded["completion_mask"][0].bool()])
        assert trained == pair.chosen.removeprefix("<think>") + "<|im_end|>"


def test_a_question_with_several_pairs_uses_the_next_one_each_time() -> None:
    samples = tuple(phantom.samples("train", 2))
    pairs = {samples[0].id: (Pair("a", "b"), Pair("c", "d")), samples[1].id: (Pair("e", "f"),)}
    rows = [training_data.TrainingRow(samples[number], 0) for number in (0, 1, 0, 0, 1)]
    chosen = [pair.chosen for pair in completion_batch.of_each_row(rows, pairs)]
    assert chosen == ["a", "e", "c", "a", "e"]
