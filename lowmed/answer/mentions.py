"""Finds where a text mentions the options of a question, and replaces each mention by one character.

The rules of `verdict.py` then apply to short patterns such as "the answer is @", whatever the texts of the options are.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_uppercase

import regex

from lowmed.answer.lexicon import ALL, one_of
from lowmed.answer.normalize import normalize, strip_markup
from lowmed.sample import LETTERS

# Private-use characters: one per option and kind of mention.
# The kinds: an option's text; a letter at the start of a line, alone or with the option's text; "option B"; "(B)"; B.
TEXT, LABEL, LABELLED_TEXT, LETTER, BRACKET, BARE = (0xE000 + 0x100 * kind for kind in range(6))
CONFLICT = "\uf000"  # a letter with the text of another option
ANY = "\ue000-\uf8ff"  # for use in a character class

_OWN_LETTER = regex.compile(r"^\(?([A-Z])[).:]\s*(?=\S)")
_NEVER_IN_TEXT = frozenset((*ALL.yes, *ALL.no))  # "no" in a sentence is a determiner, not an option's text
_LATIN = "[a-zA-ZÀ-ÖØ-öø-ɏ]"
_LATIN_OR_DIGIT = "[0-9a-zA-ZÀ-ÖØ-öø-ɏ]"
_EDGE = r"[\p{Latin}\p{N}'’\-]"
_OPTION_WORD = rf"(?i:{one_of(ALL.option_words)})"
_WORD_LETTERS = "".join(ALL.word_letters)
_SURE_LETTERS = "".join(letter for letter in ascii_uppercase if letter not in _WORD_LETTERS)
_NOT_A_WORD = rf"(?!\s+(?:[{ANY}]|(?!(?i:{one_of((*ALL.words_after_letters, *ALL.reasons))})\b)[\p{{Ll}}\p{{N}}]))"


def in_class(*kinds: int) -> str:
    """A character class of the mentions of these kinds."""
    return "[" + "".join(f"{chr(kind)}-{chr(kind + 0xFF)}" for kind in kinds) + "]"


_LETTERS = regex.compile(
    rf"""(?P<label>^[^\w\n{ANY}]*(?:\d+[.)]\s*)?(?:{_OPTION_WORD}\s*)?[(\[]?([A-Z])(?:[)\]][).:\]]*|[.:、]+|\s+[-–—](?=\s))
        (?=\s*\S)|^[^\w\n{ANY}]*\(?([a-z])[).:]+\s*(?={in_class(TEXT)})|^[^\w\n{ANY}]*([A-Z])(?=[^\w\n{ANY}]*$))
    |(?P<letter>(?<!\w){_OPTION_WORD}[ ]?[:]?[ ]?["'“(\[]?([A-Z])(?!{_EDGE})["'”)\]]?)
    |(?P<bracket>(?<!\w)[(\[]\s*(?:{_OPTION_WORD}\s*)?([A-Za-z])\s*[)\]])
    |(?P<bare>(?<!{_EDGE})(?:([{_SURE_LETTERS}])|([{_WORD_LETTERS}]){_NOT_A_WORD})(?!{_EDGE}))
    |(?P<small>\b(?i:{one_of(ALL.answer_words)})(?:\s*[:=]\s*|\s+(?:is\s+)?)["'“(]?([a-z])(?=[^\w\n]*$))""",
    regex.VERBOSE | regex.MULTILINE,
)
_KINDS = {"label": LABEL, "letter": LETTER, "bracket": BRACKET, "bare": BARE, "small": LETTER}
_TEXT_IN_FRONT = regex.compile(rf"({in_class(TEXT)})[\s,\-–—]{{0,3}}({in_class(BRACKET)})")
_TEXT_AND_LETTER = regex.compile(rf"({in_class(TEXT)})[\s,]{{0,3}}({in_class(LETTER)})")
_TEXT_BEHIND = regex.compile(
    rf"(?:({in_class(LABEL)})[\s\"“(]{{0,3}}|({in_class(LETTER, BRACKET)})[\s:\"“(\-–—]{{0,3}}"
    rf"|({in_class(BARE)})[\s.:)(\"“\-–—,=]{{1,4}})"
    rf"({in_class(TEXT)})(?P<alone>(?=[\s)\"”]*(?:[.,;:!?\n{ANY}]|$)))?"
)
_PRIVATE = re.compile(f"[{ANY}]")  # a completion may contain such characters itself
_ENDS = re.compile(rf"\s*(?:/|{one_of(ALL.or_words)}\b)|\s*(?:[.;:!?\n)(\]\"'”*✓✔✅☑✗✘❌✖-]|$)")
_STEP = re.compile(r"[.)]\s+\w")
_STRUCK_OUT = re.compile(r"~~[^~\n]*~~")
_DROPPED = str.maketrans({**dict.fromkeys('[]{}"“”„‟«»「」『』_~#|<>)）\ufe0f', " "), "(": " – ", "（": " – "})
_SHORT_NOT = regex.compile(r"n['’]t\b")
_SHORT_IS = regex.compile(r"(?<=\b(?:it|this|that|answer|diagnosis|choice))['’]s\b")
_CANNOT = regex.compile(r"\b(ca)n? ?not\b")  # also "ca not", which "can't" has become
_SPACES = regex.compile(r"[^\S\n]+")


@dataclass(frozen=True, slots=True)
class Options:
    """Options in shown order, with their normal forms. Options of equal text count as one option.

    `by_normal` maps a normal form to its option, and to None if options of different text share the form.
    """

    texts: tuple[str, ...]
    normal: tuple[str, ...]
    by_normal: dict[str, str | None]

    def lettered(self, letter: str) -> str | None:
        """The option shown under that letter of either case; None if there is none."""
        index = LETTERS.find(letter.upper())
        return self.texts[index] if 0 <= index < len(self.texts) else None

    def mentioned(self, character: str) -> str | None:
        """The option that a character of marked text stands for; None for a letter with another option's text."""
        return None if character == CONFLICT else self.texts[ord(character) & 0xFF]


@lru_cache(maxsize=8192)
def prepare_options(texts: tuple[str, ...]) -> Options:
    """Prepare options for the reader. Letters that are part of the option texts ("A. CT") are removed."""
    bare = texts
    if _OWN_LETTER.match(texts[0] if texts else ""):
        own_letters = [_OWN_LETTER.match(text) for text in texts]
        if all(match and match[1] == letter for match, letter in zip(own_letters, LETTERS, strict=False)):
            bare = tuple(_OWN_LETTER.sub("", text, count=1) for text in texts)
    normal = tuple(map(normalize, bare))
    by_normal: dict[str, str | None] = {}
    for text, form in zip(texts, normal, strict=False):
        by_normal[form] = text if by_normal.get(form, text) == text else None
    return Options(texts, normal, by_normal)


@lru_cache(maxsize=1024)
def _text_pattern(normal: tuple[str, ...]) -> tuple[re.Pattern[str] | None, tuple[int, ...]]:
    """A pattern of the texts of all options in a sentence, and the index of the option of each of its groups.

    Longer options come first, so that "pleural effusion" is not read as "effusion". A lone letter is a word in a
    sentence, and "no" is a determiner.
    """
    order = [
        index
        for index, form in enumerate(normal)
        if form and not regex.fullmatch(r"\p{L}", form) and form not in _NEVER_IN_TEXT
    ]
    order.sort(key=lambda index: -len(normal[index]))
    pattern = "|".join(f"({_spellings(normal[index])})" for index in order)
    return re.compile(pattern) if order else None, tuple(order)


def _spellings(normal: str) -> str:
    """A pattern of the spellings of a normalized text in a sentence: other punctuation, hyphens, articles, "x-ray"."""
    words = [re.escape(word).replace("xray", r"x[\s\-]?ray") for word in normal.split()]
    between = rf"(?:[^\w\n{ANY}]{{1,3}}(?:{one_of(ALL.definite_articles)}\s)?|(?<=\d)(?={_LATIN}))"
    before = rf"(?<!{_LATIN_OR_DIGIT})(?<!\d[.,])" if normal[0].isascii() else ""
    after = rf"(?!{_LATIN_OR_DIGIT})(?![.,]\d)" if normal[-1].isascii() else ""
    return before + between.join(words) + after


def mark_mentions(text: str, options: Options) -> str:
    """The text with one character for each mention of an option; otherwise in lower case, without brackets and quotes.

    Args:
        text: part of a completion.
        options: the options of the question.
    """
    text = strip_markup(_STRUCK_OUT.sub(" ", _PRIVATE.sub(" ", text)))
    for letters in ALL.other_letters:
        text = _translate_letters(text, letters)
    text = _mark_texts(text, options)
    text = _LETTERS.sub(lambda match: _mark_letter(match, options), text)
    text = _TEXT_IN_FRONT.sub(lambda match: _merged(match[1], match[2], TEXT), text)
    text = _TEXT_AND_LETTER.sub(lambda match: match[1] if _same(match[1], match[2]) else match[0], text)
    text = _TEXT_BEHIND.sub(_merge_behind, text)
    text = _SHORT_IS.sub(" is", _SHORT_NOT.sub(" not", text.casefold().translate(_DROPPED)))
    return _SPACES.sub(" ", _CANNOT.sub(r"\1n not", text)).strip()


def _translate_letters(text: str, letters: str) -> str:
    """Replace the option letters of another alphabet by A, B, C, where they stand alone."""
    pattern = regex.compile(rf"(?<![\p{{L}}\p{{N}}])[{letters}](?![\p{{L}}\p{{N}}])")
    return pattern.sub(lambda match: LETTERS[letters.index(match[0])], text)


def _mark_texts(text: str, options: Options) -> str:
    """Replace the texts of options. A bare number counts only where it is announced, like a bare letter."""
    pattern, order = _text_pattern(options.normal)
    if pattern is None:
        return text
    lower = text.lower()
    parts, end = [], 0
    # Matching in lower case is much faster to prepare than ignoring case. The length changes only for rare letters.
    for match in pattern.finditer(lower if len(lower) == len(text) else text):
        index = order[(match.lastindex or 1) - 1]
        if _is_nested(options, index) and not _ENDS.match(text, match.end()):
            continue  # perhaps the beginning of the longer option, in other words
        if options.normal[index].isdecimal() and _STEP.match(text, match.end()):
            continue  # "1. Look at the ribs"
        kind = BARE if options.normal[index].isdecimal() else TEXT
        parts += [
            text[end : match.start()],
            chr(kind + options.texts.index(options.texts[index])),
        ]  # equal ones are one
        end = match.end()
    return "".join((*parts, text[end:]))


def _is_nested(options: Options, index: int) -> bool:
    """Whether the text of an option is part of another option's text."""
    form = options.normal[index]
    return any(form in other and form != other for other in options.normal)


def _mark_letter(match: "regex.Match[str]", options: Options) -> str:
    kind = next(name for name in _KINDS if match[name] is not None)
    letter = next(group for group in match.groups() if group and len(group) == 1 and group.isalpha())
    option = options.lettered(letter)
    if option is None:
        return match[0]
    lead = match[0][: match[0].lower().rindex(letter.lower())] if kind == "small" else ""
    return f"{lead}{chr(_KINDS[kind] + options.texts.index(option))} "


def _same(one: str, other: str) -> bool:
    return ord(one) & 0xFF == ord(other) & 0xFF


def _merged(one: str, other: str, kind: int) -> str:
    return chr(kind + (ord(one) & 0xFF)) if _same(one, other) else CONFLICT


def _merge_behind(match: "regex.Match[str]") -> str:
    letter = match[1] or match[2] or match[3]
    if match["alone"] is None and not _same(letter, match[4]) and not match[1]:
        return match[0]  # "The answer is B. Pneumothorax would show ...": two sentences
    return _merged(letter, match[4], LABELLED_TEXT if match[1] else TEXT)
