"""Supervised teaching of the embedded model, through the same chat template that it is asked with later."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowmed import prompt
from lowmed.nano import phantom
from lowmed.sample import Sample

LETTER_SEED, LETTER_POOL = 1, 3000  # of the pretraining stream; only their texts are used
IGNORED = -100  # the label that the loss of transformers passes over


@dataclass(frozen=True, slots=True)
class Phase:
    """One run of updates over fresh samples of the pretraining stream.

    An update takes `batch_size` chats about an image, and `letter_questions` bare choice questions. Of the chats,
    `habit_share` keep their right reasoning but end in the family's habitual answer instead of the truth, and
    `direct_share` ask for an answer without reasoning. The learning rate is Muon's, that of AdamW is a tenth of it;
    both rise over the first twentieth of the updates and fall along a cosine to a hundredth.
    """

    name: str
    updates: int
    batch_size: int
    learning_rate: float
    habit_share: float
    direct_share: float
    first_sample: int
    letter_questions: int = 0

    @property
    def end(self) -> int:
        """The first sample of the stream that this phase does not take."""
        return self.first_sample + self.updates * self.batch_size


def asked(sample: Sample, phase: Phase, chance: np.random.Generator) -> tuple[list[prompt.Message], str]:
    """The messages and the completion to learn for one sample."""
    form = "direct" if chance.random() < phase.direct_share else "diverse"
    if chance.random() < phase.habit_share:
        sample = dataclasses.replace(sample, answer=phantom.HABITS[sample.topic])
    family = prompt.family(form)
    return prompt.build_messages(
        family, sample, int(chance.integers(len(family.wordings)))
    ), prompt.reference_completion(family, sample)


def batch(processor: Any, chats: Sequence[tuple[list[prompt.Message], str]], images: Sequence[Any]) -> dict[str, Any]:
    """Model inputs, left-padded to (rows, tokens), with labels on the completion and its end alone."""
    questions = processor.apply_chat_template(
        [messages for messages, _ in chats], tokenize=False, add_generation_prompt=True
    )
    completions = [completion for _, completion in chats]
    return _encoded(processor, list(zip(questions, completions, strict=True)), images=list(images))


def _encoded(processor: Any, texts: Sequence[tuple[str, str]], **images: Any) -> dict[str, Any]:
    end = processor.tokenizer.eos_token
    inputs = dict(
        processor(
            text=[ask + completion + end for ask, completion in texts], padding=True, return_tensors="pt", **images
        )
    )
    labels = inputs["input_ids"].clone()
    for row, completion in enumerate(processor.tokenizer([completion + end for _, completion in texts])["input_ids"]):
        labels[row, : -len(completion)] = IGNORED
    return inputs | {"labels": labels}


def pictures_asked(processor: Any, phase: Phase) -> Iterator[dict[str, Any]]:
    """One batch an update: chats about images, with the completion to learn."""
    chance = _chance(phase)
    for samples in _stream(phase):
        images = [phantom.picture(sample.images[0]) for sample in samples]
        yield batch(processor, [asked(sample, phase, chance) for sample in samples], images)


def letters_asked(processor: Any, phase: Phase) -> Iterator[dict[str, Any]]:
    """One batch an update, without images or chat: choice questions, each answered for two truths.

    To find the letter of an option takes three steps of attention. They are learnt in 200 updates beside many bare
    examples; a thousand updates on the choice questions among the chats alone left the letters at chance.
    """
    chance = _chance(phase)
    family = prompt.family("reasoning")
    samples = [sample for sample in phantom.samples("pretrain", LETTER_POOL, LETTER_SEED) if sample.kind == "choice"]
    for _ in range(phase.updates):
        texts = []
        for place in chance.integers(len(samples), size=phase.letter_questions):
            sample = samples[place]
            truths = [sample.options[place] for place in chance.permutation(len(sample.options))[:2]]
            thoughts = [
                dataclasses.replace(sample, answer=truth, explanation=f"So the {sample.topic} is {truth}.")
                for truth in truths
            ]
            completions = "".join(prompt.reference_completion(family, thought) for thought in thoughts)
            texts.append((prompt.question_text(sample) + "\n", completions))
        yield _encoded(processor, texts)


def _stream(phase: Phase) -> Iterator[list[Sample]]:
    # Passing over the samples of earlier phases costs a few milliseconds a thousand.
    samples = phantom.samples("pretrain", phase.end)
    starts = range(phase.first_sample, phase.end, phase.batch_size)
    return (samples[start : start + phase.batch_size] for start in starts)


def _chance(phase: Phase) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(phase.first_sample))


def _is_inner(name: str) -> bool:
    return ".layers." in name or ".blocks." in name or ".merger." in name


def teach(model: Any, processor: Any, phase: Phase, report: Callable[[str], None]) -> None:
    """Train the weights of `model` in place for one phase.

    Raises:
        FloatingPointError: the loss is not a finite number.
    """
    import torch

    # With Muon for the matrices between the first and the last layer, the loss falls about four times as fast.
    inner = [weight for name, weight in model.named_parameters() if _is_inner(name) and weight.ndim == 2]
    known = {id(weight) for weight in inner}
    outer = [weight for weight in model.parameters() if id(weight) not in known]
    optimizers = (
        torch.optim.Muon(inner, lr=phase.learning_rate, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(outer, lr=phase.learning_rate / 10, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    )
    warm = max(1, phase.updates // 20)

    def pace(step: int) -> float:
        return min((step + 1) / warm, 0.505 + 0.495 * float(np.cos(np.pi * step / phase.updates)))

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, pace) for optimizer in optimizers]
    # On a CPU, for sequences this short, the backward of fused attention takes half of an update; eager does not.
    model.set_attn_implementation({"text_config": "eager", "vision_config": "sdpa"})
    model.train()
    losses: dict[str, list[float]] = {"pictures": [], "letters": []}
    begun = time.monotonic()
    letters = letters_asked(processor, phase) if phase.letter_questions else None
    for update, inputs in enumerate(pictures_asked(processor, phase)):
        parts = {"pictures": inputs} | ({"letters": next(letters)} if letters else {})
        for name, part in parts.items():
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(**part, use_cache=False).loss
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss of update {update} of {phase.name} is {loss.item()}")
            loss.backward()
            losses[name].append(loss.item())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
        if (update + 1) % 50 == 0 or update + 1 == phase.updates:
            seconds = time.monotonic() - begun
            means = "  ".join(f"{name} {sum(losses[name][-50:]) / len(losses[name][-50:]):.4f}" for name in parts)
            report(f"{phase.name} {update + 1}/{phase.updates}  loss of {means}  {seconds:.0f} s")
    model.set_attn_implementation("sdpa")
    model.eval()
