"""Accuracy of the embedded model: strict accuracy, pass@k, and whether its reasoning is right."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowmed import prompt
from lowmed.models.qwen_vl import QWEN2_VL
from lowmed.nano import phantom
from lowmed.sample import Sample

NEVER_SAMPLED = (*QWEN2_VL.never_sampled, "<|vision_pad|>")
MAX_COMPLETION_TOKENS = 48
_FORMAT = re.compile(r"<think>(?P<think>[^<>]*)</think><answer>(?P<answer>[^<>]*)</answer>")


@dataclass(frozen=True, slots=True)
class Accuracies:
    """Shares of samples from 0 to 1. `right` is strict: format and answer exactly as in the reference."""

    samples: int
    right: float
    well_formed: float
    reasoning_right: float
    right_of_topic: dict[str, float]


def load(folder: Path, four_bit: bool) -> tuple[Any, Any]:
    """The model and its processor from a folder, in bfloat16 or with its text layers in NF4."""
    import torch
    from transformers import AutoProcessor, BitsAndBytesConfig, Qwen2VLForConditionalGeneration

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=list(QWEN2_VL.keep_16bit),
    )
    model = Qwen2VLForConditionalGeneration.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=quantization if four_bit else None, trust_remote_code=False
    )
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False  # as `patches.keep_4bit_layers_trainable` does
    return model.eval(), AutoProcessor.from_pretrained(folder, trust_remote_code=False)


def completions(
    model: Any, processor: Any, samples: Sequence[Sample], tries: int = 1, temperature: float = 0.0, rows: int = 64
) -> list[list[str]]:
    """`tries` completions for each sample with the inference prompt: greedy at temperature 0, otherwise sampled."""
    import torch

    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    result: list[list[str]] = []
    for start in range(0, len(samples), rows):
        batch = samples[start : start + rows]
        chats = [prompt.build_messages(prompt.family("reasoning"), sample) for sample in batch]
        texts = processor.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
        images = [phantom.open_image(sample.images[0]) for sample in batch]
        inputs = processor(text=texts, images=images, padding=True, return_tensors="pt")
        with torch.inference_mode():
            tokens = model.generate(
                **inputs,
                **sampling,
                num_return_sequences=tries,
                max_new_tokens=MAX_COMPLETION_TOKENS,
                suppress_tokens=[processor.tokenizer.convert_tokens_to_ids(token) for token in NEVER_SAMPLED],
            )
        decoded = processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        result += [decoded[first : first + tries] for first in range(0, len(decoded), tries)]
    return result


def is_right(sample: Sample, completion: str) -> bool:
    """Whether format and answer of the completion are exactly those of the reference."""
    reference = _FORMAT.fullmatch(prompt.reference_completion(prompt.family("reasoning"), sample))
    matched = _FORMAT.fullmatch(completion)
    return matched is not None and reference is not None and matched["answer"] == reference["answer"]


def reasons_right(sample: Sample, completion: str) -> bool:
    """Whether the reasoning ends with the right answer, as the reference explanation does."""
    matched = _FORMAT.fullmatch(completion)
    return matched is not None and matched["think"].endswith(f" {sample.answer}.")


def accuracies(samples: Sequence[Sample], greedy: Sequence[Sequence[str]]) -> Accuracies:
    """The accuracies of one greedy completion for each sample."""
    rows = [(sample, completion[0]) for sample, completion in zip(samples, greedy, strict=True)]
    topics = sorted({sample.topic for sample in samples})

    def share(hits: list[bool]) -> float:
        return round(sum(hits) / len(hits), 4)

    return Accuracies(
        samples=len(rows),
        right=share([is_right(*row) for row in rows]),
        well_formed=share([_FORMAT.fullmatch(completion) is not None for _, completion in rows]),
        reasoning_right=share([reasons_right(*row) for row in rows]),
        right_of_topic={
            topic: share([is_right(sample, completion) for sample, completion in rows if sample.topic == topic])
            for topic in topics
        },
    )


def pass_at(samples: Sequence[Sample], sampled: Sequence[Sequence[str]]) -> dict[str, float]:
    """The share of samples of each topic, and of "all", with at least one right completion among those sampled."""
    hits = [
        (sample.topic, any(is_right(sample, completion) for completion in tries))
        for sample, tries in zip(samples, sampled, strict=True)
    ]
    by_topic = {topic: [hit for other, hit in hits if other == topic] for topic in sorted({topic for topic, _ in hits})}
    by_topic["all"] = [hit for _, hit in hits]
    return {topic: round(sum(right) / len(right), 4) for topic, right in by_topic.items()}
