"""Questions with earlier turns: equal prompts everywhere, a loss on the last completion only, and no mixed-up rows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from lowmed import prompt
from lowmed.data.image.policy import prepare
from lowmed.engine import chat, device, generate, grpo, load, patches, row_selection, training_data
from lowmed.methods import GrpoSpec
from lowmed.nano import phantom
from lowmed.plan.workload import Batch
from lowmed.recipe import LoraSpec, ModelSpec

FAMILY = replace(prompt.family("direct"), system="You are careful.")
FIRST, OTHER = phantom.samples("train", 2)
BOTH = (*FIRST.images, *OTHER.images)
TURNS = (("What kind of study is this?", "A schematic CT."), ("Is it normal?", "No, <answer>it</answer> is not."))
SAMPLES = (
    replace(FIRST, history=TURNS),
    replace(FIRST, id="second", history=(("Is it normal?", "Yes."), TURNS[1])),
    FIRST,
    replace(OTHER, history=TURNS[:1]),
    replace(OTHER, id="text", images=(), history=TURNS),
    replace(FIRST, id="placed", images=BOTH, question=f"Prior: <image> Current: <image> {FIRST.question}"),
    replace(OTHER, id="later", images=BOTH, question="And <image> now?", history=(("Seen <image>?", "yes."),)),
)
GROUP = 2


@pytest.fixture(scope="module")
def nano() -> load.Loaded:
    model = ModelSpec(name="nano", load_in="16bit")
    loaded = load.with_trainable_adapter(load.load_base(model, device.find_device(model)), LoraSpec(), "nano")
    patches.use_torch_log_probs()
    torch.manual_seed(3)
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0.0, 0.02)
    return loaded


def rows_of(samples: tuple[Any, ...]) -> list[training_data.TrainingRow]:
    return [training_data.TrainingRow(sample, 0) for sample in samples]


def prompt_ids(nano: load.Loaded, sample: Any) -> list[int]:
    ids: list[int] = generate.encode(nano, [sample], FAMILY, phantom.open_image)["input_ids"][0].tolist()
    return ids


def test_the_prompt_has_the_image_in_the_first_turn_and_the_wording_in_the_last(nano: load.Loaded) -> None:
    text = chat.render(nano.processor, FAMILY, SAMPLES[0])
    question = prompt.build_messages(FAMILY, FIRST)[-1]["content"][-1]["text"]
    assert text == (
        "<|im_start|>system\nYou are careful.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What kind of study is this?<|im_end|>\n"
        "<|im_start|>assistant\nA schematic CT.<|im_end|>\n"
        "<|im_start|>user\nIs it normal?<|im_end|>\n"
        "<|im_start|>assistant\nNo, <answer>it</answer> is not.<|im_end|>\n"
        f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_sft_trains_on_the_last_completion_only(nano: load.Loaded) -> None:
    dataset = training_data.as_dataset(rows_of(SAMPLES), FAMILY, phantom.open_image, nano.policy, with_completion=True)
    collator = DataCollatorForVisionLanguageModeling(
        processor=nano.processor, max_length=None, completion_only_loss=True
    )
    for number, sample in enumerate(SAMPLES):
        batch = collator([{name: value for name, value in dataset[number].items() if name != "row"}])
        trained = batch["labels"][0] != -100
        assert batch["input_ids"][0][~trained].tolist() == prompt_ids(nano, sample)
        target = nano.processor.tokenizer.decode(batch["input_ids"][0][trained]).removesuffix("\n")
        assert target == prompt.reference_completion(FAMILY, sample) + "<|im_end|>"


def test_grpo_reads_each_history_as_its_own_prompt_and_scores_its_rows_as_alone(
    nano: load.Loaded, tmp_path: Path
) -> None:
    method = GrpoSpec.model_validate(
        {
            "kind": "grpo", "num_generations": GROUP, "prompts_per_step": len(SAMPLES), "max_completion_length": 12,
            "max_steps": 1, "rewards": [{"name": "accuracy"}], "skip_zero_variance_groups": False,
        }
    )  # fmt: skip
    dataset = training_data.as_dataset(rows_of(SAMPLES), FAMILY, phantom.open_image, nano.policy, with_completion=False)
    common = {
        "output_dir": str(tmp_path), "max_steps": 1, "use_cpu": True, "report_to": "none", "bf16": False,
        "per_device_train_batch_size": method.rows_per_step, "gradient_accumulation_steps": 1,
        "gradient_checkpointing": False, "remove_unused_columns": False, "disable_tqdm": True,
    }  # fmt: skip

    def reward(row: list[int], **_: Any) -> list[float | None]:
        return [float(place) for place, _ in enumerate(row)]

    trainer: Any = grpo.build_trainer(method, nano, dataset, [reward], common, Batch(1, len(SAMPLES) * GROUP, False))
    trainer.current_gradient_accumulation_steps = 1
    nano.model.train()
    torch.manual_seed(0)
    batch = trainer._generate_and_score_completions(
        [trainer.train_dataset[number] for number in range(len(SAMPLES)) for _ in range(GROUP)]
    )
    split = row_selection.split_images_by_row(batch, GROUP)
    ids = torch.cat([split["prompt_ids"], split["completion_ids"]], dim=1)
    mask = torch.cat([split["prompt_mask"], split["completion_mask"]], dim=1)
    images = {name: split[name] for name in ("pixel_values", "image_grid_thw", "mm_token_type_ids", "num_images")}
    width = split["completion_ids"].shape[1]
    with torch.no_grad():
        scores = trainer._get_per_token_logps_and_entropies(nano.model, ids, mask, width, **images)[0]
    nano.model.eval()
    for row in range(len(SAMPLES) * GROUP):
        sample = SAMPLES[row // GROUP]
        read = split["prompt_ids"][row][split["prompt_mask"][row].bool()].tolist()
        assert read == prompt_ids(nano, sample)
        completion = split["completion_ids"][row][split["completion_mask"][row].bool()]
        text = chat.render(nano.processor, FAMILY, sample)
        images_of_row = [prepare(phantom.open_image(image), nano.policy) for image in sample.images]
        inputs = nano.processor(text=[text], images=images_of_row or None, return_tensors="pt")
        inputs["input_ids"] = torch.cat([inputs["input_ids"], completion[None]], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if "mm_token_type_ids" in inputs:
            kinds = inputs["mm_token_type_ids"]
            inputs["mm_token_type_ids"] = torch.cat([kinds, torch.zeros_like(completion[None])], dim=1)
        with torch.no_grad():
            logits = nano.model(**inputs).logits[0, len(read) - 1 : -1].float() / method.temperature
        alone = torch.log_softmax(logits, -1).gather(1, completion[:, None])[:, 0]
        torch.testing.assert_close(scores[row, : len(completion)], alone, rtol=1e-3, atol=1e-3)


def test_equal_questions_with_other_histories_are_not_one_prompt(nano: load.Loaded) -> None:
    """Each row of a batch gets the completion that it gets alone."""
    rows = [replace(FIRST, id=str(number), history=sample.history) for number, sample in enumerate(SAMPLES[:4])]
    options: dict[str, Any] = {"max_new_tokens": 12}
    together = {
        completion.sample.id: completion.completion
        for completion in generate.complete(nano, rows, FAMILY, phantom.open_image, **options)
    }
    for sample in rows:
        [alone] = generate.complete(nano, [sample], FAMILY, phantom.open_image, **options)
        assert together[sample.id] == alone.completion


def test_prompts_are_sorted_by_their_length_with_the_history(nano: load.Loaded) -> None:
    rows = [replace(FIRST, history=TURNS * 3), replace(OTHER, question=OTHER.question + " Look again." * 3)]
    order = [sample.id for sample, _ in generate.generate_ids(nano, rows, FAMILY, phantom.open_image, max_new_tokens=1)]
    assert order == [OTHER.id, FIRST.id]
