"""Small text-only models, and tokenizers with each pre-tokenizer of llama.cpp that lowmed supports."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from models import tiny
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
THINK = "<think>"  # an added token that is not special, as in Qwen3
UNREACHABLE = "zqzq"  # in the vocabulary, but no merge leads to it: Llama 3 ignores merges there
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
OTHERS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def bytes_step(*, use_regex: bool = False) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def split_step(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


# As in the tokenizer.json of Qwen2.5, Llama 3.1, SmolLM2 and GPT-2.
STEPS = {
    "qwen2": [split_step(rf"{WORDS}|\p{{N}}|{OTHERS}"), bytes_step()],
    "llama-bpe": [split_step(rf"{WORDS}|\p{{N}}{{1,3}}|{OTHERS}"), bytes_step()],
    "smollm": [{"type": "Digits", "individual_digits": True}, bytes_step(use_regex=True)],
    "gpt-2": [bytes_step(use_regex=True)],
}
TEXTS = (
    "A dose of 12 mg in 2024, 1234567 units;  12 and\n\n12 more\t7",
    "café naïve Ärzte 3.5×10⁻³ µg/mL x1 a1b22 IT'S don't we'll THEY'RE",
    " leading and trailing  \r\n\n  end ",
    f"{UNREACHABLE} and {UNREACHABLE}12",
    f"<|im_start|>user\nIs it 12?<|im_end|>\n<|im_start|>assistant\n{THINK}\nyes<|endoftext|>",
)


@cache
def _trained() -> str:
    """A BPE that was trained on text which no pre-tokenizer has split, so that each one changes some tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text for text in TEXTS[:3] for _ in range(3)], trainer)
    return str(tokenizer.to_str())


def save_tokenizer(folder: Path, pre: str, *, start: str = "", template: str = "") -> dict[str, int]:
    """Write a tokenizer, and return the ids of its added tokens.

    Args:
        folder: where.
        pre: a key of `STEPS`.
        start: the token that it adds to every text.
        template: text at the start of every chat.
    """
    content = json.loads(_trained())
    vocabulary = content["model"]["vocab"]
    vocabulary[UNREACHABLE] = len(vocabulary)
    tokens = [*SPECIAL, THINK]
    content["added_tokens"] = [
        {"id": len(vocabulary) + number, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": token != THINK}
        for number, token in enumerate(tokens)
    ]  # fmt: skip
    ids = {token["content"]: token["id"] for token in content["added_tokens"]}
    content["model"]["ignore_merges"] = pre == "llama-bpe"
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": STEPS[pre]}
    if start:
        parts = [{"SpecialToken": {"id": start, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
        special = {start: {"id": start, "ids": [ids[start]], "tokens": [start]}}
        content["post_processor"] = {"type": "TemplateProcessing", "single": parts, "pair": parts + parts[1:],
                                     "special_tokens": special}  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(content))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
                "bos_token": "<|endoftext|>"}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    turn = "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    (folder / "chat_template.jinja").write_text(
        f"{template}{{% for message in messages %}}{turn}{{% endfor %}}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return ids


def save_model(family: str, folder: Path, *, pre: str = "qwen2", **changes: Any) -> Path:
    """Write a model with random weights, which 16 bits represent exactly, and a tokenizer.

    Args:
        family: `model_type`.
        folder: where.
        pre: as in `save_tokenizer`.
        changes: settings of the config.
    """
    torch.manual_seed(0)
    folder.mkdir()
    config, ids = tiny.config(family), save_tokenizer(folder, pre)
    start, _, end = (ids[token] for token in SPECIAL)
    settings = {"vocab_size": 520, "bos_token_id": start, "eos_token_id": end, "pad_token_id": start,
                "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}  # fmt: skip
    for key, value in (settings | changes).items():
        setattr(config, key, value)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape)
            large = noise / weight.shape[-1] ** 0.5 * 2 if weight.ndim == 2 else noise * 0.3
            weight.copy_((large + ("norm" in name)).bfloat16())
    model.save_pretrained(folder)
    return folder
