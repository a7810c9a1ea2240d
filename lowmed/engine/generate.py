"""Answers from a loaded model, in batches."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from lowmed import prompt
from lowmed.data.image.policy import prepare
from lowmed.engine.load import Loaded
from lowmed.engine.prefix import decode
from lowmed.engine.prefix import sampling as prefill
from lowmed.errors import DataError
from lowmed.evaluate.answerer import Completion, OpenImage
from lowmed.plan import architecture
from lowmed.plan.batch import eval_batch_size
from lowmed.recipe import ModelSpec
from lowmed.sample import Sample


def complete(
    loaded: Loaded,
    samples: Sequence[Sample],
    family: prompt.Family,
    open_image: OpenImage,
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    copies: int = 1,
) -> Iterator[Completion]:
    """One greedy completion per sample, or `copies` sampled ones at a temperature, the shortest questions first.

    Questions of one length are answered together, so that a batch holds little padding; the model reads a question
    once, however many copies of it are asked for.

    Args:
        loaded: the model.
        samples: what is asked.
        family: how it is asked; always its first wording.
        open_image: opens the samples' image references.
        max_new_tokens: a completion longer than this is cut, `finish_reason` "length".
        temperature: 0 is greedy.
        copies: completions per sample.

    Raises:
        DataError: an image cannot be opened, or did not reach the model.
        SetupError: the model computes no numbers.
    """
    asked = [sample for sample in sorted(samples, key=_length) for _ in range(copies)]
    sampling = prefill.Sampling(max_new_tokens, temperature, loaded.suppressed, loaded.end_ids)
    loaded.model.eval()
    rows = _together(loaded, max_new_tokens)
    for start in range(0, len(asked), rows):
        batch = asked[start : start + rows]
        if loaded.backend == "unsloth" or not decode.supports(prefill.unwrapped(loaded.model)):
            result = _by_generate(loaded, encode(loaded, batch, family, open_image), sampling)
        else:
            firsts, owners = prefill.deduplicate([(prompt.question_text(sample), sample.images) for sample in batch])
            inputs = encode(loaded, [batch[place] for place in firsts], family, open_image)
            result = prefill.generate(loaded.model, inputs, owners, sampling)
        for sample, ids in zip(batch, result, strict=True):
            yield _reply(loaded, sample, ids)


def encode(loaded: Loaded, samples: Sequence[Sample], family: prompt.Family, open_image: OpenImage) -> Any:
    """The model inputs of a batch of questions, padded on the left, on the model's device.

    Raises:
        DataError: an image cannot be opened, or did not reach the model.
    """
    texts = [
        loaded.processor.apply_chat_template(prompt.build_messages(family, sample), add_generation_prompt=True)
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


def _by_generate(loaded: Loaded, inputs: Any, sampling: prefill.Sampling) -> list[list[int]]:
    """Completions by the model's own `generate`: where unsloth has replaced it with the layers, and for unknown models."""
    how: dict[str, Any] = {"do_sample": False}
    if sampling.temperature > 0:
        how = {"do_sample": True, "temperature": sampling.temperature, "top_p": 1.0, "top_k": 0}
    with torch.no_grad():
        output = loaded.model.generate(
            **inputs, max_new_tokens=sampling.max_new_tokens, suppress_tokens=sampling.suppressed, **how
        )
    return [
        prefill.truncate_at_end(ids, sampling.end_ids) for ids in output[:, inputs["input_ids"].shape[1] :].tolist()
    ]


def _together(loaded: Loaded, max_new_tokens: int) -> int:
    """Questions that are asked at once: as many as the planner finds room for."""
    here = loaded.machine
    four_bit = getattr(loaded.model, "is_loaded_in_4bit", False)
    spec = ModelSpec(load_in="4bit" if four_bit else "16bit", max_image_tokens=loaded.policy.max_image_tokens)
    sizes = architecture.from_config(loaded.model.config.to_dict())
    return eval_batch_size(spec, sizes, max_new_tokens, here.memory_gib, card=here.card, precision=here.precision)


def _length(sample: Sample) -> tuple[int, int]:
    return len(sample.images), len(prompt.question_text(sample))


def _reply(loaded: Loaded, sample: Sample, ids: list[int]) -> Completion:
    ended = ids[-1] in loaded.end_ids
    text = loaded.processor.tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=True)
    return Completion(sample, text, len(ids), "stop" if ended else "length")
