"""Answers from a loaded model, in batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from lowmed import prompt
from lowmed.data.images import prepare
from lowmed.engine.load import Loaded
from lowmed.sample import Sample

BATCH = {"cpu": 64, "cuda": 64}


@dataclass(frozen=True)
class Reply:
    """What the model said to one sample."""

    sample: Sample
    completion: str
    tokens: int
    finish_reason: str


def replies(
    loaded: Loaded,
    samples: Sequence[Sample],
    family: prompt.Family,
    open_image: Callable[[str], Image.Image],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    copies: int = 1,
) -> Iterator[Reply]:
    """One greedy reply per sample, or `copies` sampled ones at a temperature, in the samples' order.

    Args:
        loaded: the model.
        samples: what is asked.
        family: how it is asked; always its first wording.
        open_image: opens the samples' image references.
        max_new_tokens: a reply longer than this is cut, `finish_reason` "length".
        temperature: 0 is greedy.
        copies: replies per sample.
    """
    asked = [sample for sample in samples for _ in range(copies)]
    loaded.model.eval()
    for start in range(0, len(asked), BATCH[loaded.machine.device]):
        batch = asked[start : start + BATCH[loaded.machine.device]]
        inputs = encode(loaded, batch, family, open_image)
        sampling: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            sampling = {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
        with torch.inference_mode():
            output = loaded.model.generate(
                **inputs, max_new_tokens=max_new_tokens, suppress_tokens=loaded.suppressed, **sampling
            )
        for sample, ids in zip(batch, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            yield _reply(loaded, sample, ids)


def encode(
    loaded: Loaded, samples: Sequence[Sample], family: prompt.Family, open_image: Callable[[str], Image.Image]
) -> Any:
    """The model inputs of a batch of questions, padded on the left, on the model's device."""
    texts = [
        loaded.processor.apply_chat_template(prompt.ask(family, sample), add_generation_prompt=True)
        for sample in samples
    ]
    images = [prepare(open_image(reference), loaded.policy) for sample in samples for reference in sample.images]
    inputs = loaded.processor(text=texts, images=images or None, padding=True, return_tensors="pt")
    return inputs.to(loaded.model.device)


def _reply(loaded: Loaded, sample: Sample, ids: list[int]) -> Reply:
    end = next((place for place, token in enumerate(ids) if token in loaded.end_ids), None)
    kept = ids if end is None else ids[:end]
    text = loaded.processor.tokenizer.decode(kept, skip_special_tokens=True)
    return Reply(sample, text, len(kept) + (end is not None), "length" if end is None else "stop")
