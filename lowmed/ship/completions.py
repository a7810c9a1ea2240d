"""Greedy completions of a loaded model to a set of questions, and the logits of their tokens."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lowmed import prompt
from lowmed.data.image.policy import prepare
from lowmed.engine import chat
from lowmed.engine.generate import encode
from lowmed.engine.load import Loaded
from lowmed.errors import RunError
from lowmed.evaluation.answerer import OpenImage
from lowmed.sample import Sample

BATCH_SIZE = 8
# Logits are kept for this many tokens of each completion: with a large vocabulary, all of them would fill the memory.
LOGIT_TOKENS = 16
PEFT_SCRIPT = Path(__file__).with_name("peft_only.py")


@dataclass(frozen=True)
class QuestionSet:
    """Samples with the prompt family, the image opener and the token limit of their completions."""

    samples: Sequence[Sample]
    family: prompt.Family
    open_image: OpenImage
    max_new_tokens: int


def greedy_completions(loaded: Loaded, questions: QuestionSet) -> list[list[int]]:
    """The token ids of the greedy completion to each sample, up to and including its end token."""
    loaded.model.eval()
    completions: list[list[int]] = []
    for start in range(0, len(questions.samples), BATCH_SIZE):
        batch = questions.samples[start : start + BATCH_SIZE]
        inputs = encode(loaded, batch, questions.family, questions.open_image)
        with torch.inference_mode():
            output = loaded.model.generate(
                **inputs, do_sample=False, max_new_tokens=questions.max_new_tokens, suppress_tokens=loaded.suppressed
            )
        rows = output[:, inputs["input_ids"].shape[1] :].tolist()
        completions += [_until_end(ids, loaded.end_ids) for ids in rows]
    return completions


def completion_logits(loaded: Loaded, questions: QuestionSet, completions: Sequence[list[int]]) -> list[torch.Tensor]:
    """The logits at the first tokens of each completion: tokens x vocabulary, float32, on the CPU."""
    logits = []
    for sample, completion in zip(questions.samples, completions, strict=True):
        inputs = encode(loaded, [sample], questions.family, questions.open_image)
        tokens = torch.tensor([completion[:LOGIT_TOKENS]], device=inputs["input_ids"].device)
        prompt_length = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], tokens], dim=1)
        for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0), ("token_type_ids", 0)):
            if name in inputs:
                inputs[name] = torch.cat([inputs[name], torch.full_like(tokens, value)], dim=1)
        with torch.inference_mode():
            logits.append(loaded.model(**inputs).logits[0, prompt_length - 1 : -1].float().cpu())
    return logits


def decode(loaded: Loaded, completion: list[int], opening: str) -> tuple[str, str]:
    """A completion as text after its opening, and its finish reason: `stop`, or `length` if it was truncated."""
    ended = bool(completion) and completion[-1] in loaded.end_ids
    text = loaded.tokenizer.decode(completion, skip_special_tokens=True)
    return opening + text, "stop" if ended else "length"


def completions_with_peft(
    loaded: Loaded, questions: QuestionSet, base: Path, adapter: Path, *, four_bit: bool
) -> list[list[int]]:
    """The greedy completions to the first samples, by a new process that imports transformers and PEFT, not lowmed.

    Args:
        loaded: the model as lowmed loaded it; supplies device, dtype and pixel policy.
        questions: the first `BATCH_SIZE` samples are used.
        base: folder of the base.
        adapter: folder of the adapter.
        four_bit: load the language layers in NF4, as in training.

    Raises:
        RunError: the process fails.
    """
    samples = questions.samples[:BATCH_SIZE]
    with tempfile.TemporaryDirectory() as name:  # readable by this user only, and removed: images may be patients'
        folder = Path(name)
        images: list[list[str]] = []
        for sample in samples:
            images.append([])
            for reference in sample.images:
                path = str(folder / f"{len(images)}-{len(images[-1])}.png")
                prepare(questions.open_image(reference), loaded.policy, reference).save(path)
                images[-1].append(path)
        job: dict[str, Any] = {
            "base": str(base.absolute()),
            "adapter": str(adapter.absolute()),
            "four_bit": four_bit,
            "keep_16bit": list(loaded.family.keep_16bit),
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            "device": str(loaded.model.device),
            "size": None
            if loaded.family.fixed_size
            else {"shortest_edge": loaded.policy.min_pixels, "longest_edge": loaded.policy.max_pixels},
            "image_settings": dict(loaded.family.image_settings),
            "texts": [chat.render(loaded.processor, questions.family, sample) for sample in samples],
            "images": images,
            "text_only": loaded.family.text_only,
            "max_new_tokens": questions.max_new_tokens,
            "suppressed": loaded.suppressed,
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, "-P", str(PEFT_SCRIPT), str(folder / "job.json")]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        reason = next(iter(reversed(process.stderr.strip().splitlines())), "no message")
        raise RunError(f"transformers and PEFT cannot use the adapter: {reason}", str(adapter), "train it again")
    completions: list[list[int]] = json.loads(process.stdout.strip().splitlines()[-1])
    return [_until_end(ids, loaded.end_ids) for ids in completions]


def _until_end(ids: list[int], end_ids: list[int]) -> list[int]:
    end = next((position for position, token in enumerate(ids) if token in end_ids), None)
    return ids if end is None else ids[: end + 1]
