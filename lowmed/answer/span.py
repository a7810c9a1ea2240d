"""Whether a sentence contains the gold answer of an open question: the tier between equality and a judge."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import product

import regex

from lowmed.answer.aliases import ALIASES, STOP_WORDS
from lowmed.answer.lexicon import ALL, one_of
from lowmed.answer.negation import is_negated, is_noncommittal, mark_clauses
from lowmed.answer.normalize import normalize, strip_markup
from lowmed.answer.quantity import parse_quantity

_LONGEST_WORDS = 120  # a longer text says too much to count as one answer
_SENTENCES = 3  # of the answer; what follows explains
_SLACK = 5  # further words between those of the gold answer
_MODALITIES = frozenset(word for names in ALL.modalities.values() for name in names for word in name.split())
_OR = regex.compile(rf"\b{one_of(ALL.or_words)}\b", regex.IGNORECASE)
_SENTENCE_END = regex.compile(r"(?<=[.!?;])\s+|\n+|(?<=[。；！？])")
_BRACKETS = regex.compile(r"[(\[][^()\[\]]*[)\]]")
_ALTERNATIVES = regex.compile(
    r"\beither\b|\bwhether\b|\bdifferential\b|\bversus\b|\bvs\b|\bcould (?:also )?be\b|\bmay be\b|\bmight be\b"
)
# A word here, near the answer, makes it something else than the finding.
_CONTEXT_BEFORE = regex.compile(
    r"\b(?:history of|previous(?:ly)?(?: seen)?|prior|resolved|father|mother|sister|brother|son|daughter|family"
    r"|suspected|unlike|instead of|rather than|compared (?:to|with)|next to|adjacent to|below|above|behind|beneath"
    r"|on top of|supplies|supplying|drains?|(?:lateral|medial|anterior|posterior|superior|inferior|relative) to|than"
    r"|lack of|lacks|near|no longer|rules? out|ruled out|excludes?|against"
    r"|(?:may|might|could|can|would|consider(?:ed)?)(?: \w+)?|progress(?:es)? to|evolves? (?:in)?to|similar to|mimics?"
    r"|simulat\w+|risk of|(?:you|they) (?:are|re)|less likely|unlikely)\b(?: \w+){0,2} ?$"
)
_CONTEXT_AFTER = regex.compile(
    r"^ ?(?:\w+ ){0,3}?(?:resolved|spared|unlikely|less likely|excluded|ruled out|unaffected|previously|hard to"
    r"|difficult to|normalized|would|could|might|may|suspected but|like|among|(?:a |\w+ )?(?:year|month|week|day)s? ago"
    r"|ago)\b|^ that (?:there|it)\b"
)
# "A chest X-ray" does not answer "which part of the body?".
_MODALITY_AFTER = regex.compile(r"^ (?:xray|ct|mri|radiograph|ultrasound)s?\b")
_JOIN = rf"{one_of((*ALL.or_words, *ALL.and_words))}"
_APPOSITION = (
    r"(?:an?|the|which|with|without|because|since|as|who|that|in|on|at|of|specifically|most|likely|not|and|but|this|these|it"
    r"|there|consistent|suggest\w*|indicat\w*|measuring|located|involving|due|compatible|best)"
)
_LIST_AFTER = regex.compile(rf"^ ?(?:{_JOIN}|/|&) |^\s*+¦\s*+(?!{_APPOSITION}\b)")
_LIST_BEFORE = regex.compile(rf"(?:\b{_JOIN}|/|&) ?(?:an?|the|in|on)? ?$|(\w+) ¦ ?$")
_JOINED = regex.compile(rf"/|\b{one_of(ALL.or_words)}\b")
_ADVERBIAL = regex.compile(r"^(?:in|on|at|based|given|overall|therefore|thus|from|according|yes)\b[^¦]*¦ ?$")
_CONTRAST = regex.compile(rf"\b{one_of(ALL.but_words)}\b")


def in_span(text: str, gold: str, question: str = "") -> bool:
    """Whether an answer text contains the gold answer and commits to it.

    Plural, word order, function words and the aliases of `aliases.py` may differ. The answer must not be denied, be
    one of several alternatives or list members, name another side, opposite or number, or only repeat the question.

    Args:
        text: the answer text.
        gold: the gold answer.
        question: the question.
    """
    text = strip_markup(text)
    if not normalize(gold) or len(text.split()) > _LONGEST_WORDS:
        return False
    question_words = frozenset(_words(question))
    if not _OR.search(question) and set(_words(gold)) <= question_words:
        return False
    sentences = [part for part in _SENTENCE_END.split(text) if normalize(part)][:_SENTENCES]
    for index, sentence in enumerate(sentences):
        if sentence.rstrip().endswith(("?", "？")) or is_noncommittal(normalize(sentence)):
            continue
        if any(_commits(_BRACKETS.sub(" ", sentence), words) or _commits(sentence, words) for words in _variants(gold)):
            return _same_numbers(sentence, gold) and not any(
                _opposes(earlier, gold) for earlier in sentences[: index + 1]
            )
    return False


@lru_cache(maxsize=4096)
def _variants(gold: str) -> tuple[tuple[str, ...], ...]:
    """The words of the gold answer, with each of its names replaced by its other names."""
    normal = f" {_plain(gold)} "
    choices: list[tuple[str, ...]] = []
    for names in sorted(ALIASES, key=lambda names: -max(map(len, names))):
        present = [name for name in names if f" {name} " in normal]
        if present:
            longest = max(present, key=len)
            normal = normal.replace(f" {longest} ", f" \0{len(choices)}\0 ")
            choices.append(names)
    forms = []
    for names in product(*choices):
        form = normal
        for number, name in enumerate(names):
            form = form.replace(f"\0{number}\0", name)
        forms.append(_content(form))
    return tuple(dict.fromkeys(filter(None, forms)))


def _plain(text: str) -> str:
    return normalize(text).replace("ae", "e").replace("oe", "e").replace(" sided", "")


def _words(text: str) -> tuple[str, ...]:
    return _content(_plain(text))


def _content(plain: str) -> tuple[str, ...]:
    words = [_singular(word) for word in plain.split()]
    return tuple(word for word in words if word not in STOP_WORDS) or tuple(words)


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _commits(sentence: str, words: tuple[str, ...]) -> bool:
    """Whether a sentence contains these words close together, not denied and not as one of several things."""
    marked = mark_clauses(sentence).replace("ae", "e").replace("oe", "e").replace(" sided", "")
    if _ALTERNATIVES.search(marked) and not _CONTRAST.search(marked):
        return False
    for start, end in _windows(marked, words):
        before, after = marked[:start], marked[end:]
        clause_start = max((match.end() for match in _CONTRAST.finditer(before)), default=0)
        if (
            words[0] not in ALL.negators
            and words[0] != "non"
            and any(is_negated(marked, *place) for place in _places(marked, start, end))
        ):
            continue
        if _JOINED.search(marked[start:end]) and len(words) > 1 and not _JOINED.search(" ".join(words)):
            continue
        if _MODALITY_AFTER.search(after) and words[-1] not in _MODALITIES:
            continue
        if _CONTEXT_BEFORE.search(before[clause_start:]) or _CONTEXT_AFTER.search(after) or _LIST_AFTER.search(after):
            continue
        listed = _LIST_BEFORE.search(before)
        if (
            listed
            and not (listed[1] and (clause_start or is_negated(marked, listed.start(1), listed.end(1))))
            and not _opens(before)
        ):
            continue
        return True
    return False


def _opens(before: str) -> bool:
    """Whether the text before a comma is an adverbial phrase: "in the lung apices, there is ..."."""
    return _ADVERBIAL.match(before.strip() + " ") is not None


def _windows(marked: str, words: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """The start and end of the shortest stretches of a text that contain all words, in any order."""
    tokens = [(match.start(), match.end(), _singular(match[0])) for match in regex.finditer(r"[^\s¦‖]+", marked)]
    places = [[number for number, token in enumerate(tokens) if token[2] == word] for word in words]
    if not all(places):
        return
    for anchor in places[0]:
        chosen = [min(options, key=lambda number: abs(number - anchor)) for options in places]
        first, last = min(chosen), max(chosen)
        if len(set(chosen)) == len(words) and last - first < len(words) + _SLACK:
            yield tokens[first][0], tokens[last][1]


def _places(marked: str, start: int, end: int) -> list[tuple[int, int]]:
    """The start and end of each word of a stretch of text."""
    return [match.span() for match in regex.finditer(r"\S+", marked[:end]) if match.start() >= start]


def _sides(text: str) -> set[str]:
    words = set(normalize(text).replace(" sided", "").split())
    if not words.isdisjoint(ALL.both_sides):
        return {"left", "right"}
    return {
        side
        for side, names in (("left", (*ALL.left, "lt")), ("right", (*ALL.right, "rt")))
        if not words.isdisjoint(names)
    }


def _opposes(sentence: str, gold: str) -> bool:
    """Whether a sentence names another side than the gold answer, or affirms its opposite."""
    sides = _sides(gold)
    if sides and _sides(sentence) and not _sides(sentence) <= sides:
        return True
    marked = mark_clauses(sentence)
    expected = set(normalize(gold).split())
    for group in ALL.opposites:
        own = expected.intersection(group)
        for match in regex.finditer(rf"(?<!\S){one_of(group)}(?!\S)", marked):
            if len(own) == 1 and match[0] not in own and not is_negated(marked, match.start(), match.end()):
                return True
    return False


def _same_numbers(sentence: str, gold: str) -> bool:
    """Whether the numbers of the gold answer are those of the sentence, outside of brackets."""
    expected = {str(quantity) for quantity in _numbers(gold)}
    if not expected:
        return True
    return {str(quantity) for quantity in _numbers(_BRACKETS.sub(" ", sentence))} == expected


def _numbers(text: str) -> Iterator[object]:
    for match in regex.finditer(r"(?<![\w.])\d+(?:[.,]\d+)*(?: ?(?:mm|cm|m|ml|l|mg|g|kg|%|hu)\b)?", normalize(text)):
        if quantity := parse_quantity(match[0]):
            yield quantity
