"""Finds the answer text in a completion: in a tag, a box, JSON, after a phrase, or the complete text."""

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from lowmed.answer.lexicon import ALL, one_of
from lowmed.answer.normalize import INVISIBLE, normalize

Source = Literal["tag", "tag_dup", "boxed", "json", "phrase", "whole", "none"]

_CHANNELS = re.compile(r"^.*<\|message\|>", re.DOTALL)  # of a completion in channels, the last one is the final one
_SPECIAL = re.compile(r"<\|[^<>|]*\|>|</?s>|</?(?:b|i|u|em|strong|p|span|div|final|final_answer|output|response)>")
_THINK_END = re.compile(r"</\s*think(?:ing)?\s*>", re.IGNORECASE)
_THINK_START = re.compile(r"<\s*think(?:ing)?\s*>", re.IGNORECASE)
_ANSWER_START = re.compile(r"<\s*answer\s*>", re.IGNORECASE)
_ANSWER_END = re.compile(r"</\s*answer\s*>", re.IGNORECASE)
_STRAY_TAG = re.compile(r"</?\s*(?:answer|think(?:ing)?)\s*>", re.IGNORECASE)
_FENCED = re.compile(r"```\w*\s*\n(.*?)\n?\s*```", re.DOTALL)
_ANSWER_KEY = re.compile(
    r"(?:(?:final|correct|selected|predicted|best|my)[ _-]?)?(?:answer|choice|option|prediction)"
    r"(?:[ _-]?(?:choice|letter|option|text))?",
    re.IGNORECASE,
)
_PHRASE = re.compile(one_of(ALL.answer_phrases), re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?\n]")
_HYPOTHETICAL = re.compile(one_of(ALL.hypotheticals), re.IGNORECASE)
# A completion without any of these needs no step but the last one. Most completions are of that kind.
_MARK = re.compile(rf"[<\\{{\uFEFF]|{one_of(ALL.answer_phrases)}|[^\x00-\x7f]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ExtractedAnswer:
    """The answer as it is written in a completion.

    `text` is None if there is no answer, and `problem` gives the reason. `strict` means exactly one answer tag, or no
    tag and exactly one box. `tail` is the complete text after the think block, if the answer has neither tag nor box,
    and the completion is not truncated.
    """

    text: str | None
    source: Source
    strict: bool = False
    problem: str = ""
    tail: str = ""


def extract(completion: str, finish_reason: str = "stop") -> ExtractedAnswer:
    """Find the answer text in a completion.

    The think block is removed first, so nothing inside it counts as an answer. `finish_reason` is "length" if the token
    limit cut the completion.
    """
    is_cut = finish_reason == "length"
    if not _MARK.search(completion):
        return ExtractedAnswer(None, "none", problem="truncated") if is_cut else _complete_text(completion)
    completion = INVISIBLE.sub("", _SPECIAL.sub("", _CHANNELS.sub("", completion, count=1)))
    *thinking, tail = _THINK_END.split(completion)
    if _THINK_START.search(tail):
        return ExtractedAnswer(None, "none", problem="unclosed_think")
    if is_cut and not thinking:
        return ExtractedAnswer(None, "none", problem="truncated")
    for read_step in (_tagged, _boxed, _json, _after_phrase):
        extracted = read_step(tail, is_cut)
        if extracted:
            return extracted
    return ExtractedAnswer(None, "none", problem="truncated") if is_cut else _complete_text(_STRAY_TAG.sub(" ", tail))


def _complete_text(tail: str) -> ExtractedAnswer:
    text = tail.strip()
    return ExtractedAnswer(text, "whole", tail=text) if text else ExtractedAnswer(None, "none", problem="empty")


def _tagged(tail: str, is_cut: bool) -> ExtractedAnswer | None:
    _, *parts = _ANSWER_START.split(tail)
    if not parts:
        return None
    texts = [_ANSWER_END.split(part)[0].strip() for part in parts]
    closed = len(_ANSWER_END.findall(tail))
    if len(texts) > 1:
        if len({normalize(text) for text in texts}) > 1:
            return ExtractedAnswer(None, "none", problem="ambiguous_tags")
        return ExtractedAnswer(texts[0], "tag_dup") if texts[0] else ExtractedAnswer(None, "none", problem="empty")
    if not closed and is_cut:
        return ExtractedAnswer(None, "none", problem="truncated")
    if not texts[0]:
        return ExtractedAnswer(None, "none", problem="empty")
    if not closed:
        return ExtractedAnswer(texts[0], "tag", problem="unclosed_tag")
    return ExtractedAnswer(texts[0], "tag", strict=closed == 1)


def _boxed(tail: str, is_cut: bool) -> ExtractedAnswer | None:  # noqa: ARG001  a balanced box is complete even in a cut completion
    """The text of the last balanced box."""
    pieces = tail.split("\\boxed")
    for piece in reversed(pieces[1:]):
        body = piece.lstrip()
        end = _closing(body)
        if not end:
            continue
        text = body[1:end].strip()
        return (
            ExtractedAnswer(text, "boxed", strict=len(pieces) == 2)
            if text
            else ExtractedAnswer(None, "none", problem="empty")
        )
    return None


def _closing(body: str) -> int:
    """The index at which the opening brace is closed; 0 if it is not."""
    depth = 0
    for index, letter in enumerate(body):
        depth += (letter == "{") - (letter == "}")
        if depth <= 0:
            return index
    return 0


def _json(tail: str, is_cut: bool) -> ExtractedAnswer | None:  # noqa: ARG001  JSON that parses is complete
    """The answer of a completion that is one JSON object, bare or fenced, with one key such as `answer` or `choice`."""
    if "{" not in tail:
        return None
    fenced = _FENCED.fullmatch(tail.strip())
    try:
        document = json.loads(fenced[1] if fenced else tail)
    except (ValueError, RecursionError):
        return None
    keys = [key for key in document if _ANSWER_KEY.fullmatch(key)] if isinstance(document, dict) else []
    if len(keys) != 1:
        return None
    text, complete = _as_text(document[keys[0]]), tail.strip()
    if not text:
        return ExtractedAnswer(None, "none", problem="empty", tail=complete)
    return ExtractedAnswer(text, "json", tail=complete)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value).strip()
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _after_phrase(tail: str, is_cut: bool) -> ExtractedAnswer | None:
    """The rest of the line after the last "answer is" or "answer:"; the next line if that rest is empty."""
    phrases = list(_PHRASE.finditer(tail))
    if not phrases:
        return None
    phrase, complete = phrases[-1], "" if is_cut else _STRAY_TAG.sub(" ", tail).strip()
    if _HYPOTHETICAL.search(_SENTENCE_END.split(tail[: phrase.start()])[-1]):
        return ExtractedAnswer(None, "none", problem="conditional", tail=complete)
    line, newline, _ = tail[phrase.end() :].lstrip().partition("\n")
    text = _STRAY_TAG.sub(" ", line).strip()
    if not text or (is_cut and not newline):
        return None
    return ExtractedAnswer(text, "phrase", tail=complete)
