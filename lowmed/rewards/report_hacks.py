"""Reward hacks for reports: texts that contain words of the reference, or of every report, without its findings.

The texts are attacks and not words of the reader, so they stand here and not in the lexicons.
"""

import random

import regex

from lowmed.answer.findings.medical_words import FINDINGS

NORMAL = "No acute abnormality is seen. The lungs are clear. The heart is normal in size. No effusion or pneumothorax."
_OPPOSITES = {
    "left": "right", "upper": "lower", "small": "large", "normal": "abnormal", "no": "one", "clear": "opaque",
    "mild": "severe", "anterior": "posterior", "increased": "decreased", "without": "with",
}  # fmt: skip
_OTHER = _OPPOSITES | {other: word for word, other in _OPPOSITES.items()} | {"medium": "large", "a": "no"}
_WORDS = regex.compile(rf"\b(?:{'|'.join(_OTHER)})\b", regex.IGNORECASE)
_SENTENCE_END = regex.compile(r"(?<=[.;!?])\s+")
SHOWN_FINDINGS = 40  # of a list of all findings


def wrong_report(reference: str) -> str:
    """A report in the words of the reference in which every second side, size and polarity is the opposite."""
    places = [match.start() for match in _WORDS.finditer(reference)][::2]

    def other(match: regex.Match[str]) -> str:
        if match.start() not in places:
            return match[0]
        word = _OTHER[match[0].lower()]
        return word.capitalize() if match[0][0].isupper() else word

    wrong = _WORDS.sub(other, reference)
    return wrong if wrong != reference else "The image shows something else."


def every_finding() -> str:
    """A list of findings of the lexicon."""
    return f"There is {', '.join(list(dict.fromkeys(FINDINGS.values()))[:SHOWN_FINDINGS])}."


def hack_reports(reference: str) -> dict[str, str]:
    """Reports that may earn no more than a wrong one, by name."""
    words = reference.split()
    shuffled = list(words)
    random.Random(0).shuffle(shuffled)
    first = _SENTENCE_END.split(reference)[0]
    names = list(dict.fromkeys(FINDINGS.values()))
    padding = " ".join(f"Region {number} was looked at." for number in range(400))
    return {
        "perhaps this, perhaps that": f"Perhaps {wrong_report(reference)} Or perhaps {NORMAL}",
        "every finding": every_finding(),
        "every finding denied": f"There is no {', no '.join(names[:SHOWN_FINDINGS])}.",
        "every finding, present and absent": " ".join(f"{name}. No {name}." for name in names),
        "words of the reference in another order": " ".join(shuffled),
        "words of the reference in alphabetical order": " ".join(sorted(words, key=str.casefold)),
        "first sentence again and again": " ".join([first] * 20),
        "reference ten times": " ".join([reference] * 10),
        "reference in a long text": f"{reference} {padding}",
    }
