"""Ranks of a mention of an option, and the patterns of all languages that give it one. "@" stands for the mention."""

from collections.abc import Iterable

import regex

from lowmed.answer.lexicon import ALL, one_of
from lowmed.answer.mentions import ANY
from lowmed.answer.statements import in_classes

# Ranks of a mention.
HEDGED, AFFIRMED, INDICATED, ANNOUNCED, ANSWERED, FINAL = range(6)
HYPOTHETICAL = regex.compile(one_of(ALL.hypotheticals))
WOULD, IF = regex.compile(one_of(ALL.conditional_verbs)), regex.compile(one_of(ALL.ifs))
SUPPOSED = regex.compile(rf"{one_of(ALL.hypotheticals)}(?:(?!\b{one_of(ALL.but_words)}\b)[^;])*$")


def _with_mention(patterns: Iterable[str]) -> list["regex.Pattern[str]"]:
    """Compile patterns in which "@" is the mention of an option; the group is the mention."""
    return [regex.compile(in_classes(pattern).replace("@", f"([{ANY}])")) for pattern in patterns]


COMPARED_AFTER = _with_mention(pattern for pattern in ALL.comparisons if pattern.endswith("@"))
FINAL_VERDICTS, ANSWERS = _with_mention(ALL.final_verdicts), _with_mention(ALL.answers)
VERDICTS = _with_mention(ALL.verdicts)
INDICATIONS, REJECTIONS = _with_mention(ALL.indications), _with_mention(ALL.rejections)
EXCEPTIONS, ALTERNATIVES = _with_mention(ALL.exceptions), _with_mention(ALL.alternatives)
COMPARISONS, HEDGES = _with_mention(ALL.comparisons), _with_mention(ALL.hedges)
RANKS = ((FINAL, FINAL_VERDICTS), (ANSWERED, ANSWERS), (ANNOUNCED, VERDICTS), (INDICATED, INDICATIONS))
ACCEPTED, REJECTED = regex.compile(one_of(ALL.accepted_items)), regex.compile(one_of(ALL.rejected_items))
WITHDRAWN, SECOND_THOUGHT = regex.compile(one_of(ALL.withdrawals)), regex.compile(one_of(ALL.second_thoughts))
CONCLUSION, OTHERS = regex.compile(one_of(ALL.conclusions)), regex.compile(one_of(ALL.other_options))
WRONG = regex.compile(one_of(ALL.wrong_items))
OR = regex.compile(rf"\b{one_of(ALL.or_words)}\b")
COLON = regex.compile(r"[:–]")
CLOSED = regex.compile(r" ?(?:[.,;:!]|$)")
LIST_LEAD = regex.compile(one_of(ALL.list_leads))
NEGATED_QUESTION = regex.compile(one_of(ALL.negated_questions))
DENIED_BEFORE = regex.compile(rf"\b(?:not|never|no longer)\b[^.;:,{ANY}]{{0,40}}$")
DISCLAIMER = regex.compile(one_of(ALL.disclaimers))
