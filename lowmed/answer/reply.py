r"""Where in a model's reply the answer stands: tag, box, JSON, phrase, or the whole of it."""

import json
from dataclasses import dataclass
from typing import Any, Literal

import regex

from lowmed.answer.text import INVISIBLE, normalize

Source = Literal["tag", "tag_dup", "boxed", "json", "phrase", "whole", "none"]

_SPECIAL = regex.compile(r"<\|[^<>|]*\|>|</?s>")
_THINK_END = regex.compile(r"</\s*think(?:ing)?\s*>", regex.IGNORECASE)
_THINK_START = regex.compile(r"<\s*think(?:ing)?\s*>", regex.IGNORECASE)
_ANSWER_START = regex.compile(r"<\s*answer\s*>", regex.IGNORECASE)
_ANSWER_END = regex.compile(r"</\s*answer\s*>", regex.IGNORECASE)
_STRAY_TAG = regex.compile(r"</?\s*(?:answer|think(?:ing)?)\s*>", regex.IGNORECASE)
_FENCED = regex.compile(r"```\w*\s*\n(.*?)\n?\s*```", regex.DOTALL)
_PHRASE = regex.compile(
    r"\banswer(?: to (?:the|this|your) question)?[*_`\s]*(?:\bis\b[*_`\s]*:?|:)[*_`]*|答案[*_`\s]*(?:是|:|：)",
    regex.IGNORECASE,
)
# Anything that a rung above the whole text could need; most replies have none of it and skip the ladder.
_MARK = regex.compile(r"[<\\{\uFEFF]|answer|答案|\p{Cf}", regex.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """The answer as written in the reply; `text` is None where there is none, and `flag` says why."""

    text: str | None
    source: Source
    strict: bool = False
    flag: str = ""


def find(reply: str, finish_reason: str = "stop") -> Found:
    """Where the answer stands in a reply.

    Thinking is cut off first, so nothing inside it is ever an answer. Strict means: exactly one answer tag, or no tag
    and exactly one box. `finish_reason` "length" says that the token limit cut the reply.
    """
    cut = finish_reason == "length"
    if not _MARK.search(reply):
        return Found(None, "none", flag="truncated") if cut else _whole(reply)
    reply = INVISIBLE.sub("", _SPECIAL.sub("", reply))
    *thought, tail = _THINK_END.split(reply)
    if _THINK_START.search(tail):
        return Found(None, "none", flag="unclosed_think")
    if cut and not thought:
        return Found(None, "none", flag="truncated")
    for rung in (_tagged, _boxed, _json, _phrase):
        found = rung(tail, cut)
        if found:
            return found
    return Found(None, "none", flag="truncated") if cut else _whole(_STRAY_TAG.sub(" ", tail))


def _whole(tail: str) -> Found:
    text = tail.strip()
    return Found(text, "whole") if text else Found(None, "none", flag="empty")


def _tagged(tail: str, cut: bool) -> Found | None:
    _, *opened = _ANSWER_START.split(tail)
    if not opened:
        return None
    texts = [_ANSWER_END.split(part)[0].strip() for part in opened]
    closed = len(_ANSWER_END.findall(tail))
    if len(texts) > 1:
        if len({normalize(text) for text in texts}) > 1:
            return Found(None, "none", flag="ambiguous_tags")
        return Found(texts[0], "tag_dup") if texts[0] else Found(None, "none", flag="empty")
    if not closed and cut:
        return Found(None, "none", flag="truncated")
    if not texts[0]:
        return Found(None, "none", flag="empty")
    if not closed:
        return Found(texts[0], "tag", flag="unclosed_tag")
    return Found(texts[0], "tag", strict=closed == 1)


def _boxed(tail: str, cut: bool) -> Found | None:  # noqa: ARG001  a balanced box is complete, whatever followed it
    """The last balanced box."""
    pieces = tail.split("\\boxed")
    for piece in reversed(pieces[1:]):
        body = piece.lstrip()
        depth = 0
        for at, letter in enumerate(body):
            depth += (letter == "{") - (letter == "}")
            if depth <= 0:
                break
        if not body.startswith("{") or depth:
            continue
        text = body[1:at].strip()
        return Found(text, "boxed", strict=len(pieces) == 2) if text else Found(None, "none", flag="empty")
    return None


def _json(tail: str, cut: bool) -> Found | None:  # noqa: ARG001  JSON that parses is complete
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
    return Found(text, "json") if text else Found(None, "none", flag="empty")


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value).strip()
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _phrase(tail: str, cut: bool) -> Found | None:
    """The rest of the line after the last "answer is" or "answer:", or the next line where nothing is left on it."""
    phrase = None
    for phrase in _PHRASE.finditer(tail):
        pass
    if phrase is None:
        return None
    line, newline, _ = tail[phrase.end() :].lstrip().partition("\n")
    text = _STRAY_TAG.sub(" ", line).strip()
    if not text or (cut and not newline):
        return None
    return Found(text, "phrase")
