"""The control tokens of chat models, which no text of a user may contain.

A tokenizer turns such a text into the token itself: the turn ends there, or an image is expected.
"""

import re

# Qwen, Llama 3, Phi, InternLM and GLM write <|name|>, DeepSeek <｜name｜>. Llama 2, Mistral, Gemma, SmolVLM, InternVL
# and LLaVA have names of their own. `<think>` and `<answer>` are none: recipes use them as plain text.
_CONTROL_TOKEN = re.compile(
    r"<[|｜][^<>|｜]{0,64}[|｜]>|</?s>|<(?:bos|eos|pad|unk|mask)>|\[/?INST\]|<</?SYS>>"
    r"|\[IMG(?:_BREAK|_END)?\]|</?(?:image|video|img|audio)>|<(?:start|end)_of_(?:turn|image|audio)>"
    r"|<end_of_utterance>|<(?:image|audio)_soft_token>|<fake_token_around_image>|<global-img>|<row_\d+_col_\d+>"
    r"|<IMG_CONTEXT>|<unused\d+>",
    re.IGNORECASE,
)


def control_token(text: str) -> str:
    """The first control token in a text; "" if there is none."""
    if "<" not in text and "[" not in text:
        return ""
    match = _CONTROL_TOKEN.search(text)
    return match[0] if match else ""
