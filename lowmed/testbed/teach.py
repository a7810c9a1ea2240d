"""Supervised training of the testbed's base models: captions first, then questions with the prompts of recipes."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowmed import prompt
from lowmed.sample import Sample
from lowmed.testbed.optimize import optimizers_of, step_all
from lowmed.testbed.questions import RULE, TOPICS
from lowmed.testbed.samples import item_of, sample_of
from lowmed.testbed.scene import Scene
from lowmed.testbed.tower import IGNORED, IMAGE_TOKENS, image_inputs, linear_patches

PLACEHOLDER = "<|image_pad|>"
CAPTION_PROMPT = "Describe the image."
# Shares of the prompt families in training. The published ones are a small part: enough to know their forms.
FAMILIES: Mapping[str, float] = {
    "diverse": 0.66, "direct": 0.12, "nothink": 0.02, "medvlm-r1": 0.04, "med-r1-think": 0.03, "med-r1-eval": 0.03,
    "med-r1-nothink": 0.02, "med-r1-nothink-eval": 0.02, "medbridge": 0.03, "medbridge-eval": 0.01,
    "medvlthinker": 0.02,
}  # fmt: skip
LETTERS = 24  # texts of a step that only teach the letters of options
LETTER_POOL = 3000
Chat = tuple[list[prompt.Message], str]


@dataclass(frozen=True, slots=True)
class Phase:
    """A number of steps over new samples of the pretraining stream.

    Attributes:
        name: its name in reports.
        steps: training steps.
        rows: chats of a step.
        captions: how many of them are captions instead of questions.
        learning_rate: that of Muon; AdamW has a tenth of it.
        seed: of the samples, so that phases share none.
        most_steps: topics with more steps of reasoning are left out.
        habit_share: share of chats with right reasoning but the first answer of the topic.
    """

    name: str
    steps: int
    rows: int
    captions: int
    learning_rate: float
    seed: int
    most_steps: int = 3
    habit_share: float = 0.0


def caption(scene: Scene) -> str:
    """All findings of an image with all their attributes."""
    listed = "; ".join(
        f"{finding.quadrant} {finding.shape} {finding.density} {finding.margin} {finding.millimeters} mm"
        for finding in scene.findings
    )
    return f"{scene.modality}: {listed}."


def caption_chat(sample: Sample) -> Chat:
    """The request for a caption of the last image, and the caption."""
    content = [{"type": "image"}, {"type": "text", "text": CAPTION_PROMPT}]
    message: prompt.Message = {"role": "user", "content": content}
    return [message], caption(item_of(sample.id).scene)


def chat(sample: Sample, phase: Phase, generator: np.random.Generator) -> Chat:
    """The messages of a random prompt family, and the reference completion."""
    names, shares = list(FAMILIES), np.array(list(FAMILIES.values()))
    family = prompt.family(names[int(generator.choice(len(names), p=shares / shares.sum()))])
    if generator.random() < phase.habit_share:
        sample = dataclasses.replace(sample, answer=TOPICS[sample.topic].answers[0])
    wording = int(generator.integers(len(family.wordings)))
    return prompt.build_messages(family, sample, wording), prompt.reference_completion(family, sample)


def _samples(phase: Phase) -> Iterator[Sample]:
    index = 0
    while True:
        sample = sample_of(f"testbed/pretrain/{phase.seed}/{index}")
        index += 1
        if TOPICS[sample.topic].steps <= phase.most_steps:
            yield sample


def batches(processor: Any, phase: Phase) -> Iterator[dict[str, dict[str, Any]]]:
    """The parts of each step, by name: chats with images, and for questions also texts that teach letters."""
    generator = np.random.Generator(np.random.PCG64(phase.seed))
    samples = _samples(phase)
    pool = [sample for _, sample in zip(range(LETTER_POOL), _samples(phase), strict=False) if sample.kind == "choice"]
    for _ in range(phase.steps):
        rows = [next(samples) for _ in range(phase.rows)]
        letters = [_letter_text(pool[int(index)], generator) for index in generator.integers(len(pool), size=LETTERS)]
        captioned, others = rows[: phase.captions], rows[phase.captions :]
        parts = {"letters": _encode(processor, letters)}
        if captioned:
            chats = [caption_chat(sample) for sample in captioned]
            parts["captions"] = _chats(processor, chats, [sample.images[-1] for sample in captioned])
        if others:
            chats = [chat(sample, phase, generator) for sample in others]
            parts["questions"] = _chats(processor, chats, [image for sample in others for image in sample.images])
        yield parts


def _letter_text(sample: Sample, generator: np.random.Generator) -> tuple[str, str]:
    """A choice question without chat or image, answered for two of its options.

    Finding the letter of an option takes three steps of attention, which chats alone do not teach.
    """
    family = prompt.family("reasoning")
    short = dataclasses.replace(sample, question=sample.question.removeprefix(RULE).strip())
    answers = [sample.options[int(option)] for option in generator.permutation(len(sample.options))[:2]]
    variants = [
        dataclasses.replace(short, answer=answer, explanation=f"The {sample.topic} is {answer}.") for answer in answers
    ]
    completions = "".join(prompt.reference_completion(family, variant) for variant in variants)
    return prompt.question_text(short) + "\n", completions


def _chats(processor: Any, chats: Sequence[Chat], references: Sequence[str]) -> dict[str, Any]:
    messages = [prompts for prompts, _ in chats]
    starts = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    texts = list(zip(starts, (completion for _, completion in chats), strict=True))
    inputs = _encode(processor, texts)
    is_image = inputs["input_ids"] == processor.tokenizer.convert_tokens_to_ids(PLACEHOLDER)
    return inputs | image_inputs(processor, references) | {"mm_token_type_ids": is_image.int()}


def _encode(processor: Any, texts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Model inputs, left-padded to (rows, tokens), with labels on the completion and its end token only."""
    end = processor.tokenizer.eos_token
    complete = [
        (start + completion + end).replace(PLACEHOLDER, PLACEHOLDER * IMAGE_TOKENS) for start, completion in texts
    ]
    inputs = dict(processor.tokenizer(complete, padding=True, return_tensors="pt"))
    labels = inputs["input_ids"].clone()
    for row, completion in enumerate(processor.tokenizer([completion + end for _, completion in texts])["input_ids"]):
        labels[row, : -len(completion)] = IGNORED
    return inputs | {"labels": labels}


