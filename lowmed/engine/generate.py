"""Completions from a loaded model, in batches."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from lowmed import architectures, prompt
from lowmed.data.image.policy import image_tokens, prepare
from lowmed.engine import chat, contrastive
from lowmed.engine.load import Loaded
from lowmed.engine.prefix import decode, sampling
from lowmed.engine.prefix.decoder import Decoder
from lowmed.engine.processor import count_image_tokens
from lowmed.errors import DataError, first_line
from lowmed.evaluation.answerer import Completion, OpenImage
from lowmed.models import require_readable
from lowmed.plan.batch import eval_batch_size
from lowmed.plan.sequence_lengths import CHARACTERS_PER_TOKEN
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
    contrast: OpenImage | None = None,
    before_token: Callable[[], None] = lambda: None,
) -> Iterator[Completion]:
    """One greedy completion for each sample, or `copies` sampled ones, as text; arguments as of `generate_ids`."""
    opening = chat.assistant_start(loaded.processor, family).opening
    options: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "copies": copies}
    options |= {"contrast": contrast, "before_token": before_token}
    for sample, ids in generate_ids(loaded, samples, family, open_image, **options):
        yield as_completion(loaded, sample, ids, opening)


def generate_ids(
    loaded: Loaded,
    samples: Sequence[Sample],
    family: prompt.Family,
    open_image: OpenImage,
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    copies: int = 1,
    batch_size: int | None = None,
    contrast: OpenImage | None = None,
    before_token: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Sample, list[int]]]:
    """One greedy completion for each sample, or `copies` sampled ones. Samples are sorted by length, shortest first.

    Prompts of similar length share a batch, which saves padding. The model reads each prompt once for all copies. The
    model is left in evaluation mode.

    Args:
        loaded: the model.
        samples: the questions.
        family: prompt family; its first wording is used.
        open_image: opens the samples' image references.
        max_new_tokens: a longer completion is truncated, with `finish_reason` "length".
        temperature: 0 is greedy.
        copies: completions for each sample.
        batch_size: completions in one batch; None for as many as fit next to the model alone.
        contrast: opens gray images of the same sizes, against which each completion is decoded (`contrastive.py`).
        before_token: called before each token, except with `contrast`; an error that it raises ends the completions.

    Raises:
        DataError: an image cannot be opened, or is missing in the model's input.
        RecipeError: chat template and prompt family both open a tag.
        SetupError: the model produces NaN or infinite logits.
    """
    rows = [sample for sample in sorted(samples, key=_length) for _ in range(copies)]
    decoder = Decoder(loaded.uses_cuda_graphs, keeps_cache=loaded.uses_cuda_graphs)
    options = sampling.Sampling(
        max_new_tokens, temperature, loaded.suppressed, loaded.end_ids, decoder, before_token=before_token
    )
    loaded.model.eval()
    history = max((sample.history_characters for sample in samples), default=0)
    size = batch_size or _batch_size(loaded, max_new_tokens, history)
    if contrast:
        size = max(1, size // 2)
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        if contrast:
            own, others = (encode(loaded, batch, family, opener) for opener in (open_image, contrast))
            pairs = {name: torch.cat([own[name], others[name]]) for name in own}
            completions = contrastive.generate(loaded, pairs, max_new_tokens)
        elif loaded.backend == "unsloth" or not decode.supports(sampling.unwrapped(loaded.model)):
            completions = _generate_with_transformers(loaded, encode(loaded, batch, family, open_image), options)
        else:
            keys = [(prompt.question_text(sample), sample.images, sample.history) for sample in batch]
            first_rows, prompt_of_row = sampling.deduplicate(keys)
            inputs = encode(loaded, [batch[row] for row in first_rows], family, open_image)
            completions = sampling.generate(loaded.model, inputs, prompt_of_row, options)
        yield from zip(batch, completions, strict=True)


def encode(loaded: Loaded, samples: Sequence[Sample], family: prompt.Family, open_image: OpenImage) -> Any:
    """The model inputs of a batch of questions, padded on the left, on the model's device.

    Pixels stay in main memory if the model has a vision cache.

    Args:
        loaded: the model.
        samples: the questions.
        family: prompt family; its first wording is used.
        open_image: opens the samples' image references.

    Raises:
        DataError: an image cannot be opened, or is missing in the model's input.
    """
    require_readable(loaded.family, samples, "model.name")
    texts = [chat.render(loaded.processor, family, sample) for sample in samples]
    if loaded.family.text_only:
        # The chat template has written the special tokens at the start.
        encoded_texts = loaded.tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")
        return encoded_texts.to(loaded.model.device)
    images = [[prepare(open_image(reference), loaded.policy) for reference in one.images] for one in samples]
    flat = [image for some in images for image in some]
    nested = images if loaded.family.fixed_size else flat
    expected = sum(image_tokens(*image.size, loaded.policy) for image in flat)
    have = f"the samples have {len(flat)} images of {expected} tokens"
    fix = f"the processor does not fit a {loaded.family.title} model; use another model"
    try:
        inputs = loaded.processor(text=texts, images=nested if flat else None, padding=True, return_tensors="pt")
    except ValueError as error:  # later versions of transformers count the images in the text
        raise DataError(f"{have}, the processor refuses them: {first_line(error)[:200]}", samples[0].id, fix) from error
    tokens = count_image_tokens(loaded.processor, loaded.family, inputs["input_ids"].tolist())
    encoded = len(inputs.get("image_grid_thw", flat))
    if (tokens, encoded) != (expected, len(flat)):
        raise DataError(f"{have}, the model's input has {encoded} of {tokens}", samples[0].id, fix)
    pixels = inputs.pop("pixel_values") if loaded.vision_cache and flat else None  # they stay in main memory
    inputs = inputs.to(loaded.model.device)
    if pixels is not None:
        inputs["pixel_values"] = pixels
    return inputs


def _generate_with_transformers(loaded: Loaded, inputs: Any, options: sampling.Sampling) -> list[list[int]]:
    """Completions by the model's `generate`: for unsloth, which replaces it and the layers, and for other families."""
    decoding: dict[str, Any] = {"do_sample": False}
    if options.temperature > 0:
        decoding = {"do_sample": True, "temperature": options.temperature, "top_p": 1.0, "top_k": 0}

    def goes_on(ids: torch.Tensor, _scores: torch.Tensor, **_: Any) -> torch.Tensor:
        options.before_token()
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    with torch.no_grad():
        output = loaded.model.generate(
            **inputs,
            max_new_tokens=options.max_new_tokens,
            suppress_tokens=options.suppressed,
            stopping_criteria=[goes_on],
            **decoding,
        )
    prompt_length = inputs["input_ids"].shape[1]
    return [sampling.truncate_at_end(ids, options.end_ids) for ids in output[:, prompt_length:].tolist()]


