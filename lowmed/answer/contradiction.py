"""Whether an answer says the opposite of the gold one: its side, its polarity, or an opposite word."""

import re

from lowmed.answer.normalize import normalize

_NEGATION = re.compile(
    r"\b(?:no|not|without|none|absent|absence|negative|never|nor|neither|free of|denies|\w+n t)\b|没有|不|无"
)
_EXCLUSIVE = tuple(
    tuple(group.split())
    for group in (
        "benign malignant",
        "increased decreased",
        "acute chronic",
        "t1 t2",
        "upper lower",
        "anterior posterior",
        "superior inferior",
        "medial lateral",
        "proximal distal",
        "axial sagittal coronal",
        "transverse coronal",
        "transverse sagittal",
        "arterial venous",
        "male female",
        "normal abnormal",
        "mm cm",
    )
)
_BOTH_SIDES = {"both", "bilateral", "bilaterally"}


def contradictions(prediction: str, gold: str, longest: int = 12) -> tuple[str, ...]:
    """Which of `laterality`, `polarity` and `antonym` set the prediction against the gold text.

    Lexical, so it vetoes graded scores and decides no outcome. Golds longer than `longest` words, and golds that name
    left and right, are not judged: they say several things at once.
    """
    return _contradictions(normalize(prediction), normalize(gold), longest)


def _contradictions(prediction: str, gold: str, longest: int) -> tuple[str, ...]:
    said, wanted = set(prediction.split()), set(gold.split())
    if not said or not wanted or len(gold.split()) > longest or {"left", "right"} <= wanted:
        return ()
    result = []
    sides = _sides(said), _sides(wanted)
    if all(sides) and sides[0] != sides[1]:
        result.append("laterality")
    if bool(_NEGATION.search(prediction)) != bool(_NEGATION.search(gold)):
        result.append("polarity")
    if any(_opposed(said, wanted, group) for group in _EXCLUSIVE) or _prefixed_apart(said, wanted):
        result.append("antonym")
    return tuple(result)


def _sides(words: set[str]) -> set[str]:
    return {"left", "right"} if words & _BOTH_SIDES else words & {"left", "right"}


def _opposed(said: set[str], wanted: set[str], group: tuple[str, ...]) -> bool:
    named = wanted.intersection(group)
    return len(named) == 1 and not said & named and bool(said.intersection(group))


def _prefixed_apart(said: set[str], wanted: set[str]) -> bool:
    def begun(words: set[str]) -> set[str]:
        return {start for start in ("hyper", "hypo") for word in words if word.startswith(start)}

    return len(begun(wanted)) == 1 and bool(begun(said)) and not begun(said) & begun(wanted)
