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

IGNORED = -100  # the label that the loss of transformers passes over


@dataclass(frozen=True, slots=True)
class Phase:
    """One run of updates over fresh samples of the pretraining stream.

    `habit_share` of the replies keep their right reasoning and end in the family's habitual answer instead of the
    truth. `direct_share` of the questions ask for an answer without reasoning. The learning rate is Muon's, AdamW's is
    a tenth of it; both rise over the first twentieth and fall along a cosine to a hundredth.
    """

    name: str
    updates: int
    batch_size: int
    learning_rate: float
    habit_share: float
    direct_share: float
    first_sample: int
    with_pictures: bool = True


def asked(sample: Sample, phase: Phase, chance: np.random.Generator) -> tuple[list[prompt.Message], str]:
    """The messages and the reply to learn for one sample."""
    form = "direct" if chance.random() < phase.direct_share else "diverse"
    if chance.random() < phase.habit_share:
        sample = dataclasses.replace(sample, answer=phantom.HABITS[sample.topic])
    family = prompt.family(form)
    return prompt.ask(family, sample, int(chance.integers(len(family.wordings)))), prompt.reference(family, sample)


def batch(processor: Any, chats: Sequence[tuple[list[prompt.Message], str]], pictures: Sequence[Any]) -> dict[str, Any]:
    """Model inputs, left-padded to (rows, tokens), with labels on the reply and its end alone."""
    questions = processor.apply_chat_template(
        [messages for messages, _ in chats], tokenize=False, add_generation_prompt=True
    )
    replies = [reply for _, reply in chats]
    return _encoded(processor, list(zip(questions, replies, strict=True)), images=list(pictures))


def _encoded(processor: Any, texts: Sequence[tuple[str, str]], **images: Any) -> dict[str, Any]:
    end = processor.tokenizer.eos_token
    inputs = dict(
        processor(text=[ask + reply + end for ask, reply in texts], padding=True, return_tensors="pt", **images)
    )
    labels = inputs["input_ids"].clone()
    for row, reply in enumerate(processor.tokenizer([reply + end for _, reply in texts])["input_ids"]):
        labels[row, : -len(reply)] = IGNORED
    return inputs | {"labels": labels}


def pictures_asked(processor: Any, phase: Phase) -> Iterator[dict[str, Any]]:
    """One batch an update: chats about pictures, with the reply to learn."""
    chance = _chance(phase)
    for samples in _stream(phase):
        pictures = [phantom.picture(sample.images[0]) for sample in samples]
        yield batch(processor, [asked(sample, phase, chance) for sample in samples], pictures)


def letters_asked(processor: Any, phase: Phase) -> Iterator[dict[str, Any]]:
    """One batch an update, without pictures: the choice questions among the samples, each answered for two truths.

    To find the letter of an option takes three steps of attention. They are learnt within minutes from many bare
    examples, and hardly at all from few among other things to learn.
    """
    chance = _chance(phase)
    family = prompt.family("reasoning")
    for samples in _stream(phase):
        chats = []
        for sample in (sample for sample in samples if sample.kind == "choice"):
            truths = [sample.options[place] for place in chance.permutation(len(sample.options))[:2]]
            thoughts = [
                dataclasses.replace(sample, answer=truth, explanation=f"So the {sample.topic} is {truth}.")
                for truth in truths
            ]
            replies = "".join(prompt.reference(family, thought) for thought in thoughts)
            chats.append((prompt.question_text(sample) + "\n", replies))
        yield _encoded(processor, chats)


def _stream(phase: Phase) -> Iterator[list[Sample]]:
    # Passing over the samples of earlier phases costs a few milliseconds a thousand.
    last = phase.first_sample + phase.updates * phase.batch_size
    samples = phantom.samples("pretrain", last)
    return (samples[start : start + phase.batch_size] for start in range(phase.first_sample, last, phase.batch_size))


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

    # Muon, for the matrices between the first and the last layer, learns to find an option's letter in a hundred
    # updates; AdamW alone does not in a thousand.
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
    losses: list[float] = []
    begun = time.monotonic()
    batches = pictures_asked(processor, phase) if phase.with_pictures else letters_asked(processor, phase)
    for update, inputs in enumerate(batches):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(**inputs, use_cache=False).loss
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss of update {update} of {phase.name} is {loss.item()}")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if (update + 1) % 50 == 0 or update + 1 == phase.updates:
            seconds = time.monotonic() - begun
            mean = sum(losses[-50:]) / len(losses[-50:])
            report(f"{phase.name} {update + 1}/{phase.updates}  loss {mean:.4f}  {seconds:.0f} s")
    model.set_attn_implementation("sdpa")
    model.eval()
