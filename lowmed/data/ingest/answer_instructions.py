"""Instructions how to answer, such as `Answer with the option's letter.`, which data sets append to their questions.

A recipe's prompts have their own, so that a second one would contradict them.
"""

import re

# How an instruction begins: a capital letter, or any letter after the end of a sentence.
_STARTS = (
    "please", "output", "answer", "respond", "reply", "select", "choose", "pick", "give", "provide", "return", "write",
    "think", "explain", "indicate", "state", "first", "let's", "let us", "do not", "don't", "only", "just", "note",
    "use", "put", "enclose", "finally", "solve", "make sure", "remember", "based on", "your task", "your answer",
    "your response", "your final", "you should", "you must", "you need", "you have to", "you will", "the answer",
    "the final answer", "format", "end your", "conclude", "report your", "show your", "start with", "begin",
    "respond only", "no explanation", "there is only one", "place", "wrap", "box",
)  # fmt: skip
_START = re.compile(
    rf"(?:(?<=[.!?;:)\]\n。！？；])\s*|(?<=\s)(?=[A-Z]))\(?(?=(?i:{'|'.join(_STARTS)})\b)|(?=请|仅|只需|从中选|用一)"
)
# What it talks about: tags, letters, the form or the length of the answer.
_ABOUT_OPTIONS = re.compile(
    r"</?(?:think|answer|reason)|\\boxed|\btags?\b|\bletters?\b|\boptions?\b|\bchoices?\b|\bstep[- ]by[- ]step\b"
    r"|\bmultiple[- ]choice\b|\breasoning\b|\b(?:final|correct|right|single|best) answer\b|\bexplanations?\b"
    r"|\banswer (?:directly|briefly|only|with)\b|\bone answer\b|\bcorrect one\b|选项|字母|选择|作答|回答|答案",
    re.IGNORECASE,
)
_ABOUT_ANY = re.compile(
    r"</?(?:think|answer|reason)|\\boxed|\bstep[- ]by[- ]step\b|\b(?:option|choice)'?s?'? letter\b|\bsingle letter\b"
    r"|\bletter of\b|\b(?:a |one |single )(?:single )?word\b(?! or (?:the )?number of)|\bword or (?:short )?phrase\b"
    r"|\bfew words\b|\btags\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+")
_LABEL_AT_END = re.compile(
    r"(?:^|[\s,;])[(\[]?(?:[A-Za-z]|\d{1,2})[.):\]]\s*$"
)  # of an option, which may begin like an instruction
_ANSWER_PROMPT = re.compile(r"\s+(?:the )?(?:answer|response|solution|a)\s*:\s*$", re.IGNORECASE)
_BARE = 3  # words of a part that need not talk about the answer, such as "2." or "Your task:"


def cut_instruction(text: str, *, with_options: bool) -> tuple[str, str]:
    """The text without the instruction that ends it, and that instruction; "" if it ends with none.

    Args:
        text: a question, with its line ends.
        with_options: whether the question lists options. If not, fewer phrases are taken for an instruction.
    """
    about = _ABOUT_OPTIONS if with_options else _ABOUT_ANY
    text = _ANSWER_PROMPT.sub("", text)
    for start in _START.finditer(text):
        rest = text[start.end() :]
        before = text[: start.start()]
        if before.strip() and not _LABEL_AT_END.search(before) and _is_instruction(rest, about):
            return before.rstrip(" ([\n\t"), rest.strip()
    return text, ""


def _is_instruction(text: str, about: re.Pattern[str]) -> bool:
    """Whether every sentence is about the answer, or too short to say anything."""
    sentences = [part for part in _SENTENCE.split(text.strip()) if part]
    is_about = [about.search(part) is not None for part in sentences]
    return any(is_about) and all(
        known or len(part.split()) <= _BARE for known, part in zip(is_about, sentences, strict=True)
    )
