"""Contrastive decoding (VCD, arXiv:2311.16922): what the image adds to each token counts twice.

scores = (1 + a) * logits(image) - a * logits(gray image), a = 1, over the tokens whose probability with the image is at
least b = 0.1 of the largest one; all others are excluded. VCD takes a noised image in place of a gray one.

Every question is two rows of one batch: one with its image, one with a gray image of the same size. So both prompts
have the same tokens at the same positions. Both rows get the same scores, hence the same token.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from lowmed.engine.load import Loaded
from lowmed.engine.prefix.sampling import check_finite, truncate_at_end

STRENGTH = 1.0  # a
PLAUSIBLE = 0.1  # b


def contrasted(logits: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Scores of the next token; both arguments [rows, vocabulary], with the image and with the gray one."""
    least = logits.max(dim=-1, keepdim=True).values + math.log(PLAUSIBLE)
    scores = (1 + STRENGTH) * logits - STRENGTH * others
    return scores.masked_fill(logits < least, -torch.inf)


def generate(loaded: Loaded, inputs: dict[str, Any], max_new_tokens: int) -> list[list[int]]:
    """Greedy completions of the first half of the rows, each contrasted with the row of the second half.

    Args:
        loaded: the model.
        inputs: model inputs of the questions with their images, then of the same questions with gray images.
        max_new_tokens: longer completions are truncated.

    Raises:
        SetupError: the logits are NaN or infinite.
    """
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        repetition_penalty=1.0,  # models bring their own, which greedy decoding here does not have
        eos_token_id=list(loaded.end_ids),
        pad_token_id=loaded.tokenizer.pad_token_id,
    )
    processors = LogitsProcessorList([_Contrast(loaded.suppressed)])
    with torch.no_grad():
        output = loaded.model.generate(**inputs, generation_config=config, logits_processor=processors)
    rows, prompt_length = len(inputs["input_ids"]) // 2, inputs["input_ids"].shape[1]
    return [truncate_at_end(ids, loaded.end_ids) for ids in output[:rows, prompt_length:].tolist()]


class _Contrast(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Gives both rows of a question its contrasted scores."""

    def __init__(self, suppressed: Sequence[int]) -> None:
        self.suppressed = list(suppressed)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        del input_ids
        check_finite(scores)
        logits, others = scores.float().chunk(2)
        logits[:, self.suppressed] = -torch.inf
        return contrasted(logits, others).repeat(2, 1)
