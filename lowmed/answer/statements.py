"""Splits a text with marked mentions into statements, and finds the mentions that a statement singles out."""

from collections.abc import Iterator, Sequence

import regex

from lowmed.answer.lexicon import ALL, one_of
from lowmed.answer.mentions import ANY, BARE, BRACKET, LABEL, LABELLED_TEXT, LETTER, TEXT, in_class

MENTION = regex.compile(f"[{ANY}]")
_STATEMENT_END = regex.compile(
    rf"(?<=[.!?;])(?=[\s\p{{Lu}}{ANY}])|(?<=[。！？；؟])|\n+|(?<=[,.…–-]|[{ANY}]) ?(?={one_of(ALL.corrections)}\b)"
)
_JOINS = one_of((*ALL.or_words, *ALL.and_words, *ALL.joins))
_ARTICLES = r"the|an?|el|la|las|los|le|les|l|il|lo|un|una|uno|une|um|uma|ein|eine|einen|der|die|das"
_NO_VERB = r"(?! (?:is|are|was|were|would|does|do|can|has|have|shows?|not|both)\b)"
_JOINED = regex.compile(
    rf"\s*(?:,|/|&|;|\b{_JOINS}\b){{1,3}}\s*(?:\b(?:either|option|choice|letter|{_ARTICLES})\b\s*)*([{ANY}]){_NO_VERB}"
)
_JOINED_BEFORE = regex.compile(rf"([{ANY}])\s*(?:/|&|\b{_JOINS}\b)\s*(?:\b(?:option|choice|letter|{_ARTICLES})\b\s*)*$")
_ENUMERATION = regex.compile(rf"[{ANY}](?:(?:[\s,;/&.:]|\b{_JOINS}\b){{0,6}}[{ANY}]{_NO_VERB})+")
ALONE = regex.compile(rf"[^\w{ANY}]*([{ANY}])[^\w{ANY}:✓✔✅☑✗✘❌✖×]*")
ITEM = regex.compile(
    rf"[^\w{ANY}]*(?:{in_class(LABEL, LABELLED_TEXT)}|{in_class(TEXT, LETTER)} ?(?:[:–—✓✔✅☑✗✘❌✖×]|- ))"
)
_OPENS = regex.compile(rf"[^\w{ANY}]*([{ANY}])\s*([,:.\-–—=]|\b{one_of(ALL.reasons)}\b)")
REACH = 200
_CLASS = regex.compile(r"\[\^[^\]]*\]")
LAST_LETTER = regex.compile(rf"[,:→=–-] ?({in_class(LETTER, BRACKET, BARE, LABEL)})[ .!]*$")
_RATED = regex.compile(rf"[{ANY}] ?[:=–-]")


def in_classes(pattern: str) -> str:
    """The pattern with "@" in character classes replaced by all mentions."""
    return _CLASS.sub(lambda match: match[0].replace("@", ANY), pattern)


_LEADS = regex.compile(
    "|".join(
        in_classes(pattern).removesuffix("@") + r"\s*$"
        for pattern in (*ALL.final_verdicts, *ALL.answers, *ALL.verdicts)
        if pattern.endswith("@")
    )
)
_LEAD_END = regex.compile(r"[:：=→]\s*$|\w$")


def split_statements(marked: str) -> list[str]:
    """The statements of a marked text. "The answer is:" is joined with the option in the next line."""
    statements = [part.strip() for part in _STATEMENT_END.split(marked) if part and part.strip()]
    joined: list[str] = []
    for index, statement in enumerate(statements):
        first = ALONE.match(statement) or _OPENS.match(statement) or is_kind(statement[0], LABEL, LABELLED_TEXT)
        if (
            joined
            and first
            and _LEAD_END.search(joined[-1])
            and _LEADS.search(joined[-1][-REACH:])
            and not _starts_list(statements[index:])
        ):
            joined[-1] = f"{joined[-1]} {statement}"
        else:
            joined.append(statement)
    return joined


def _starts_list(statements: Sequence[str]) -> bool:
    """Whether a list of the options begins here, so that the first of them is not singled out."""
    if number_of(statements[0]) != 0:
        return False
    following = statements[1] if len(statements) > 1 else " "
    return number_of(following) == 1 and bool(ITEM.match(following) or ALONE.fullmatch(following))


def number_of(text: str) -> int:
    """The index of the option that the first mention of a text stands for."""
    match = MENTION.search(text)
    return ord(match[0]) & 0xFF if match else -1


def singled_out(statement: str, *, is_first: bool, is_last: bool) -> int:
    """The position of a mention that is the complete statement, opens the first or closes the last one; else -1."""
    if alone := ALONE.fullmatch(statement):
        return alone.start(1)
    if is_last and len(set(MENTION.findall(statement))) == 1 and (closing := LAST_LETTER.search(statement)):
        return closing.start(1)
    if not is_first:
        return -1
    listed = _ENUMERATION.match(statement)
    if listed and len({number_of(mention) for mention in MENTION.findall(listed[0])}) > 1:
        return -1
    if len(_RATED.findall(statement)) > 2:
        return -1  # "A: 1/10, B: 3/10, C: 9/10"
    if is_kind(statement[0], LABEL, LABELLED_TEXT):
        return 0
    opens = _OPENS.match(statement)
    if opens and not (is_kind(opens[1], TEXT) and opens[2] in (".", "-")):
        return opens.start(1)
    return -1


def is_kind(character: str, *kinds: int) -> bool:
    """Whether a mention is of one of the kinds."""
    return any(kind <= ord(character) < kind + 0x100 for kind in kinds)


def may_affirm(character: str) -> bool:
    """Whether a mention counts without an announcement. A bare capital letter or a label does not."""
    return not is_kind(character, LABEL, BARE)


def companions(statement: str, position: int) -> Iterator[str]:
    """The mentions joined with the one at `position`: "B or C"."""
    for place in joined_places(statement, position):
        yield statement[place]


def joined_places(statement: str, position: int) -> Iterator[int]:
    """The positions of the mentions joined with the one at `position`."""
    end = position + 1
    while joined := _JOINED.match(statement, end):
        yield joined.start(1)
        end = joined.end(1)
    yield from joined_before(statement, position)


def joined_before(statement: str, position: int) -> Iterator[int]:
    """The positions of the mentions that stand before the one at `position`, joined by "and" or "or"."""
    while before := _JOINED_BEFORE.search(statement[max(0, position - 40) : position]):
        position = max(0, position - 40) + before.start(1)
        yield position
