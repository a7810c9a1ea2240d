"""Reads the findings of one sentence, word by word."""

from dataclasses import dataclass

from lowmed.answer.findings.finding import Finding, Reading
from lowmed.answer.findings.medical_words import ANATOMY
from lowmed.answer.findings.order import is_disordered
from lowmed.answer.findings.phrases import Phrase, read_phrase, word_class

_ANATOMY = frozenset(ANATOMY.values())


@dataclass
class _Draft:
    """A finding under construction."""

    phrase: Phrase
    denied: bool
    hedged: bool
    properties: set[tuple[str, bool]]

    def finish(self) -> Finding:
        phrase = self.phrase
        return Finding(
            name=phrase.name,
            kind=phrase.kind,
            denied=self.denied,
            hedged=self.hedged,
            sides=frozenset(phrase.sides),
            places=frozenset(phrase.places),
            properties=frozenset(self.properties),
            count=phrase.count,
            measures=frozenset(phrase.measures),
        )


class _SentenceReader:
    """Reads one sentence from left to right.

    `link` is how the next phrase may describe the current finding: by a place, a copula, or a comma. `denying` and
    `hedging` hold for the findings that follow. `denial_left` is a "not" that denies the next description, or the
    finding before it if none follows. `denial_paused` holds after the place of a denied finding: an "or" denies again.
    `all_hedged` holds after a hedge at the start ("Possibly, ..."). `skipping` holds in a question or a generality,
    which states no finding.
    """

    def __init__(self) -> None:
        self.drafts: list[_Draft] = []
        self.disordered = 0
        self.clause_start = self.denied_from = 0
        self.current: _Draft | None = None
        self.link = ""
        self.denying = self.hedging = self.denial_left = self.hedge_left = False
        self.skipping = ""
        self.described_next: set[str] = set()
        self.has_determiner = self.has_copula = self.all_hedged = self.denial_paused = False

    def read(self, words: list[str]) -> Reading:
        run: list[str] = []
        previous = ""
        for index, word in enumerate(words):
            name = word_class(word)
            if name in ("content", "number"):
                run.append(word)
            else:
                self._end_phrase(run, word)
                run = []
                self._function_word(name, word, previous, words[index + 1 :])
            self.has_determiner = name == "determiner" or (self.has_determiner and name in ("content", "number"))
            previous = name
        self._end_phrase(run, "")
        self._end_clause()
        for draft in self.drafts if self.all_hedged else ():
            draft.hedged = True
        return Reading(tuple(draft.finish() for draft in self.drafts), self.disordered)

    def _function_word(self, name: str, word: str, previous: str, rest: list[str]) -> None:
        if name == "denial":
            if word == "not" and previous in ("copula", "content", "number") and self.current:
                self.denial_left = True
            else:
                self.denying, self.denied_from = True, len(self.drafts)
        elif name == "denied_after":
            self._deny_or_hedge()
        elif name in ("query", "generality"):
            self.skipping = self.skipping or name
        elif name == "hedge":
            self.hedging = self.hedge_left = True
            self.all_hedged = self.all_hedged or not self.drafts
        elif name == "or" and (self.denying or self.denial_paused):
            self.denying, self.denied_from = True, len(self.drafts)
        elif name == "or":
            self.hedging = True
            for draft in self.drafts[-1:]:
                draft.hedged = True
        elif name == "and" and rest and word_class(rest[0]) in ("determiner", "transparent"):
            self.denying = self.denial_paused = False
            if self.has_copula:
                self.clause_start = len(self.drafts)
        elif name == "place":
            self.link = "place" if self.current else ""
            if self.denying and previous != "or" and len(self.drafts) > self.denied_from:  # "no change in the effusion"
                self.denying, self.denial_paused = False, True
        elif name == "copula":
            self.link = "copula"
            self.has_copula = True
        elif name in ("preposition", "verb"):
            self.link = ""
            self.denying = self.denying and word != "with"
        elif name == "scope_end":
            self._end_clause()
        elif name == "comma":
            self._end_comma(rest)

    def _deny_or_hedge(self) -> None:
        """Deny what precedes ("is absent"), or what follows; "cannot be excluded" is a hedge."""
        if self.denial_left or self.denying:
            self.denial_left = self.denying = False
            self.hedging = self.hedge_left = True
        elif self.current:
            self._deny_clause()
        else:
            self.denying, self.denied_from = True, len(self.drafts)

    def _deny_clause(self) -> None:
        for draft in self.drafts[self.clause_start :]:
            draft.denied = True

    def _end_comma(self, rest: list[str]) -> None:
        classes = [word_class(word) for word in rest]
        until = next((index for index, name in enumerate(classes) if name in ("copula", "verb", "scope_end")), None)
        if "or" in classes[:until]:
            self.denying = self.denying or self.denial_paused
        else:
            self._settle()
            self.denying = self.denial_paused = self.hedging = False
            self.skipping = "" if self.skipping == "query" else self.skipping
        self.link = self.link or "comma"

    def _settle(self) -> None:
        if self.denial_left:
            self._deny_clause()
        if self.hedge_left and self.current:
            self.current.hedged = True
        self.denial_left = self.hedge_left = False

    def _end_clause(self) -> None:
        self._settle()
        self.denying = self.denial_paused = self.hedging = self.has_copula = False
        self.link = self.skipping = ""
        self.clause_start = len(self.drafts)

    def _end_phrase(self, run: list[str], following: str) -> None:
        if not run or self.skipping:
            return
        phrase = read_phrase(run)
        self.disordered += phrase.disordered
        for name in phrase.modalities:
            denied = self.denying or self.denial_left
            self.drafts.append(_Draft(Phrase(name=name, kind="modality"), denied, self.hedging, set()))
        if phrase.is_empty:
            return
        if phrase.is_generic and phrase.is_attribute and following == "of":  # "a normal appearance of the brain"
            self.described_next = phrase.properties
            return
        if self.link == "copula" and phrase.kind == "other" and not self.has_determiner and self.current:
            phrase.describe_only()  # "the kidney is hydronephrotic"
        is_place = self.link == "place" and (phrase.kind == "anatomy" or phrase.is_weak)
        if self.current and (is_place or (phrase.is_attribute and self.link)):
            self._describe(self.current, phrase, is_place)
        elif phrase.is_attribute and self.current:
            self.disordered += len(run)
        else:
            self._add(phrase)

    def _describe(self, draft: _Draft, phrase: Phrase, is_place: bool) -> None:
        denied = self.denial_left or (self.denying and self.link == "copula")
        if denied and not is_place:
            draft.properties |= {(value, True) for value in phrase.values()}
            self.denial_left = False
            return
        draft.phrase.sides |= phrase.sides
        draft.phrase.places |= phrase.places
        draft.phrase.measures |= phrase.measures
        if draft.phrase.count is None and not is_place:
            draft.phrase.count = phrase.count
        if is_place and phrase.name and not phrase.is_weak:
            draft.phrase.places.add(phrase.name)
            current = self.current
            self._add(phrase, denied=False)
            self.current = current
            return
        draft.properties |= {(value, False) for value in phrase.properties}
        self.hedge_left = False
        draft.hedged = draft.hedged or self.hedging

    def _add(self, phrase: Phrase, denied: bool | None = None) -> None:
        denied = (self.denying or self.denial_left) if denied is None else denied
        phrase.properties |= self.described_next
        self.described_next = set()
        if self.link != "place":
            self.denial_left = self.hedge_left = False
        denies_properties = denied and phrase.kind == "anatomy"  # "no enlarged heart": the heart is not enlarged
        properties = {(value, denies_properties) for value in phrase.properties}
        draft = _Draft(phrase, denied and not (denies_properties and properties), self.hedging, properties)
        for place in sorted(phrase.places & _ANATOMY if phrase.kind != "anatomy" else ()):
            self.drafts.append(_Draft(Phrase(name=place, kind="anatomy"), False, self.hedging, set()))
        self.drafts.append(draft)
        self.current = draft


def read_sentence(words: list[str]) -> Reading:
    """Read the findings of the words of one sentence; none if their order makes no sentence."""
    if is_disordered(words):
        return Reading((), sum(word_class(word) == "content" for word in words))
    return _SentenceReader().read(words)
