"""Whether llama.cpp, with the exported files, says what transformers says with the merged folder: token by token.

Greedy decoding on both sides. transformers completions first, in float32; llama.cpp reads the same prompt, is led along
that completion, and at each place is asked which token it would have said. So a completion is the same if every token of it is,
and after a first difference the later places still count, each under equal conditions.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, GenerationConfig, Qwen2VLForConditionalGeneration

from lowmed.errors import SetupError
from lowmed.models.qwen_vl import QWEN2_VL
from lowmed.ship.gguf.export import image_tokens

# llama.cpp puts the tokens around an image by itself.
_PLACEHOLDER = QWEN2_VL.image_placeholder


@dataclass(frozen=True, slots=True)
class Question:
    """One user's turn, and its images, which stand before the text."""

    text: str
    images: tuple[Image.Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """A place where llama.cpp would have gone on otherwise.

    `margin` is by how much transformers' logits prefer its own token to llama.cpp's, in nats: at 0.7 it is twice as
    probable. `drift` is the largest difference between both sides' logits there.
    """

    question: int
    place: int
    transformers: str
    llama_cpp: str
    margin: float
    drift: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts over all questions, and every difference by name.

    `same_prompts` counts prompts that both sides split into the same tokens, images included; `drift` is the largest
    difference of a logit at any place.
    """

    questions: int
    same_prompts: int
    same_replies: int
    tokens: int
    same_tokens: int
    drift: float
    differences: tuple[Difference, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """For a terminal: the counts, then each difference with how near it was."""
        result = [
            f"same prompts   {self.same_prompts} of {self.questions}",
            f"same replies   {self.same_replies} of {self.questions}",
            f"same tokens    {self.same_tokens} of {self.tokens}",
            f"logits differ  by {self.drift:.3g} at most",
        ]
        result += [
            f"question {one.question}, token {one.place}: {one.transformers!r}, by {one.margin:.3g} before "
            f"llama.cpp's {one.llama_cpp!r}; the logits there differ by up to {one.drift:.3g}"
            for one in self.differences
        ]
        return result


def agreement(
    folder: Path, language: Path, projector: Path, asked: Sequence[Question], *, max_new_tokens: int = 64
) -> Agreement:
    """Ask both, and compare.

    Args:
        folder: the merged folder that the files were made from.
        language: a language file of it.
        projector: its mmproj file.
        asked: what is asked.
        max_new_tokens: a completion longer than this is cut.

    Raises:
        SetupError: llama-cpp-python is not installed, or does not load a file.
    """
    if find_spec("llama_cpp") is None:
        raise SetupError("llama-cpp-python is not installed", "comparing GGUF files", "pip install llama-cpp-python")
    from lowmed.ship.gguf.llama_cpp import MARKER, Llama

    processor = AutoProcessor.from_pretrained(folder)
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    texts = [_prompt(processor, question) for question in asked]
    completions = [_reply(model, processor, *one, max_new_tokens) for one in zip(texts, asked, strict=True)]
    image_token = model.config.image_token_id
    del model  # two copies of a large model need not fit

    same_prompts, tokens, drift, differences = 0, 0, 0.0, list[Difference]()
    limits = image_tokens(folder)
    # An image may become more tokens there than here, which is then a finding and must fit.
    room = max(
        len(completion.prompt) + limits[1] * len(one.images) for completion, one in zip(completions, asked, strict=True)
    )
    with Llama(language, projector, room + max_new_tokens, limits) as llama:
        for place, (text, question, completion) in enumerate(zip(texts, asked, completions, strict=True)):
            read, logits = llama.prompt(text.replace(_PLACEHOLDER, MARKER), question.images, image_token)
            same_prompts += read == completion.prompt
            for number, (token, wanted) in enumerate(zip(completion.tokens, completion.logits, strict=True)):
                off = float(np.abs(logits - wanted).max())
                drift, tokens, said = max(drift, off), tokens + 1, int(logits.argmax())
                if said != token:
                    own, other = (processor.tokenizer.decode([one]) for one in (token, said))
                    margin = float(wanted[token] - wanted[said])
                    differences.append(Difference(place, number, own, other, margin, off))
                if number + 1 < len(completion.tokens):
                    logits = llama.step(token)
    return Agreement(
        questions=len(asked),
        same_prompts=same_prompts,
        same_replies=len(asked) - len({one.question for one in differences}),
        tokens=tokens,
        same_tokens=tokens - len(differences),
        drift=drift,
        differences=tuple(differences),
    )


@dataclass(frozen=True, slots=True)
class _Reply:
    """What transformers read and said: tokens, and the logits (tokens, vocabulary) of each."""

    prompt: list[int]
    tokens: list[int]
    logits: np.ndarray[Any, Any]


def _prompt(processor: Any, question: Question) -> str:
    parts: list[dict[str, str]] = [{"type": "image"} for _ in question.images]
    turn = {"role": "user", "content": [*parts, {"type": "text", "text": question.text}]}
    text: str = processor.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    return text


def _reply(model: Any, processor: Any, text: str, question: Question, max_new_tokens: int) -> _Reply:
    images = [image.convert("RGB") for image in question.images]
    inputs = processor(text=[text], images=images or None, return_tensors="pt")
    ends = model.generation_config.eos_token_id
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=ends,
        pad_token_id=processor.tokenizer.pad_token_id,
        output_logits=True,
        return_dict_in_generate=True,
    )
    with torch.inference_mode():
        output = model.generate(**inputs, generation_config=greedy)
    asked: list[int] = inputs["input_ids"][0].tolist()
    said: list[int] = output.sequences[0, len(asked) :].tolist()
    return _Reply(asked, said, torch.stack(output.logits)[:, 0].numpy())
