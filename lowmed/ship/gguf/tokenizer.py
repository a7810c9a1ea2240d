"""The tokenizer of a GGUF file, and the checks that llama.cpp splits text as transformers does.

A GGUF file holds the vocabulary and the merges, but only a name for the step before the merges, the pre-tokenizer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from lowmed.engine.own_code import own_code_refused
from lowmed.errors import RunError

_FIX = "serve the merged folder with vLLM or transformers instead"
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_OTHERS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
_GPT2 = {**_BYTES, "use_regex": True}  # splits by the expression of GPT-2 before it maps bytes


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


# llama.cpp's name (`src/llama-vocab.cpp`) -> the same steps in tokenizer.json.
PRE_TOKENIZERS = {
    "qwen2": [_split(rf"{_WORDS}|\p{{N}}|{_OTHERS}"), _BYTES],
    "llama-bpe": [_split(rf"{_WORDS}|\p{{N}}{{1,3}}|{_OTHERS}"), _BYTES],
    "smollm": [{"type": "Digits", "individual_digits": True}, _GPT2],
    "gpt-2": [_GPT2],
}
# llama.cpp applies no normalizer. NFC only changes decomposed letters, and docs/gguf.md states it.
_NORMALIZERS = (None, {"type": "NFC"}, {"type": "Sequence", "normalizers": []})


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder, as transformers loads it."""
    with own_code_refused(folder):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def pre_tokenizer(tokenizer: Mapping[str, Any], folder: Path) -> str:
    """llama.cpp's name for the pre-tokenizer.

    Args:
        tokenizer: a parsed tokenizer.json.
        folder: its folder, for the error.

    Raises:
        RunError: llama.cpp would give other tokens to some text.
    """
    step = tokenizer.get("pre_tokenizer") or {"type": "none"}
    steps = [_comparable(one) for one in step.get("pretokenizers", [step])]
    name = next((name for name, known in PRE_TOKENIZERS.items() if steps == known), None)
    if name is None:
        raise RunError(
            f"GGUF export supports the pre-tokenizers {', '.join(PRE_TOKENIZERS)}, this tokenizer has {steps}",
            f"{folder / 'tokenizer.json'}, pre_tokenizer",
            _FIX,
        )
    model = tokenizer["model"]
    stripped = [
        token["content"]
        for token in tokenizer["added_tokens"]
        if token["lstrip"] or token["rstrip"] or token["single_word"]
    ]
    for where, value, supported in (
        ("model.type", model["type"], ("BPE",)),
        ("model.ignore_merges", model.get("ignore_merges", False), (name == "llama-bpe",)),
        ("model.continuing_subword_prefix", model.get("continuing_subword_prefix") or "", ("",)),
        ("model.end_of_word_suffix", model.get("end_of_word_suffix") or "", ("",)),
        ("normalizer", tokenizer.get("normalizer"), _NORMALIZERS),
        ("added_tokens with lstrip, rstrip or single_word", stripped[:3], ([],)),
    ):
        if value not in supported:
            raise RunError(
                f"llama.cpp's pre-tokenizer {name} requires {supported[0]!r}, this tokenizer has {value!r}",
                f"{folder / 'tokenizer.json'}, {where}",
                _FIX,
            )
    return name


def adds_start_token(tokenizer: Any, folder: Path) -> bool:
    """Whether llama.cpp must add the start token, so that a rendered chat has the one of training.

    With it, llama-server removes the start token of a chat template, and its tokenizer writes it again. A chat template
    without one was trained without one, even if the tokenizer adds it to other texts.

    Args:
        tokenizer: the tokenizer, loaded by transformers.
        folder: its folder, for the error.

    Raises:
        RunError: the tokenizer adds other tokens to a text.
    """
    plain, full = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    if full == plain:
        return False
    if full != [tokenizer.bos_token_id, *plain]:
        added = tokenizer.convert_ids_to_tokens([token for token in full if token not in plain])
        raise RunError(
            f"the tokenizer adds {', '.join(added)} to every text, and llama.cpp only a start token",
            f"{folder / 'tokenizer.json'}, post_processor",
            _FIX,
        )
    chat: str = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    return chat.startswith(tokenizer.bos_token)


def _comparable(step: Mapping[str, Any]) -> dict[str, Any]:
    """A step with the defaults of its type, and without what changes no token."""
    defaults = {"use_regex": True} if step["type"] == "ByteLevel" else {}
    return {name: value for name, value in (defaults | dict(step)).items() if name != "trim_offsets"}