def teach(model: Any, processor: Any, phase: Phase, report: Callable[[str], None]) -> None:
    """Train the language model of `model` in place for one phase. The vision tower is frozen.

    Training the tower too loses what its own training taught: after 300 steps it names margins at chance.

    Raises:
        FloatingPointError: the loss is NaN or infinite.
    """
    import torch

    model.model.visual.requires_grad_(requires_grad=False)
    optimizers = optimizers_of([model], phase.learning_rate, phase.steps)
    # On a CPU with sequences this short, the backward pass of fused attention takes half of a step; eager is faster.
    model.set_attn_implementation({"text_config": "eager", "vision_config": "sdpa"})
    model.train()
    losses: dict[str, list[float]] = {}
    started = time.monotonic()
    with linear_patches(model.model.visual):
        for step, parts in enumerate(batches(processor, phase)):
            for name, inputs in parts.items():
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = model(**inputs, use_cache=False).loss
                if not torch.isfinite(loss):
                    raise FloatingPointError(f"the loss of step {step} of {phase.name} is {loss.item()}")
                loss.backward()
                losses.setdefault(name, []).append(loss.item())
            step_all(optimizers, [weight for weight in model.parameters() if weight.requires_grad])
            if (step + 1) % 50 == 0 or step + 1 == phase.steps:
                means = "  ".join(f"{name} {np.mean(values[-50:]):.4f}" for name, values in losses.items())
                report(f"{phase.name} {step + 1}/{phase.steps}  loss of {means}  {time.monotonic() - started:.0f} s")
    model.set_attn_implementation("sdpa")
    model.eval()
