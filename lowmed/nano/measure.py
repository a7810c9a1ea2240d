"""What the embedded model can do: strict accuracy, sampled accuracy, and whether its reasoning names the truth."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowmed import prompt
from lowmed.nano import phantom
from lowmed.sample import Sample

# Tokens that a completion cannot hold; a sampled <|image_pad|> would ask the next forward for an image.
FORBIDDEN = ("<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
LONGEST_REPLY_TOKENS = 48
_FORM = re.compile(r"<think>(?P<think>[^<>]*)</think><answer>(?P<answer>[^<>]*)</answer>")


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares from 0 to 1 over some samples. `right` is strict: form and answer exactly as in the reference."""

    samples: int
    right: float
    well_formed: float
    reasoning_right: float
    right_of_topic: dict[str, float]


def load(folder: Path, four_bit: bool) -> tuple[Any, Any]:
    """The model and its processor from a folder: text layers in NF4, or everything in bfloat16."""
    import torch
    from transformers import AutoProcessor, BitsAndBytesConfig, Qwen2VLForConditionalGeneration

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["lm_head", "model.visual"],
    )
    model = Qwen2VLForConditionalGeneration.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=quantization if four_bit else None
    )
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False  # the repacked weights of that path cannot be trained on
    return model.eval(), AutoProcessor.from_pretrained(folder)


def replies(
    model: Any, processor: Any, samples: Sequence[Sample], tries: int = 1, temperature: float = 0.0, rows: int = 64
) -> list[list[str]]:
    """`tries` completions for each sample, asked in the inference wording: greedy at temperature 0, else sampled."""
    import torch

    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    result: list[list[str]] = []
    for start in range(0, len(samples), rows):
        part = samples[start : start + rows]
        chats = [prompt.build_messages(prompt.family("reasoning"), sample) for sample in part]
        texts = processor.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
        images = [phantom.picture(sample.images[0]) for sample in part]
        inputs = processor(text=texts, images=images, padding=True, return_tensors="pt")
        with torch.inference_mode():
            tokens = model.generate(
                **inputs,
                **sampling,
                num_return_sequences=tries,
                max_new_tokens=LONGEST_REPLY_TOKENS,
                suppress_tokens=[processor.tokenizer.convert_tokens_to_ids(token) for token in FORBIDDEN],
            )
        decoded = processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        result += [decoded[first : first + tries] for first in range(0, len(decoded), tries)]
    return result


def is_right(sample: Sample, completion: str) -> bool:
    """Whether the completion has the reference's form and its answer, to the letter."""
    form, gold = (
        _FORM.fullmatch(completion),
        _FORM.fullmatch(prompt.reference_completion(prompt.family("reasoning"), sample)),
    )
    return form is not None and gold is not None and form["answer"] == gold["answer"]


def reasons_right(sample: Sample, completion: str) -> bool:
    """Whether the reasoning ends in the truth, as the reference explanation does."""
    form = _FORM.fullmatch(completion)
    return form is not None and form["think"].endswith(f" {sample.answer}.")


def figures(samples: Sequence[Sample], greedy: Sequence[Sequence[str]]) -> Figures:
    """The figures of one completion for each sample."""
    rows = [(sample, completion[0]) for sample, completion in zip(samples, greedy, strict=True)]
    topics = sorted({sample.topic for sample in samples})

    def share(hits: list[bool]) -> float:
        return round(sum(hits) / len(hits), 4)

    return Figures(
        samples=len(rows),
        right=share([is_right(*row) for row in rows]),
        well_formed=share([_FORM.fullmatch(completion) is not None for _, completion in rows]),
        reasoning_right=share([reasons_right(*row) for row in rows]),
        right_of_topic={
            topic: share([is_right(sample, completion) for sample, completion in rows if sample.topic == topic])
            for topic in topics
        },
    )


def pass_at(samples: Sequence[Sample], sampled: Sequence[Sequence[str]]) -> dict[str, float]:
    """The share of samples of each topic, and of "all", with at least one right completion among the sampled ones."""
    hits = [
        (sample.topic, any(is_right(sample, completion) for completion in tries))
        for sample, tries in zip(samples, sampled, strict=True)
    ]
    of_topic = {
        topic: [hit for result, hit in hits if result == topic] for topic in sorted({topic for topic, _ in hits})
    }
    of_topic["all"] = [hit for _, hit in hits]
    return {topic: round(sum(result) / len(result), 4) for topic, result in of_topic.items()}
