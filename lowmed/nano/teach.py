"""Supervised training of the embedded model, with the chat template that is used for inference."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowmed import prompt
from lowmed.nano import phantom
from lowmed.sample import Sample

LETTER_SEED, LETTER_POOL = 1, 3000  # of the pretraining stream; only the texts are used
IGNORED = -100  # a label that the loss of transformers ignores


@dataclass(frozen=True, slots=True)
class Phase:
    """A number of steps over new samples of the pretraining stream.

    A step has `batch_size` chats with an image, and `letter_questions` choice questions without chat or image. A share
    `habit_share` of the chats has right reasoning but the most frequent answer of the topic. A share `direct_share` has
    no reasoning. The learning rate is that of Muon; AdamW has a tenth of it. Both rise over the first twentieth of the
    steps, and fall along a cosine to a hundredth.
    """

    name: str
    steps: int
    batch_size: int
    learning_rate: float
    habit_share: float
    direct_share: float
    first_sample: int
    letter_questions: int = 0

    @property
    def end(self) -> int:
        """The index after the last sample of this phase."""
        return self.first_sample + self.steps * self.batch_size


def chat(sample: Sample, phase: Phase, generator: np.random.Generator) -> tuple[list[prompt.Message], str]:
    """The messages and the reference completion for a sample."""
    name = "direct" if generator.random() < phase.direct_share else "diverse"
    if generator.random() < phase.habit_share:
        sample = dataclasses.replace(sample, answer=phantom.HABITS[sample.topic])
    family = prompt.family(name)
    wording = int(generator.integers(len(family.wordings)))
    return prompt.build_messages(family, sample, wording), prompt.reference_completion(family, sample)


def batch(processor: Any, chats: Sequence[tuple[list[prompt.Message], str]], images: Sequence[Any]) -> dict[str, Any]:
    """Model inputs, left-padded to (rows, tokens), with labels on the completion and its end token only."""
    questions = processor.apply_chat_template(
        [messages for messages, _ in chats], tokenize=False, add_generation_prompt=True
    )
    completions = [completion for _, completion in chats]
    return _encode(processor, list(zip(questions, completions, strict=True)), images=list(images))


def _encode(processor: Any, texts: Sequence[tuple[str, str]], **images: Any) -> dict[str, Any]:
    end = processor.tokenizer.eos_token
    inputs = dict(
        processor(
            text=[question + completion + end for question, completion in texts],
            padding=True,
            return_tensors="pt",
            **images,
        )
    )
    labels = inputs["input_ids"].clone()
    for row, completion in enumerate(processor.tokenizer([completion + end for _, completion in texts])["input_ids"]):
        labels[row, : -len(completion)] = IGNORED
    return inputs | {"labels": labels}


def image_batches(processor: Any, phase: Phase) -> Iterator[dict[str, Any]]:
    """One batch for each step: chats with images and their reference completions."""
    generator = _generator(phase)
    for samples in _stream(phase):
        images = [phantom.open_image(sample.images[0]) for sample in samples]
        yield batch(processor, [chat(sample, phase, generator) for sample in samples], images)


def letter_batches(processor: Any, phase: Phase) -> Iterator[dict[str, Any]]:
    """One batch for each step, without images or chat: choice questions, each answered for two of its options.

    Finding the letter of an option takes three steps of attention. They are learned in 200 training steps with these
    examples. With the choice questions in chats only, letters were still at chance after a thousand steps.
    """
    generator = _generator(phase)
    family = prompt.family("reasoning")
    samples = [sample for sample in phantom.samples("pretrain", LETTER_POOL, LETTER_SEED) if sample.kind == "choice"]
    for _ in range(phase.steps):
        texts = []
        for index in generator.integers(len(samples), size=phase.letter_questions):
            sample = samples[index]
            answers = [sample.options[option] for option in generator.permutation(len(sample.options))[:2]]
            variants = [
                dataclasses.replace(sample, answer=answer, explanation=f"So the {sample.topic} is {answer}.")
                for answer in answers
            ]
            completions = "".join(prompt.reference_completion(family, variant) for variant in variants)
            texts.append((prompt.question_text(sample) + "\n", completions))
        yield _encode(processor, texts)


def _stream(phase: Phase) -> Iterator[list[Sample]]:
    # Generating the samples of earlier phases takes a few milliseconds for a thousand.
    samples = phantom.samples("pretrain", phase.end)
    starts = range(phase.first_sample, phase.end, phase.batch_size)
    return (samples[start : start + phase.batch_size] for start in starts)


def _generator(phase: Phase) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(phase.first_sample))


def _is_inner(name: str) -> bool:
    return ".layers." in name or ".blocks." in name or ".merger." in name


def teach(model: Any, processor: Any, phase: Phase, report: Callable[[str], None]) -> None:
    """Train the weights of `model` in place for one phase.

    Raises:
        FloatingPointError: the loss is NaN or infinite.
    """
    import torch

    # With Muon for the matrices between the first and the last layer the loss falls about four times as fast.
    inner = [weight for name, weight in model.named_parameters() if _is_inner(name) and weight.ndim == 2]
    inner_ids = {id(weight) for weight in inner}
    outer = [weight for weight in model.parameters() if id(weight) not in inner_ids]
    optimizers = (
        torch.optim.Muon(inner, lr=phase.learning_rate, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(outer, lr=phase.learning_rate / 10, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    )
    warmup = max(1, phase.steps // 20)

    def factor(step: int) -> float:
        return min((step + 1) / warmup, 0.505 + 0.495 * float(np.cos(np.pi * step / phase.steps)))

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, factor) for optimizer in optimizers]
    # On a CPU with sequences this short, the backward pass of fused attention takes half of a step; eager is faster.
    model.set_attn_implementation({"text_config": "eager", "vision_config": "sdpa"})
    model.train()
    losses: dict[str, list[float]] = {"images": [], "letters": []}
    started = time.monotonic()
    letters = letter_batches(processor, phase) if phase.letter_questions else None
    for step, inputs in enumerate(image_batches(processor, phase)):
        parts = {"images": inputs} | ({"letters": next(letters)} if letters else {})
        for name, part in parts.items():
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(**part, use_cache=False).loss
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss of step {step} of {phase.name} is {loss.item()}")
            loss.backward()
            losses[name].append(loss.item())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 50 == 0 or step + 1 == phase.steps:
            seconds = time.monotonic() - started
            means = "  ".join(f"{name} {sum(losses[name][-50:]) / len(losses[name][-50:]):.4f}" for name in parts)
            report(f"{phase.name} {step + 1}/{phase.steps}  loss of {means}  {seconds:.0f} s")
    model.set_attn_implementation("sdpa")
    model.eval()
