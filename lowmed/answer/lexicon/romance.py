"""What Spanish, Portuguese, French and Italian have in common: the patterns of verdicts, filled with their words."""

from dataclasses import dataclass
from typing import Any

GAP = r"(?:(?!\b(?:si|se|não|pas|non|no|s)\b)[^@.;?]){0,120}?"


@dataclass(frozen=True, kw_only=True)
class Words:
    """Alternatives of a regular expression for each role."""

    answer: str  # "respuesta"
    correct: str  # "correcta"
    most: str  # "más"
    be: str  # "es|sería"
    fill: str  # articles and nouns between "is" and the option
    choose: str  # "elijo"
    incorrect: str  # "incorrecta"
    negation: str  # "no"
    less: str  # "menos"
    rule_out: str  # "descarta"
    suggest: str  # "sugiere"
    may: str  # "puede"
    other: str  # "otras opciones"
    but: str  # "pero"
    but_rather: str  # after a denial, "sino"


def verdicts(words: Words) -> dict[str, Any]:
    """The fields of a lexicon that hold patterns with the mention of an option."""
    be = rf"(?:\b(?:{words.be})\b|[:=>→])"
    fill = rf"(?:[^\w@.;?]|\b(?:{words.fill})\b){{0,10}}"
    near = r"[^\w@.;:?]{0,3}(?:\w+ ){0,4}?"
    return {
        "answers": (
            rf"\b(?:{words.answer})\b{GAP}{be}{fill}@",
            rf"\b(?:{words.answer}) ?:? ?@",
        ),
        "verdicts": (
            rf"(?<!\b(?:{words.negation}|{words.less}) )\b(?:{words.correct})\b{GAP}{be}{fill}@",
            rf"\b(?:{words.most}) (?!{words.less})\w+{GAP}{be}{fill}@",
            rf"@{near}(?:{words.be})\b(?: \w+)?? (?:(?:{words.fill}) )*(?:{words.correct}|{words.answer}|(?:{words.most}) \w+)\b",
            rf"@[^\w@]{{0,3}}(?:{words.correct})(?=[ .!]*$)",
            rf"(?<!\b(?:{words.negation}) )\b(?:{words.be}){fill}@(?=[ .!]*$)",
            rf"\b(?:{words.negation})\b[^.;]{{0,60}}\b(?:{words.but_rather}){fill}@",
            rf"\b(?:{words.choose}){fill}@",
        ),
        "indications": (rf"\b(?:{words.suggest}){fill}@",),
        "rejections": (
            rf"@{near}(?:{words.negation}) (?:{words.be})\b",
            rf"@{near}(?:{words.be}) (?:\w+ )?(?:{words.negation}|{words.incorrect}|{words.less})\b",
            rf"@[^\w@]{{0,4}}(?:{words.incorrect}|{words.negation} \w+|{words.less} \w+)\b",
            rf"\b(?:{words.rule_out}){fill}@",
            rf"@[^@.,;:?]{{0,30}}?\b(?:{words.rule_out})\b",
            rf"\b(?:{words.negation}){fill}@",
        ),
        "comparisons": (rf"@[^\w@]{{0,3}}(?:{words.may})\b",),
        "hedges": (rf"\b(?:{words.may}){fill}@",),
        "accepted_items": (
            rf"(?:^|[.:,;-] ?|\b(?:{words.be}) )(?:(?:{words.fill}) )*(?:{words.correct}|(?:{words.most}) probable)\b",
        ),
        "rejected_items": (
            rf"\b(?:{words.incorrect}|{words.negation}|{words.less} \w+|{words.rule_out}|{words.but})\b",
        ),
        "other_options": (rf"\b(?:{words.other})\b",),
    }
