"""What the explanations of the training rows state, so that a reward can subtract what a text about any image earns."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from lowmed import answer
from lowmed.answer.findings import MODALITY, PART, Fact, Finding, is_english, read_findings
from lowmed.answer.normalize import tokens
from lowmed.sample import Sample

CONTEXT = (PART, MODALITY)
CONTEXT_WEIGHT = 0.5  # of the mention of a part of the body or a modality, which states nothing about it
COMMONPLACE = 0.5  # a fact in more than this share of the other explanations says nothing about the image
EXAMPLES = 12  # explanations with which each explanation is compared for its baseline
CONSTANTS_TRIED, CONSTANTS = 40, 3  # explanations tried as constant texts, and those of them that are kept
MAX_BASELINE = 0.9  # leaves room for honest texts if a constant happens to be right
_AUXILIARY = re.compile(r"\s*(is|are|was|were|does|do|did|has|have|can)\s+", re.IGNORECASE)
QUESTION_PRIOR = 10  # rows of the complete corpus that count as much as the rows of one question


@dataclass(frozen=True)
class Statement:
    """What a text states: facts with whether each is certain, findings, and words in an order of no sentence."""

    facts: Mapping[Fact, bool]
    findings: tuple[Finding, ...] = ()
    disordered: int = 0


@lru_cache(maxsize=8192)
def read_statement(text: str, english: bool) -> Statement:
    """Read what a text states.

    English gives findings. Other languages give pairs of successive words, which cover order but no negation.
    """
    if english:
        reading = read_findings(text)
        return Statement(reading.facts(), reading.findings, reading.disordered)
    return Statement({("pair", *pair): True for pair in pairwise(tokens(answer.normalize(text)))})


@dataclass(frozen=True, eq=False)
class Corpus:
    """How many explanations state each fact, in all and for each question; and some of the explanations.

    Attributes:
        sample_ids: the samples that are counted, so that a sample is not compared with itself.
        size: number of explanations.
        counts: explanations that state a fact.
        sizes_by_question: number of explanations of each normalized question.
        counts_by_question: the same counts for each question.
        examples: some of the samples, evenly spread.
        constants: those samples whose explanation agrees best with all explanations, as constant texts.
    """

    sample_ids: frozenset[str]
    size: int
    counts: Mapping[Fact, int]
    sizes_by_question: Mapping[str, int]
    counts_by_question: Mapping[str, Mapping[Fact, int]]
    examples: tuple[Sample, ...]
    constants: tuple[Sample, ...] = ()


class _Shares(dict[Fact, float]):
    """The share of other explanations that state a fact, in [0, 1]: the chance that a text about any image has.

    The share among the sample's question is shrunk to that of the complete corpus. A fact that the question
    presupposes has share 1. One that a yes/no question asks for, or that is named as an alternative, has at least
    1/2, and one of n options at least 1/n. Each share is computed when it is first read: explanations repeat facts.

    Args:
        corpus: the explanations.
        sample: the sample; its own explanation is left out of the counts.
        stated: the facts of the sample's explanation.
    """

    def __init__(self, corpus: Corpus, sample: Sample, stated: Mapping[Fact, bool]) -> None:
        question = answer.normalize(sample.question)
        is_counted = sample.id in corpus.sample_ids
        self._counts, self._size = corpus.counts, corpus.size - is_counted
        self._of_question = corpus.counts_by_question.get(question, {})
        self._question_size = max(corpus.sizes_by_question.get(question, 0) - is_counted, 0)
        self._own = stated if is_counted else {}
        self._priors = _priors(sample)

    def __missing__(self, fact: Fact) -> float:
        is_own = fact in self._own
        share = (self._counts.get(fact, 0) - is_own) / self._size if self._size > 0 else 0.0
        count = self._of_question.get(fact, 0) - is_own
        share = (count + QUESTION_PRIOR * share) / (self._question_size + QUESTION_PRIOR)
        self[fact] = max(share, self._priors.get(fact, 0.0))
        return self[fact]


def corpus_of(samples: Sequence[Sample]) -> Corpus:
    """Count the facts of the explanations of some samples."""
    counts: Counter[Fact] = Counter()
    sizes: Counter[str] = Counter()
    by_question: dict[str, Counter[Fact]] = defaultdict(Counter)
    explained = [sample for sample in samples if answer.normalize(sample.explanation)]
    for sample in explained:
        facts = read_statement(sample.explanation, is_english(sample.explanation)).facts
        question = answer.normalize(sample.question)
        counts.update(facts.keys())
        by_question[question].update(facts.keys())
        sizes[question] += 1
    corpus = Corpus(
        sample_ids=frozenset(sample.id for sample in explained),
        size=len(explained),
        counts=dict(counts),
        sizes_by_question=dict(sizes),
        counts_by_question={question: dict(facts) for question, facts in by_question.items()},
        examples=_spread(explained, EXAMPLES),
    )
    tried = _spread(explained, CONSTANTS_TRIED)
    constants = sorted(tried, key=lambda text: _mean_agreement(corpus, text, tried), reverse=True)
    return replace(corpus, constants=tuple(constants[:CONSTANTS]))


def _spread(samples: Sequence[Sample], count: int) -> tuple[Sample, ...]:
    """At most `count` samples, evenly spread."""
    return tuple(samples[:: -(-len(samples) // count) or 1])


def _mean_agreement(corpus: Corpus, text: Sample, rows: Sequence[Sample]) -> float:
    values = [agreed for row in rows if (agreed := _agreement_of(corpus, row, text)) is not None]
    return sum(values) / len(values) if values else 0.0


def _agreement_of(corpus: Corpus, sample: Sample, other: Sample) -> float | None:
    """The agreement of another sample's explanation with that of the sample; None if they are the same."""
    if other.id == sample.id or other.explanation == sample.explanation:
        return None
    explained = _explained(corpus, sample)
    return explained.agreement(read_statement(other.explanation, explained.english))


