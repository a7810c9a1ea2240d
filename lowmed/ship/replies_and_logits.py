"""What a loaded model says to some samples, token by token, and how sure it was of each."""

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
from lowmed.engine.generate import encode
from lowmed.engine.load import Loaded
from lowmed.errors import RunError
from lowmed.evaluate.answerer import OpenImage
from lowmed.sample import Sample

TOGETHER = 8
LOGIT_TOKENS = 16  # of each completion, at which logits are kept: a large vocabulary would fill the memory otherwise
PLAIN = Path(__file__).with_name("peft_only.py")


@dataclass(frozen=True)
class Questions:
    """Samples with all that is needed to ask them."""

    samples: Sequence[Sample]
    family: prompt.Family
    open_image: OpenImage
    max_new_tokens: int


def tokens(loaded: Loaded, asked: Questions) -> list[list[int]]:
    """The greedy completion to each sample, cut behind its end token."""
    loaded.model.eval()
    result: list[list[int]] = []
    for start in range(0, len(asked.samples), TOGETHER):
        inputs = encode(loaded, asked.samples[start : start + TOGETHER], asked.family, asked.open_image)
        with torch.inference_mode():
            output = loaded.model.generate(
                **inputs, do_sample=False, max_new_tokens=asked.max_new_tokens, suppress_tokens=loaded.suppressed
            )
        completions = output[:, inputs["input_ids"].shape[1] :].tolist()
        result += [_cut(ids, loaded.end_ids) for ids in completions]
    return result


def logits(loaded: Loaded, asked: Questions, completions: Sequence[list[int]]) -> list[torch.Tensor]:
    """The logits at the first tokens of given completions, tokens x vocabulary, float32 on the CPU."""
    result = []
    for sample, completion in zip(asked.samples, completions, strict=True):
        inputs = encode(loaded, [sample], asked.family, asked.open_image)
        said = torch.tensor([completion[:LOGIT_TOKENS]], device=inputs["input_ids"].device)
        before = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], said], dim=1)
        for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0)):
            if name in inputs:
                inputs[name] = torch.cat([inputs[name], torch.full_like(said, value)], dim=1)
        with torch.inference_mode():
            output = loaded.model(**inputs).logits[0, before - 1 : -1]
        result.append(output.float().cpu())
    return result


def text(loaded: Loaded, completion: list[int]) -> tuple[str, str]:
    """A completion as text, and `length` where the token limit cut it, else `stop`."""
    ended = bool(completion) and completion[-1] in loaded.end_ids
    return loaded.processor.tokenizer.decode(completion, skip_special_tokens=True), "stop" if ended else "length"


def replies_by_peft_alone(
    loaded: Loaded, asked: Questions, base: Path, adapter: Path, *, four_bit: bool
) -> list[list[int]]:
    """The greedy completions to the first few samples by a fresh process that knows transformers and peft, not lowmed.

    Raises:
        RunError: it fails.
    """
    first = asked.samples[:TOGETHER]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)  # closed to others, and removed: the images may be patients'
        images = []
        for number, reference in enumerate(each for sample in first for each in sample.images):
            images.append(str(folder / f"{number}.png"))
            prepare(asked.open_image(reference), loaded.policy, reference).save(images[-1])
        job: dict[str, Any] = {
            "base": str(base.absolute()),
            "adapter": str(adapter.absolute()),
            "four_bit": four_bit,
            "keep_16bit": list(loaded.family.keep_16bit),
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            "device": str(loaded.model.device),
            "min_pixels": loaded.policy.min_pixels,
            "max_pixels": loaded.policy.max_pixels,
            "texts": [
                loaded.processor.apply_chat_template(
                    prompt.build_messages(asked.family, sample), add_generation_prompt=True
                )
                for sample in first
            ],
            "images": images,
            "max_new_tokens": asked.max_new_tokens,
            "suppressed": loaded.suppressed,
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, "-P", str(PLAIN), str(folder / "job.json")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = next(iter(reversed(done.stderr.strip().splitlines())), "no message")
        raise RunError(f"plain transformers and peft can not use the adapter: {last}", str(adapter), "train it again")
    completions: list[list[int]] = json.loads(done.stdout.strip().splitlines()[-1])
    return [_cut(ids, loaded.end_ids) for ids in completions]


def _cut(ids: list[int], ends: list[int]) -> list[int]:
    end = next((place for place, token in enumerate(ids) if token in ends), None)
    return ids if end is None else ids[: end + 1]
