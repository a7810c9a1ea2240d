"""Reads the option to which a longer text commits itself: its verdict, after eliminations, disclaimers and revocations.

The text is split into statements. Each mention of an option in a statement is rejected, compared, hedged, affirmed, or
announced as the answer. The highest rank with a single option decides; the reader never guesses between two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from lowmed.answer import patterns
from lowmed.answer.mentions import BARE, CONFLICT, LABEL, LABELLED_TEXT, Options, mark_mentions
from lowmed.answer.negation import is_negated, is_noncommittal, mark_clauses
from lowmed.answer.normalize import normalize
from lowmed.answer.patterns import AFFIRMED, ANNOUNCED, ANSWERED, FINAL, HEDGED, INDICATED
from lowmed.answer.statements import (
    ALONE,
    ITEM,
    LAST_LETTER,
    MENTION,
    REACH,
    companions,
    is_kind,
    joined_before,
    joined_places,
    may_affirm,
    number_of,
    singled_out,
    split_statements,
)

_SHORT = 2  # statements
_LONGEST = 20_000  # characters; the middle of a longer text is left out, which bounds the time


@dataclass(frozen=True, slots=True)
class Verdict:
    """One mention of an option that counts for it: where, how strongly, and which option (None for a conflict)."""

    statement: int
    position: int
    rank: int
    option: str | None


def read_verdict(text: str, options: Options, question: str = "") -> tuple[str | None, str]:
    """The option to which a text commits itself; None and the problem if there is no single one.

    Args:
        text: an answer text, or the complete completion without its think block.
        options: the options of the question.
        question: the question. If it asks for what does not apply, only an announced answer counts.
    """
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 4]}\n{text[-_LONGEST * 3 // 4 :]}"
    marked = mark_mentions(text, options)
    if not MENTION.search(marked):
        return None, "noncommittal" if is_noncommittal(normalize(text)) else "no_candidate"
    return _Reading(marked, options, bool(patterns.NEGATED_QUESTION.search(question))).decide()


class _Reading:
    """All verdicts of one text, and the options that it rejects."""

    def __init__(self, marked: str, options: Options, is_negated_question: bool) -> None:
        self.options = options
        self.asks_negation = is_negated_question
        self.statements = split_statements(marked)
        self.rejected: set[str] = set()
        self.rejected_in_list: set[str] = set()
        self.verdicts: list[Verdict] = []
        echoes = self._echoes()
        items = self._items(echoes)
        for index, statement in enumerate(self.statements):
            if index not in echoes and not statement.rstrip().endswith(("?", "？", "؟")):
                self._read_statement(index, statement, in_item=index in items)
        self.verdicts.sort(key=lambda verdict: (verdict.statement, verdict.position))

    @cached_property
    def labels(self) -> int:
        """Number of statements that begin with the label of an option."""
        return sum(is_kind(one[0], LABEL, LABELLED_TEXT) for one in self.statements)

    @cached_property
    def listed(self) -> int:
        """Number of options whose label or bare letter begins a statement."""
        return len({number_of(one) for one in self.statements if is_kind(one[0], LABEL, LABELLED_TEXT, BARE)})

    @cached_property
    def refusals(self) -> list[int]:
        """The statements that refuse to answer."""
        return [
            index
            for index, statement in enumerate(self.statements)
            if is_noncommittal(normalize(statement)) and not patterns.DISCLAIMER.search(statement)
        ]

    def decide(self) -> tuple[str | None, str]:
        """The option of the highest rank that has a single one."""
        verdicts = self._valid()
        if self.verdicts and not verdicts:
            return None, "revoked"
        for rank in (FINAL, ANSWERED, ANNOUNCED, INDICATED, AFFIRMED, HEDGED):
            ranked = [verdict for verdict in verdicts if verdict.rank == rank]
            if not ranked or (rank < ANNOUNCED and self.asks_negation):
                continue
            if rank <= AFFIRMED and self.refusals:
                return None, "noncommittal"
            if rank <= AFFIRMED and not self._is_short(ranked):
                return None, "no_candidate"
            if rank == INDICATED and any(index > ranked[-1].statement for index in self.refusals):
                return None, "noncommittal"
            if len({verdict.option for verdict in ranked}) > 1:
                ranked = self._last(ranked) if rank >= INDICATED else ranked
                ranked = (
                    [verdict for verdict in ranked if verdict.option not in self.rejected]
                    if rank < ANNOUNCED
                    else ranked
                )
            named = {verdict.option for verdict in ranked}
            if len(named) != 1:
                return None, "ambiguous"
            option = named.pop()
            return (option, "") if option else (None, "letter_text_conflict")
        left = [option for option in dict.fromkeys(self.options.texts) if option not in self.rejected_in_list]
        if len(left) == 1 and len(set(self.options.texts)) > 2 and not self.asks_negation and not self.refusals:
            return left[0], ""
        if self.refusals:
            return None, "noncommittal"
        return None, "denied" if self.rejected else "no_candidate"

    def _is_short(self, ranked: Sequence[Verdict]) -> bool:
        """Whether an option that is only affirmed counts: in a short text, or if the text opens with it.

        A longer text mentions options for many reasons, and names others in words of its own.
        """
        return len(self.statements) <= _SHORT or ranked[0].statement == 0

    def _valid(self) -> list[Verdict]:
        """The verdicts that the text does not withdraw later."""
        start = 0
        for index, statement in enumerate(self.statements):
            if patterns.WITHDRAWN.search(statement) and any(
                start <= verdict.statement < index for verdict in self.verdicts
            ):
                start = index
        return [verdict for verdict in self.verdicts if verdict.statement >= start]

    def _last(self, ranked: list[Verdict]) -> list[Verdict]:
        """The verdicts of the last statement if it concludes, or corrects an earlier one; else all."""
        last = ranked[-1].statement
        context = " ".join(self.statements[max(0, last - 1) : last + 1])
        if patterns.SECOND_THOUGHT.search(context) or patterns.CONCLUSION.search(self.statements[last]):
            return [verdict for verdict in ranked if verdict.statement == last]
        return ranked

    def _echoes(self) -> set[int]:
        """Statements that only list the options, one after the other."""
        alone = {
            index: match[1]
            for index, statement in enumerate(self.statements)
            if (match := ALONE.fullmatch(statement)) and match[1] != CONFLICT
        }
        echoes: set[int] = set()
        run: list[int] = []
        for index in sorted(alone):
            if run and index == run[-1] + 1 and number_of(alone[index]) > number_of(alone[run[-1]]):
                run.append(index)
            else:
                run = [index]
            if len(run) > 1:
                echoes.update(run)
        return echoes

    def _items(self, echoes: set[int]) -> set[int]:
        """Read a list in which each option has its own comment; the statements of that list."""
        starts = [index for index, text in enumerate(self.statements) if index not in echoes and ITEM.match(text)]
        labels = [number_of(self.statements[index]) for index in starts]
        if len(set(labels)) < 2:
            return set()
        inside: set[int] = set()
        opens = (
            starts[0] == 0
            and is_kind(self.statements[0][0], LABEL, LABELLED_TEXT)
            and (labels[1] < labels[0] or labels[0] in labels[1:])
        )
        for place, index in enumerate(starts):
            end = starts[place + 1] if place + 1 < len(starts) else index + 1
            inside.update(range(index, end))
            option = self.options.texts[labels[place]]
            comment = MENTION.sub(" ", " ".join(self.statements[index:end]), count=1).strip(" :–—-")
            alone = ALONE.fullmatch(self.statements[index])
            heads = index == 0 and alone and end > 1 and not patterns.WRONG.search(comment)
            if (place == 0 and (opens or heads)) or (alone and end == index + 1 and labels[place] in labels[:place]):
                self.verdicts.append(Verdict(index, 0, ANNOUNCED, option))
            elif patterns.ACCEPTED.search(comment):
                self.verdicts.append(Verdict(index, 0, INDICATED, option))
            elif patterns.REJECTED.search(comment):
                self.rejected.add(option)
                self.rejected_in_list.add(option)
        return inside

    def _read_statement(self, index: int, statement: str, *, in_item: bool) -> None:
        mentions = list(MENTION.finditer(statement))
        if not mentions:
            return
        announced = dict(self._announced(statement))
        if index > 0 and ALONE.fullmatch(statement) and patterns.LIST_LEAD.search(self.statements[index - 1]):
            return  # the first option of a list
        is_last = index == len(self.statements) - 1
        in_item = in_item or (self.labels == 1 and self.listed > 2)  # "A. This is ... B. That is ..." in one line
        if self.labels == 1 and is_kind(statement[0], LABEL) and len({number_of(one[0]) for one in mentions}) == 1:
            announced.setdefault(0, ANNOUNCED)
        position = -1 if in_item else singled_out(statement, is_first=index == 0, is_last=is_last)
        if position >= 0 and (is_last or index == 0 or not is_kind(statement[position], BARE)):
            announced.setdefault(position, ANNOUNCED)
        for position, rank in announced.items():
            for character in (statement[position], *companions(statement, position)):
                self.verdicts.append(Verdict(index, position, rank, self.options.mentioned(character)))
        self._read_mentions(
            index, statement, [mention.start() for mention in mentions], set(announced), in_item=in_item
        )

    def _announced(self, statement: str) -> Iterator[tuple[int, int]]:
        """Position and rank of the mentions that the statement announces as the answer, the lower ranks last."""
        seen: set[int] = {
            match.start(1) for pattern in patterns.COMPARED_AFTER for match in pattern.finditer(statement)
        }
        ranks = ((FINAL, patterns.EXCEPTIONS), *patterns.RANKS) if self.asks_negation else patterns.RANKS
        for rank, of_rank in (*ranks, (ANSWERED, patterns.ALTERNATIVES)):
            for pattern in of_rank:
                for match in pattern.finditer(statement):
                    position, before = match.start(1), statement[: match.start()]
                    conditional = patterns.WOULD.search(match[0]) and patterns.IF.search(statement)
                    if position in seen or conditional or patterns.SUPPOSED.search(statement[:position][-REACH:]):
                        continue
                    seen.add(position)
                    if patterns.DENIED_BEFORE.search(before[-REACH:]):
                        if option := self.options.mentioned(match[1]):
                            self.rejected.add(option)
                    elif rank > INDICATED or may_affirm(match[1]) or patterns.CLOSED.match(statement, position + 1):
                        yield position, rank

    def _read_mentions(
        self, index: int, statement: str, positions: Sequence[int], announced: set[int], *, in_item: bool
    ) -> None:
        """Add the mentions that the statement affirms or hedges, and note those that it rejects."""
        clauses = mark_clauses(patterns.COLON.sub(",", statement))
        places = [match.start() for match in MENTION.finditer(clauses)]
        rejected = {match.start(1) for pattern in patterns.REJECTIONS for match in pattern.finditer(statement)}
        compared = {match.start(1) for pattern in patterns.COMPARISONS for match in pattern.finditer(statement)}
        rejected |= {place for position in rejected for place in joined_before(statement, position)}
        hedged = {match.start(1) for pattern in patterns.HEDGES for match in pattern.finditer(statement)}
        hedged |= {place for position in hedged for place in joined_places(statement, position)}
        compared |= {place for position in compared for place in joined_before(statement, position)}
        condition = supposed.start() if (supposed := patterns.HYPOTHETICAL.search(statement)) else len(statement)
        condition = 0 if patterns.OTHERS.search(statement) else condition
        counted: list[Verdict] = []
        for order, position in enumerate(positions):
            option = self.options.mentioned(statement[position])
            if position in announced or option is None:
                continue
            place = places[order] if order < len(places) else -1
            if position in rejected or (place >= 0 and is_negated(clauses, place, place + 1)):
                self.rejected.add(option)
            elif (
                position not in compared
                and not patterns.WOULD.match(statement, position + 2)
                and position < condition
                and may_affirm(statement[position])
                and not in_item
            ):
                if position in hedged and patterns.OR.search(statement):
                    continue  # "it may be a mass, or it may be an artifact"
                rank = HEDGED if position in hedged else AFFIRMED
                counted.append(Verdict(index, position, rank, option))
        closing = LAST_LETTER.search(statement)
        named = {verdict.option for verdict in counted}
        if closing and named and named != {self.options.mentioned(closing[1])}:
            return  # "It is a mass, B", where B is another option
        if len(named) > 1 and len(named) == len(set(self.options.texts)):
            return  # the statement repeats the options
        if len(named) == 1 and not announced and patterns.SECOND_THOUGHT.match(statement):
            counted = [Verdict(index, verdict.position, ANSWERED, verdict.option) for verdict in counted]
        elif len(named) == 1 and patterns.CONCLUSION.match(statement) and counted[0].rank == AFFIRMED:
            counted = [Verdict(index, verdict.position, INDICATED, verdict.option) for verdict in counted]
        self.verdicts += counted
