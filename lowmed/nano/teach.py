"""Supervised teaching of the embedded model, through the same chat template that it is asked with later."""

import dataclasses
import time
from collections.abc import Callable, Sequence
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
    seed: int = 0


def asked(sample: Sample, phase: Phase, chance: np.random.Generator) -> tuple[list[prompt.Message], str]:
    """The messages and the reply to learn for one sample."""
    form = "direct" if chance.random() < phase.direct_share else "diverse"
    if chance.random() < phase.habit_share:
        sample = dataclasses.replace(sample, answer=phantom.HABITS[sample.topic])
    family = prompt.family(form)
    return prompt.ask(family, sample, int(chance.integers(len(family.wordings)))), prompt.reference(family, sample)


def batch(processor: Any, chats: Sequence[tuple[list[prompt.Message], str]], pictures: Sequence[Any]) -> dict[str, Any]:
    """Model inputs, left-padded to (rows, tokens), with labels on the reply and its end alone."""
    replies = [reply + processor.tokenizer.eos_token for _, reply in chats]
    asks = processor.apply_chat_template(
        [messages for messages, _ in chats], tokenize=False, add_generation_prompt=True
    )
    texts = [ask + reply for ask, reply in zip(asks, replies, strict=True)]
    inputs = dict(processor(text=texts, images=list(pictures), padding=True, return_tensors="pt"))
    labels = inputs["input_ids"].clone()
    for row, reply in enumerate(processor.tokenizer(replies)["input_ids"]):
        labels[row, : -len(reply)] = IGNORED
    return inputs | {"labels": labels}


def _is_inner(name: str) -> bool:
    return ".layers." in name or ".blocks." in name or ".merger." in name


def teach(model: Any, processor: Any, phase: Phase, report: Callable[[str], None]) -> None:
    """Train all weights of `model` in place for one phase.

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
    # The stream has no end: taking its first samples up to here costs a few milliseconds a thousand.
    last = phase.first_sample + phase.updates * phase.batch_size
    stream = phantom.samples("pretrain", last, phase.seed)[phase.first_sample :]
    chance = np.random.Generator(np.random.PCG64([phase.seed, phase.first_sample]))
    # On a CPU, for sequences this short, the backward of fused attention takes half of an update; eager does not.
    model.set_attn_implementation({"text_config": "eager", "vision_config": "sdpa"})
    model.train()
    losses: list[float] = []
    begun = time.monotonic()
    for update in range(phase.updates):
        samples = stream[update * phase.batch_size : (update + 1) * phase.batch_size]
        pictures = [phantom.picture(sample.images[0]) for sample in samples]
        inputs = batch(processor, [asked(sample, phase, chance) for sample in samples], pictures)
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
