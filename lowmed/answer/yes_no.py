"""Yes, no, or one of the few answers that a question itself offers."""

import re

from lowmed.answer.negation import noncommittal
from lowmed.answer.normalize import normalize, plain

YES = frozenset(
    ("yes", "y", "true", "yeah", "yep", "present", "是的", "是", "有", "包含", "包括", "存在", "可以", "对")
)
NO = frozenset(
    ("no", "n", "false", "nope", "absent", "不是", "没有", "不包含", "不包括", "不存在", "不可以", "否", "无", "不")
)

_LEADING = re.compile(
    r"\W*(?:(yes|true|yeah|yep)|(no|false|nope))(?:\s*[.,;:!?)\n]|\s*-|\s+\(|\s*$)"
    r"|\W*(?:(不是|没有|不包含|不包括|不存在|不可以|否|无|不)|(是的|是|有|包含|包括|存在|可以|对))\s*[,.;:!?、。，；]",
    re.IGNORECASE,
)
_NO_AS_ANSWER = re.compile(r"\bno\b(?=\s*(?:[.,;:!?)]|$))")
_ANSWERED_NO = re.compile(r"\banswer (?:is |would be )?no\b(?! (?:one|idea|answer)\b)")
_NOT_YES = re.compile(r"\b(?:not|isn t) (?:a )?(?:clear |definite )?yes\b")
_LISTED = re.compile(r"[,:]\s*([^,:?]+(?:,[^,:?]+)*?,?\s*\b[oO][rR]\b[^,:?]+)\?*\s*$")
# "T1, T2 or FLAIR": the list begins before its first comma.
_FIRST_LISTED = re.compile(r"(\w*[A-Z0-9]\w*)\s*$")
_OR = re.compile(r",|\bor\b", re.IGNORECASE)
# Not "T1 weighted or T2 weighted", nor the end of a longer list.
_NEIGHBOURS = re.compile(
    r"(?<![\w-])([\w-]+) or (?:(?:an?|the) )?(?!no\b|not\b)([\w-]+)(?!\s+\1\b)(?![\w-])", re.IGNORECASE
)


def is_yes_no(gold: str) -> bool:
    """Whether a gold answer calls for yes or no."""
    normal = normalize(gold)
    return normal in YES or normal in NO


def read_yes_no(text: str) -> tuple[str | None, str]:
    """`yes` or `no`, or None and a flag that says why.

    "no" inside a sentence is a determiner and decides nothing; "not", "normal" and "nodule" hold no answer at all.
    """
    text = plain(text)
    normal = normalize(text)
    if normal in YES:
        return "yes", ""
    if normal in NO:
        return "no", ""
    leading = _LEADING.match(text)
    said_and_done = leading and leading[0][-1] in ".!\n。"  # "Yes. The cause cannot be determined."
    if not said_and_done and noncommittal(normal):
        return None, "noncommittal"
    words = set(normal.split())
    if leading:
        rest = text[leading.end() :].casefold()
        if leading[1] or leading[4]:
            return (None, "ambiguous") if _NO_AS_ANSWER.match(rest.strip()) else ("yes", "")
        return (None, "ambiguous") if "yes" in words else ("no", "")
    if {"yes", "no"} <= words or _NOT_YES.search(normal):
        return None, "ambiguous"
    if normal.startswith("no ") or _ANSWERED_NO.search(normal):
        return "no", ""
    return ("yes", "") if "yes" in words else (None, "no_candidate")


def offered(question: str, golds: tuple[str, ...]) -> tuple[str, ...]:
    """The answers that a question offers ("lung, liver or heart"), where a gold is one of them; else none."""
    result: list[list[str]] = []
    if listed := _LISTED.search(question):
        first = _FIRST_LISTED.findall(question[: listed.start()])
        result.append([part.strip() for part in (*first, *_OR.split(listed[1])) if part.strip()])
    result += [list(pair.groups()) for pair in _NEIGHBOURS.finditer(question)]
    wanted = {normalize(gold) for gold in golds}
    for options in result:
        forms = [normalize(option) for option in options]
        if len(set(forms)) == len(forms) > 1 and wanted & set(forms):
            return tuple(options)
    return ()