def _batch_size(loaded: Loaded, max_new_tokens: int, history_characters: int) -> int:
    """Completions in one batch, as many as fit the memory by the planner's estimate.

    The planner supports no histories. Where they make rows longer, a batch has fewer, and as many tokens.
    """
    used = loaded.device
    four_bit = getattr(loaded.model, "is_loaded_in_4bit", False)
    spec = ModelSpec(load_in="4bit" if four_bit else "16bit", max_image_tokens=loaded.policy.max_image_tokens)
    sizes = architectures.from_config(loaded.model.config.to_dict())
    rows = eval_batch_size(spec, sizes, max_new_tokens, used.memory_gib, card=used.card, precision=used.precision)
    tokens = spec.max_image_tokens + max_new_tokens
    return max(1, rows * tokens // (tokens + history_characters // CHARACTERS_PER_TOKEN))


def _length(sample: Sample) -> tuple[int, int]:
    return len(sample.images), sample.history_characters + len(prompt.question_text(sample))


def as_completion(loaded: Loaded, sample: Sample, ids: list[int], opening: str) -> Completion:
    """The text of a completion, with the part of it that its prompt contains."""
    ended = ids[-1] in loaded.end_ids
    text = loaded.tokenizer.decode(ids[:-1] if ended else ids, skip_special_tokens=True)
    return Completion(sample, opening + text, len(ids), "stop" if ended else "length")
