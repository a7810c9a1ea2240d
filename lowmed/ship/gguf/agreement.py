"""Compare llama.cpp, with the exported files, and transformers, with the merged folder, token by token.

transformers first generates a greedy completion in float32. llama.cpp then reads the same prompt and is fed that
completion. At each position its most likely token is compared with the next token. A completion is the same if every
token is. After a first difference the later positions still count, each under equal conditions.
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
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig

from lowmed import prompt
from lowmed.engine.own_code import own_code_refused
from lowmed.errors import SetupError
from lowmed.models import family_of
from lowmed.sample import Turns
from lowmed.ship.gguf.convert import image_token_limits


@dataclass(frozen=True, slots=True)
class PromptInput:
    """The last user text, the images, the start of the assistant's turn, the system message, and the earlier turns."""

    text: str
    images: tuple[Image.Image, ...] = ()
    prefill: str = ""
    system: str = ""
    history: Turns = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """A position at which the most likely token of llama.cpp differs from that of transformers.

    Attributes:
        question: number of the question, from 0.
        position: position of the token in the completion, from 0.
        transformers: text of transformers' token.
        llama_cpp: text of llama.cpp's token.
        margin: transformers' logit of its own token minus that of llama.cpp's, in nats. At 0.7, its own is twice as
            likely.
        max_logit_difference: largest difference of a logit at this position.
    """

    question: int
    position: int
    transformers: str
    llama_cpp: str
    margin: float
    max_logit_difference: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts over all questions, and every difference.

    Attributes:
        questions: number of compared questions.
        same_prompts: prompts that both sides tokenize alike, images included.
        same_completions: completions without a difference.
        tokens: tokens of all completions.
        same_tokens: tokens without a difference.
        max_logit_difference: largest difference of a logit at any position.
        differences: in order.
    """

    questions: int
    same_prompts: int
    same_completions: int
    tokens: int
    same_tokens: int
    max_logit_difference: float
    differences: tuple[Difference, ...]

    def as_json(self) -> dict[str, Any]:
        """The result as JSON."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """The result for a terminal: the counts, then each difference."""
        lines = [
            f"same prompts      {self.same_prompts} of {self.questions}",
            f"same completions  {self.same_completions} of {self.questions}",
            f"same tokens       {self.same_tokens} of {self.tokens}",
            f"logits differ     by at most {self.max_logit_difference:.3g}",
        ]
        lines += [
            f"question {one.question}, token {one.position}: transformers {one.transformers!r}, llama.cpp "
            f"{one.llama_cpp!r}, margin {one.margin:.3g}; logits there differ by up to {one.max_logit_difference:.3g}"
            for one in self.differences
        ]
        return lines


def compare(
    folder: Path, language: Path, projector: Path, inputs: Sequence[PromptInput], *, max_new_tokens: int = 64
) -> Agreement:
    """Generate with transformers, replay with llama.cpp, and count the differences.

    Args:
        folder: the merged folder that the files were converted from.
        language: a GGUF file of the language model.
        projector: its mmproj file.
        inputs: the questions.
        max_new_tokens: limit of a completion.

    Raises:
        SetupError: llama-cpp-python is not installed, or does not load a file.
    """
    if find_spec("llama_cpp") is None:
        raise SetupError("llama-cpp-python is not installed", "comparing GGUF files", "pip install llama-cpp-python")
    from lowmed.ship.gguf.llama_cpp import MARKER, Llama

    with own_code_refused(folder):
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False).eval()
    texts = [_render(processor, question) for question in inputs]
    completions = [_complete(model, processor, *one, max_new_tokens) for one in zip(texts, inputs, strict=True)]
    image_token = model.config.image_token_id
    placeholder = family_of(model.config.model_type).image_placeholder
    del model  # memory may not hold a large model twice

    same_prompts, tokens, max_difference, differences = 0, 0, 0.0, list[Difference]()
    limits = image_token_limits(folder)
    # llama.cpp may turn an image into more tokens than transformers. The result must show that, so it must fit.
    prompt_tokens = max(
        len(completion.prompt) + limits[1] * len(question.images)
        for completion, question in zip(completions, inputs, strict=True)
    )
    with Llama(language, projector, prompt_tokens + max_new_tokens, limits) as llama:
        for number, (text, question, completion) in enumerate(zip(texts, inputs, completions, strict=True)):
            # llama.cpp adds the tokens around an image, so that its marker replaces the whole placeholder.
            read, logits = llama.prompt(text.replace(placeholder, MARKER), question.images, image_token)
            same_prompts += read == completion.prompt
            for position, (token, expected) in enumerate(zip(completion.tokens, completion.logits, strict=True)):
                difference = float(np.abs(logits - expected).max())
                max_difference, tokens, likeliest = max(max_difference, difference), tokens + 1, int(logits.argmax())
                if likeliest != token:
                    expected_text, actual_text = (processor.tokenizer.decode([number]) for number in (token, likeliest))
                    margin = float(expected[token] - expected[likeliest])
                    differences.append(Difference(number, position, expected_text, actual_text, margin, difference))
                if position + 1 < len(completion.tokens):
                    logits = llama.step(token)
    return Agreement(
        questions=len(inputs),
        same_prompts=same_prompts,
        same_completions=len(inputs) - len({one.question for one in differences}),
        tokens=tokens,
        same_tokens=tokens - len(differences),
        max_logit_difference=max_difference,
        differences=tuple(differences),
    )


@dataclass(frozen=True, slots=True)
class _Completion:
    """Tokens of the prompt and of transformers' completion, with the logits (tokens x vocabulary) of the latter."""

    prompt: list[int]
    tokens: list[int]
    logits: np.ndarray[Any, Any]


def _render(processor: Any, question: PromptInput) -> str:
    messages = prompt.chat_messages(question.text, len(question.images), question.history, question.system)
    text: str = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text + question.prefill


def _complete(model: Any, processor: Any, text: str, question: PromptInput, max_new_tokens: int) -> _Completion:
    images = [image.convert("RGB") for image in question.images]
    inputs = processor(text=[text], images=images or None, return_tensors="pt")
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=model.generation_config.eos_token_id,
        pad_token_id=processor.tokenizer.pad_token_id,
        output_logits=True,
        return_dict_in_generate=True,
    )
    with torch.inference_mode():
        output = model.generate(**inputs, generation_config=greedy)
    read: list[int] = inputs["input_ids"][0].tolist()
    tokens: list[int] = output.sequences[0, len(read) :].tolist()
    return _Completion(read, tokens, torch.stack(output.logits)[:, 0].numpy())