@lru_cache(maxsize=8192)
def baseline(corpus: Corpus, sample: Sample) -> float | None:
    """What a constant text, the question repeated or a lucky text about another image earns, in [0, 1].

    The maximum of the agreement of the best constants, of that of the question, and of the mean agreement of the best
    quarter of the examples.
    None if the explanation states no finding but what most others state, so that nothing distinguishes this image.
    """
    explained = _explained(corpus, sample)
    if all(explained.shares[fact] > COMMONPLACE or fact[0] in CONTEXT for fact in explained.reference.facts):
        return None
    earned = sorted(_known(_agreement_of(corpus, sample, other) for other in corpus.examples))
    best = earned[-max(1, len(earned) // 4) :]
    constants = _known(_agreement_of(corpus, sample, constant) for constant in corpus.constants)
    repeated = explained.agreement(read_statement(_as_statement(sample.question), explained.english))
    return min(MAX_BASELINE, max([sum(best) / max(1, len(best)), repeated, *constants]))


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def agreement_above_baseline(corpus: Corpus, sample: Sample, completion: Statement) -> float:
    """How far a completion agrees with the explanation beyond the baseline, from 0 to 1 for the explanation itself."""
    least = baseline(corpus, sample) or 0.0
    value = _explained(corpus, sample).agreement(completion)
    return max(0.0, (value - least) / (1 - least))


class _Explained:
    """The explanation of a sample, with which texts are compared."""

    def __init__(self, corpus: Corpus, sample: Sample) -> None:
        self.english = is_english(sample.explanation)
        self.reference = read_statement(sample.explanation, self.english)
        self.shares = _Shares(corpus, sample, self.reference.facts)
        self._options = _option_facts(sample, self.english)
        self._offered = frozenset[Fact]().union(*self._options)

    def agreement(self, text: Statement) -> float:
        stated, expected = text.facts.keys(), self.reference.facts.keys()
        wrong = sum(not facts.isdisjoint(stated) and facts.isdisjoint(expected) for facts in self._options)
        is_echo = wrong > 0 and not any(facts.isdisjoint(stated) for facts in self._options)
        return agreement(self.reference, text, self.shares, self._offered, 0.0 if is_echo else 1 / (1 + wrong))


@lru_cache(maxsize=256)  # of the samples of a step: each is compared with a dozen texts
def _explained(corpus: Corpus, sample: Sample) -> _Explained:
    return _Explained(corpus, sample)


def _option_facts(sample: Sample, english: bool) -> tuple[frozenset[Fact], ...]:
    """For each option the facts that no other option states."""
    facts = [frozenset(read_statement(option, english).facts) for option in sample.options]
    counts = Counter(fact for of_option in facts for fact in of_option)
    return tuple(frozenset(fact for fact in of_option if counts[fact] == 1) for of_option in facts)


def _as_statement(question: str) -> str:
    """The question as a sentence that states what it asks for: questions state no facts, but who repeats them does."""
    match = _AUXILIARY.match(question)
    if match:
        rest = question[match.end() :]
        question = f"There {match[1].lower()}{rest[len('there') :]}" if rest.casefold().startswith("there ") else rest
    return question.replace("?", ".")


def _priors(sample: Sample) -> Mapping[Fact, float]:
    english = is_english(sample.explanation)
    question_facts = read_statement(_as_statement(sample.question), english).facts
    presupposed = 0.5 if answer.is_yes_no(sample.answer) else 1.0
    offered = {
        fact: 1 / len(sample.options) for option in sample.options for fact in read_statement(option, english).facts
    }
    opposite = {(fact[0], not fact[1], *fact[2:]): 0.5 for fact in question_facts if isinstance(fact[1], bool)}
    # "on the left or the right?" presupposes neither
    requested = {fact: presupposed if certain else 0.5 for fact, certain in question_facts.items()}
    return {**(opposite if presupposed < 1 else {}), **offered, **requested}


def agreement(
    reference: Statement,
    completion: Statement,
    shares: Mapping[Fact, float],
    offered: frozenset[Fact] = frozenset(),
    offered_weight: float = 1.0,
) -> float:
    """How far a completion states the facts of the reference, above what a text about any image does; in [0, 1].

    It is a Dice coefficient in which a fact weighs 1 minus its share. A fact that the reference lacks costs its share.
    So a text that does not depend on the image has an expected numerator of 0, however frequent its facts are. A fact
    counts half if only one of the two texts hedges it.

    Args:
        reference: the explanation.
        completion: the reasoning.
        shares: the share of each fact of the two.
        offered: facts that the options of the question state.
        offered_weight: how much such a fact counts if it is right, in [0, 1]; below 1 for a text that states wrong
            options too, and 0 for one that states all.
    """
    expected, gained, stated = reference.facts, 0.0, 0.0
    for fact, certain in completion.facts.items():
        size, share = CONTEXT_WEIGHT if fact[0] in CONTEXT else 1.0, shares[fact]
        stated += size * (1 - share)
        if fact in expected:
            hedged = 1.0 if expected[fact] == certain else 0.5
            gained += size * (1 - share) * hedged * (offered_weight if fact in offered else 1.0)
        else:
            gained -= size * share
    stated += sum((CONTEXT_WEIGHT if fact[0] in CONTEXT else 1.0) * (1 - shares[fact]) for fact in expected)
    stated += max(0, completion.disordered - reference.disordered)
    return max(0.0, min(1.0, 2 * gained / stated)) if stated else 0.0
