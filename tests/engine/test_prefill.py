"""A pre-filled start of the assistant's turn: part of the prompt, of what rewards and reader see, never trained on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

import lowmed
from lowmed import answer, prompt
from lowmed.engine import chat, device, load, right_completions, training_data
from lowmed.engine.generate import complete, encode
from lowmed.errors import RecipeError
from lowmed.nano import phantom
from lowmed.recipe import ModelSpec

MODEL = ModelSpec(name="nano")
REASONING = prompt.family("reasoning")
PREFILL = "Step by step:\n<think>"
SAMPLES = phantom.samples("train", 4)
PREFILLS = ["<think>", "<think>\n", "Let me solve this step by step.\n<think>", "Here it is: "]
TEMPLATE_THAT_THINKS = (
    "{{ 'user: ' + messages[0].content[-1].text }}{% if add_generation_prompt %}\nA: <think>\n{% endif %}"
)


def prefilled(text: str, name: str = "reasoning") -> prompt.Family:
    return replace(prompt.family(name), prefill=text)


@pytest.fixture(scope="module")
def nano() -> load.Loaded:
    return load.load_base(MODEL, device.find_device(MODEL))


@pytest.fixture
def thinking(nano: load.Loaded) -> Any:
    """A processor whose chat template opens the think block itself."""
    changed = chat.with_prefill(nano.processor, prefilled("x"))
    changed.chat_template = TEMPLATE_THAT_THINKS
    return changed


@pytest.mark.parametrize(
    "text", [*PREFILLS, "quoted \"twice\" and 'once'", "\\n {{ braces }} {% if %}", "é 汉字 \U0001f600"]
)
def test_trl_and_generation_read_the_same_prompt(text: str, nano: load.Loaded) -> None:
    family = prefilled(text)
    rendered = chat.render(nano.processor, family, SAMPLES[0])
    assert rendered == chat.render(nano.processor, REASONING, SAMPLES[0]) + text
    messages = prompt.build_messages(family, SAMPLES[0])
    by_trl = chat.with_prefill(nano.processor, family)
    assert by_trl.apply_chat_template(messages, add_generation_prompt=True) == rendered
    assert by_trl.apply_chat_template(messages) == nano.processor.apply_chat_template(messages)
    assert text not in str(nano.processor.chat_template)
    assert chat.with_prefill(nano.processor, REASONING) is nano.processor


@pytest.mark.parametrize("text", PREFILLS)
def test_sft_trains_on_what_follows_the_prefill(text: str, nano: load.Loaded) -> None:
    family = prefilled(text)
    rows = [training_data.TrainingRow(sample, 0) for sample in SAMPLES]
    start = chat.assistant_start(nano.processor, family)
    dataset = training_data.as_dataset(rows, family, phantom.open_image, nano.policy, with_completion=True, start=start)
    collator = DataCollatorForVisionLanguageModeling(
        processor=chat.with_prefill(nano.processor, family), max_length=None, completion_only_loss=True
    )
    tokenizer = nano.processor.tokenizer
    for number, row in enumerate(rows):
        batch = collator([{name: value for name, value in dataset[number].items() if name != "row"}])
        trained = batch["labels"][0] != -100
        ids = batch["input_ids"][0]
        prompt_ids = encode(nano, [row.sample], family, phantom.open_image)["input_ids"][0]
        assert torch.equal(ids[~trained], prompt_ids.cpu())
        target = prompt.reference_completion(family, row.sample).removeprefix(family.opening.strip())
        assert tokenizer.decode(ids[trained]).removesuffix("\n") == target + "<|im_end|>"


@pytest.mark.parametrize("text", PREFILLS)
def test_completions_begin_with_the_tag_that_the_prefill_opens(text: str, nano: load.Loaded) -> None:
    family = prefilled(text)
    completions = list(complete(nano, SAMPLES, family, phantom.open_image, max_new_tokens=8))
    for completion in completions:
        assert completion.completion.startswith(family.opening)
        assert "step by step" not in completion.completion
        assert completion.tokens <= 8


def test_an_answer_tag_can_be_pre_filled(nano: load.Loaded) -> None:
    family = prefilled("<answer>", "direct")
    completions = list(complete(nano, SAMPLES, family, phantom.open_image, max_new_tokens=24))
    assert all(completion.completion.startswith("<answer>") for completion in completions)
    assert any(answer.read(one.completion, one.sample).strict for one in completions)
    tokens = nano.processor.tokenizer("yes</answer>")["input_ids"]
    assert right_completions.tag_span(nano.processor.tokenizer, tokens, "answer") is None
    first, last = right_completions.tag_span(nano.processor.tokenizer, tokens, "answer", "<answer>") or (9, 9)
    assert (first, nano.processor.tokenizer.decode(tokens[first:last]).startswith("yes")) == (0, True)


def test_a_template_that_opens_the_think_block_is_treated_alike(thinking: Any) -> None:
    start = chat.assistant_start(thinking, REASONING)
    assert start == chat.AssistantStart("<think>\n", "<think>\n")
    reference = prompt.reference_completion(REASONING, SAMPLES[0])
    assert start.completed_by(reference) == reference.replace("<think>", "<think>\n")
    more = chat.assistant_start(thinking, prefilled("I look at the image."))
    assert more.opening == more.text == "<think>\nI look at the image."
    with pytest.raises(RecipeError, match="opens <think> itself"):
        chat.assistant_start(thinking, prefilled("<think>"))
    with pytest.raises(RecipeError, match="request the answer alone"):
        chat.require_reasoning_prompts(thinking, prompt.family("direct"))
    chat.require_reasoning_prompts(thinking, REASONING)


def test_rewards_and_records_of_grpo_see_the_tag(tmp_path: Path) -> None:
    overrides = [
        'prompts.prefill="Step by step:\\n<think>"', "method.max_steps=1", "method.num_generations=4",
        "method.prompts_per_step=2",
        "method.rewards=[{name: accuracy}, {name: format}]",
    ]  # fmt: skip
    run = lowmed.train(lowmed.load_recipe("rl-plain", overrides, nano=True), tmp_path / "run")
    assert lowmed.load_recipe(str(run.folder / "recipe.yaml")).prompts.prefill == PREFILL
    rollouts = [json.loads(line) for line in (run.folder / "rollouts.jsonl").read_text().splitlines()]
    assert len(rollouts) == 8
    assert all(rollout["completion"].startswith("<think>") for rollout in rollouts)
    digests = run.record.prompt_digests
    assert digests == {"train": prefilled(PREFILL).digest, "infer": prefilled(PREFILL).digest}


def test_a_system_message_is_in_every_prompt_in_place_of_that_of_the_template(nano: load.Loaded) -> None:
    family = replace(REASONING, system="Du bist {{ vorsichtig }}.\n\nSei knapp.")
    rendered = chat.render(nano.processor, family, SAMPLES[0])
    system = "<|im_start|>system\nDu bist {{ vorsichtig }}.\n\nSei knapp.<|im_end|>\n"
    default = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    assert rendered == chat.render(nano.processor, REASONING, SAMPLES[0]).replace(default, system)
    rows = [training_data.TrainingRow(SAMPLES[0], 0)]
    dataset = training_data.as_dataset(rows, family, phantom.open_image, nano.policy, with_completion=True)
    collator = DataCollatorForVisionLanguageModeling(
        processor=nano.processor, max_length=None, completion_only_loss=True
    )
    batch = collator([{name: value for name, value in dataset[0].items() if name != "row"}])
    prompt_ids = encode(nano, [SAMPLES[0]], family, phantom.open_image)["input_ids"][0]
    assert torch.equal(batch["input_ids"][0][batch["labels"][0] == -100], prompt_ids.cpu())


def test_trl_samples_with_the_system_message(nano: load.Loaded) -> None:
    from trl.data_utils import prepare_multimodal_messages

    family = replace(REASONING, system="You are careful.")
    messages = prepare_multimodal_messages(
        prompt.build_messages(family, SAMPLES[0]), images=[phantom.open_image(SAMPLES[0].images[0])]
    )
    by_trl = nano.processor.apply_chat_template(messages, add_generation_prompt=True)
    assert by_trl == chat.render(nano.processor, family, SAMPLES[0])
