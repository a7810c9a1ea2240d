r"""Where in a model's completion the answer stands: tag, box, JSON, phrase, or the whole of it."""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from lowmed.answer.normalize import INVISIBLE, normalize

Source = Literal["tag", "tag_dup", "boxed", "json", "phrase", "whole", "none"]

_SPECIAL = re.compile(r"<\|[^<>|]*\|>|</?s>")
_THINK_END = re.compile(r"</\s*think(?:ing)?\s*>", re.IGNORECASE)
_THINK_START = re.compile(r"<\s*think(?:ing)?\s*>", re.IGNORECASE)
_ANSWER_START = re.compile(r"<\s*answer\s*>", re.IGNORECASE)
_ANSWER_END = re.compile(r"</\s*answer\s*>", re.IGNORECASE)
_STRAY_TAG = re.compile(r"</?\s*(?:answer|think(?:ing)?)\s*>", re.IGNORECASE)
_FENCED = re.compile(r"```\w*\s*\n(.*?)\n?\s*```", re.DOTALL)
_PHRASE = re.compile(
    r"\banswer(?: to (?:the|this|your) question)?[*_`\s]*(?:\b(?:is|would be)\b[*_`\s]*:?|:)[*_`]*"
    r"|答案[*_`\s]*(?:是|:|：)",
    re.IGNORECASE,
)
# "If it is stained, the answer would be B" answers another question; "if I had to choose" answers this one.
_SENTENCE_END = re.compile(r"[.!?\n]")
_CONDITION = re.compile(r"\bif (?!i |we |one |forced|asked|pressed)", re.IGNORECASE)
# Anything that a rung above the whole text could need; most completions have none of it and skip the ladder.
_MARK = re.compile(r"[<\\{\uFEFF]|answer|答案|[^\x00-\x7f]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Extracted:
    """The answer as written in the completion; `text` is None where there is none, and `flag` says why."""

    text: str | None
    source: Source
    strict: bool = False
    flag: str = ""


def extract(completion: str, finish_reason: str = "stop") -> Extracted:
    """Where the answer stands in a completion.

    Thinking is cut off first, so nothing inside it is ever an answer. Strict means: exactly one answer tag, or no tag
    and exactly one box. `finish_reason` "length" says that the token limit cut the completion.
    """
    cut = finish_reason == "length"
    if not _MARK.search(completion):
        return Extracted(None, "none", flag="truncated") if cut else _whole(completion)
    completion = INVISIBLE.sub("", _SPECIAL.sub("", completion))
    *thought, tail = _THINK_END.split(completion)
    if _THINK_START.search(tail):
        return Extracted(None, "none", flag="unclosed_think")
    if cut and not thought:
        return Extracted(None, "none", flag="truncated")
    for rung in (_tagged, _boxed, _json, _phrase):
        result = rung(tail, cut)
        if result:
            return result
    return Extracted(None, "none", flag="truncated") if cut else _whole(_STRAY_TAG.sub(" ", tail))


def _whole(tail: str) -> Extracted:
    text = tail.strip()
    return Extracted(text, "whole") if text else Extracted(None, "none", flag="empty")


def _tagged(tail: str, cut: bool) -> Extracted | None:
    _, *opened = _ANSWER_START.split(tail)
    if not opened:
        return None
    texts = [_ANSWER_END.split(part)[0].strip() for part in opened]
    closed = len(_ANSWER_END.findall(tail))
    if len(texts) > 1:
        if len({normalize(text) for text in texts}) > 1:
            return Extracted(None, "none", flag="ambiguous_tags")
        return Extracted(texts[0], "tag_dup") if texts[0] else Extracted(None, "none", flag="empty")
    if not closed and cut:
        return Extracted(None, "none", flag="truncated")
    if not texts[0]:
        return Extracted(None, "none", flag="empty")
    if not closed:
        return Extracted(texts[0], "tag", flag="unclosed_tag")
    return Extracted(texts[0], "tag", strict=closed == 1)


def _boxed(tail: str, cut: bool) -> Extracted | None:  # noqa: ARG001  a balanced box is complete, whatever followed it
    """The last balanced box."""
    pieces = tail.split("\\boxed")
    for piece in reversed(pieces[1:]):
        body = piece.lstrip()
        end = _closing(body)
        if not end:
            continue
        text = body[1:end].strip()
        return Extracted(text, "boxed", strict=len(pieces) == 2) if text else Extracted(None, "none", flag="empty")
    return None


def _closing(body: str) -> int:
    """Where the brace that opens the text is closed; 0 where there is none."""
    depth = 0
    for at, letter in enumerate(body):
        depth += (letter == "{") - (letter == "}")
        if depth <= 0:
            return at
    return 0


def _json(tail: str, cut: bool) -> Extracted | None:  # noqa: ARG001  JSON that parses is complete
    """One JSON object, bare or fenced, that has one answer key."""
    if "{" not in tail:
        return None
    fenced = _FENCED.fullmatch(tail.strip())
    try:
        document = json.loads(fenced[1] if fenced else tail)
    except (ValueError, RecursionError):
        return None
    keys = [key for key in ("answer", "final_answer") if isinstance(document, dict) and key in document]
    if len(keys) != 1:
        return None
    text = _as_text(document[keys[0]])
    return Extracted(text, "json") if text else Extracted(None, "none", flag="empty")


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value).strip()
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _phrase(tail: str, cut: bool) -> Extracted | None:
    """The rest of the line after the last "answer is" or "answer:", or the next line where nothing is left on it."""
    phrases = list(_PHRASE.finditer(tail))
    if not phrases:
        return None
    phrase = phrases[-1]
    if _CONDITION.search(_SENTENCE_END.split(tail[: phrase.start()])[-1]):
        return Extracted(None, "none", flag="conditional")
    line, newline, _ = tail[phrase.end() :].lstrip().partition("\n")
    text = _STRAY_TAG.sub(" ", line).strip()
    if not text or (cut and not newline):
        return None
    return Extracted(text, "phrase")
