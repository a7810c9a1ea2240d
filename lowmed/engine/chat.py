"""Chat prompts as text: the model's template, then the start of the assistant's turn that a prompt family pre-fills.

A completion begins after that start. If the start opens a tag, the reader and the rewards get the completion with it.
"""

import copy
import json
import re
from dataclasses import dataclass
from typing import Any

from lowmed import prompt
from lowmed.errors import RecipeError
from lowmed.sample import Sample

_OPEN_TAG_AT_END = re.compile(r"<(?:think|answer)>\s*\Z")


@dataclass(frozen=True)
class AssistantStart:
    """The start of the assistant's turn that is part of every prompt.

    Attributes:
        text: everything that the template and the prompt family write there.
        opening: the part from its opening tag on, which belongs to the completion; "" without a tag.
    """

    text: str = ""
    opening: str = ""

    def completed_by(self, completion: str) -> str:
        """The text of the whole turn whose completion, in the requested form, this is."""
        return self.text + completion.removeprefix(self.opening.strip())


NO_START = AssistantStart()


def render(processor: Any, family: prompt.Family, sample: Sample, wording: int = 0) -> str:
    """The prompt of a sample as text, up to the point where the completion begins."""
    return _rendered(processor, prompt.build_messages(family, sample, wording)) + family.prefill


def _rendered(processor: Any, messages: list[prompt.Message]) -> str:
    chat = messages if hasattr(processor, "image_processor") else prompt.as_texts(messages)
    return str(processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))


def training_ids(
    tokenizer: Any, messages: list[prompt.Message], prefill: str, completion: str
) -> tuple[list[int], list[int]]:
    """The tokens of a training row of a text-only model, and a mask that is 1 where the loss counts.

    Prompt and completion are tokenized separately, as in generation, and the completion is not rendered by the chat
    template: that of Qwen3 would add an empty think block to it.

    Args:
        tokenizer: the model's tokenizer.
        messages: the prompt.
        prefill: the start of the assistant's turn that the prompt family writes.
        completion: what follows the prompt.
    """
    parts = _rendered(tokenizer, messages) + prefill, completion + turn_end(tokenizer)
    first, second = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in parts)
    return [*first, *second], [0] * len(first) + [1] * len(second)


def turn_end(tokenizer: Any) -> str:
    """What a chat template writes after the assistant's text, up to its end token."""
    mark = "END OF TEXT"
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": mark}]
    rest = str(tokenizer.apply_chat_template(chat, tokenize=False)).rpartition(mark)[2]
    return f"{rest.partition(tokenizer.eos_token)[0]}{tokenizer.eos_token}"


def assistant_start(processor: Any, family: prompt.Family) -> AssistantStart:
    """The start of the assistant's turn under a chat template and a prompt family.

    Raises:
        RecipeError: both open a tag.
    """
    match = _OPEN_TAG_AT_END.search(_rendered(processor, prompt.chat_messages("?")))
    by_template = match[0] if match else ""
    if by_template and family.opening:
        raise RecipeError(
            f"the model's chat template opens {by_template.strip()} itself, and the prompts pre-fill a tag too",
            "prompts.prefill",
            "leave prompts.prefill out",
        )
    text = by_template + family.prefill
    return AssistantStart(text, text if by_template else family.opening)


def require_reasoning_prompts(processor: Any, family: prompt.Family) -> None:
    """Refuse to train answers without reasoning after an open think tag.

    Raises:
        RecipeError: the chat template opens `<think>`, and the prompts request the answer alone or open a tag too.
    """
    start = assistant_start(processor, family)
    if start.opening.startswith("<think>") and family.completion_format == "answer":
        raise RecipeError(
            "the model's chat template opens <think>, and the prompts request the answer alone",
            f"prompts.train={family.name}",
            "use prompts that request reasoning, e.g. prompts.train=reasoning",
        )


def with_prefill(processor: Any, family: prompt.Family) -> Any:
    """The processor, or a copy of it whose generation prompt ends with the family's prefill. TRL renders with it.

    The copy shares tokenizer and image processor.
    """
    if not family.prefill:
        return processor
    changed = copy.copy(processor)
    literal = json.dumps(family.prefill, ensure_ascii=False)
    changed.chat_template = f"{processor.chat_template}{{% if add_generation_prompt %}}{{{{ {literal} }}}}{{% endif %}}"
    return changed
