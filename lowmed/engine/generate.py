"""Answers from a loaded model, in batches."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from lowmed import prompt
from lowmed.data.images import prepare
from lowmed.engine.load import Loaded
from lowmed.errors import DataError
from lowmed.evaluate.replies import OpenImage, Reply
from lowmed.sample import Sample

BATCH = {"cpu": 128, "cuda": 64}


def replies(
    loaded: Loaded,
    samples: Sequence[Sample],
    family: prompt.Family,
    open_image: OpenImage,
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    copies: int = 1,
) -> Iterator[Reply]:
    """One greedy reply per sample, or `copies` sampled ones at a temperature, the shortest questions first.

    Questions of one length are answered together, so that a batch holds little padding.

    Args:
        loaded: the model.
        samples: what is asked.
        family: how it is asked; always its first wording.
        open_image: opens the samples' image references.
        max_new_tokens: a reply longer than this is cut, `finish_reason` "length".
        temperature: 0 is greedy.
        copies: replies per sample.
    """
    asked = [sample for sample in sorted(samples, key=_length) for _ in range(copies)]
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


def encode(loaded: Loaded, samples: Sequence[Sample], family: prompt.Family, open_image: OpenImage) -> Any:
    """The model inputs of a batch of questions, padded on the left, on the model's device.

    Raises:
        DataError: an image cannot be opened, or did not reach the model.
    """
    texts = [
        loaded.processor.apply_chat_template(prompt.ask(family, sample), add_generation_prompt=True)
        for sample in samples
    ]
    images = [prepare(open_image(reference), loaded.policy) for sample in samples for reference in sample.images]
    inputs = loaded.processor(text=texts, images=images or None, padding=True, return_tensors="pt")
    seen = len(inputs["image_grid_thw"]) if images else 0
    if seen != len(images):
        raise DataError(
            f"{len(images)} images were given and {seen} reached the model",
            samples[0].id,
            "the model's processor is not Qwen2-VL's; use another model",
        )
    return inputs.to(loaded.model.device)


def _length(sample: Sample) -> tuple[int, int]:
    return len(sample.images), len(prompt.question_text(sample))


def _reply(loaded: Loaded, sample: Sample, ids: list[int]) -> Reply:
    end = next((place for place, token in enumerate(ids) if token in loaded.end_ids), None)
    kept = ids if end is None else ids[:end]
    text = loaded.processor.tokenizer.decode(kept, skip_special_tokens=True)
    return Reply(sample, text, len(kept) + (end is not None), "length" if end is None else "stop")
