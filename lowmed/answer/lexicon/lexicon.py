"""The words of one language that the answer reader uses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Spelling(NamedTuple):
    """Rewrites one word of several spellings to one form during normalization.

    `needle` is a substring of every match, and allows a fast check. `loose` matches the spellings that are made of
    plain lower-case words, so that the fast path of normalization leaves them to the rewrite.
    """

    needle: str
    pattern: str
    replacement: str
    loose: str


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """Words and patterns of one language. An empty field means that the language does not use that rule.

    A word is compared as it stands. A pattern is a regular expression without capturing groups. Both apply to
    normalized text (lower case, "ß" as "ss", no punctuation, "don't" as "don t") unless the comment says otherwise.
    The reader applies the words of all languages to every text, so leave out a word that means something else in
    another language.
    """

    language: str  # ISO 639-1
    word_edge: str = r"\b"  # pattern on both sides of a word; empty for a language without spaces

    # Words that answer a yes/no question.
    yes: tuple[str, ...] = ()  # the complete answer is this word
    no: tuple[str, ...] = ()
    opening_yes: tuple[str, ...] = ()  # raw text: the answer opens with this word
    opening_no: tuple[str, ...] = ()
    opening_end: str = r"\s*[.,;:!?]"  # raw text, pattern: follows an opening yes or no
    yes_in_text: tuple[str, ...] = ()  # means yes anywhere in a sentence
    no_in_text: tuple[str, ...] = ()  # means no as the first word, and makes a yes in the same text ambiguous
    not_no: tuple[str, ...] = ()  # raw text, patterns: open like a no and are none, "no doubt"
    states_no: tuple[str, ...] = ()  # patterns: "the answer is no"
    rejects_yes: tuple[str, ...] = ()  # patterns: "not a clear yes"

    # Function words.
    and_words: tuple[str, ...] = ()
    or_words: tuple[str, ...] = ()
    but_words: tuple[str, ...] = ()
    definite_articles: tuple[str, ...] = ()  # normalization drops them
    indefinite_articles: tuple[str, ...] = ()  # normalization drops them at the start of a text

    # Negation.
    negators: tuple[str, ...] = ()  # raw text: turn the next word into its denial, "contrast or no contrast"
    denial_openers: tuple[str, ...] = ()  # raw text: open a denied part of a sentence
    negations: tuple[str, ...] = ()  # patterns: make the polarity of a short answer negative
    denials: tuple[str, ...] = ()  # patterns: deny what follows in the clause
    scope_ends: tuple[str, ...] = ()  # end the reach of a denial
    list_joins: tuple[str, ...] = ()  # extend a denial over the members of a list
    copulas: tuple[str, ...] = ()  # patterns: stand between a finding and a denial that follows it
    adverbs: tuple[str, ...] = ()  # patterns: may stand between the copula and that denial
    denied_after: tuple[str, ...] = ()  # patterns: deny what precedes, "is absent"
    refusals: tuple[str, ...] = ()  # patterns: refuse to answer
    disclaimers: tuple[str, ...] = ()  # patterns, as for verdicts: a refusal to give medical advice, not to answer

    # Where an answer is announced, all in raw text.
    answer_phrases: tuple[str, ...] = ()  # patterns: "the answer is", "answer:"
    hypotheticals: tuple[str, ...] = ()  # patterns: make the announced answer one to another question

    # Letters of options, all in raw text.
    joins: tuple[str, ...] = ()  # further words for "and" and "or", between two mentions only
    conditional_verbs: tuple[str, ...] = ()  # patterns: "would"; a verdict with one is void if an `ifs` follows it
    ifs: tuple[str, ...] = ()
    answer_words: tuple[str, ...] = ()  # may precede a lower-case letter, "answer: b"
    option_words: tuple[str, ...] = ()  # patterns: mark a letter as an option, "option B"
    letter_lead_ins: tuple[str, ...] = ()  # patterns, with their trailing space: all that may precede a lone letter
    word_letters: tuple[str, ...] = ()  # capital letters that are words too, like the article "A"
    words_after_letters: tuple[str, ...] = ()  # follow such a letter if it is an option, "A is"
    reasons: tuple[str, ...] = ()  # follow an answer: "B because"
    other_letters: tuple[str, ...] = ()  # the letters of options in another alphabet, in the order of A, B, C

    # Verdicts on options: patterns on text in lower case without brackets and quotes, "not" instead of "n't". In them,
    # "@" is the mention of an option. Lookarounds are allowed.
    final_verdicts: tuple[str, ...] = ()  # outrank all others: "the final answer is @"
    answers: tuple[str, ...] = ()  # name the answer: "the answer is @"
    verdicts: tuple[str, ...] = ()  # announce it in other words: "the most likely diagnosis is @"
    indications: tuple[str, ...] = ()  # weaker: "is consistent with @"
    rejections: tuple[str, ...] = ()  # "@ is less likely"
    comparisons: tuple[str, ...] = ()  # mention without a choice: "unlike @", "@ usually"
    hedges: tuple[str, ...] = ()  # "may be @"
    accepted_items: tuple[str, ...] = ()  # without "@": verdict about the option at the start of a line
    rejected_items: tuple[str, ...] = ()  # without "@"
    wrong_items: tuple[str, ...] = ()  # those of them that leave no doubt, "incorrect"
    withdrawals: tuple[str, ...] = ()  # void everything before: "let me correct that"
    corrections: tuple[str, ...] = ()  # patterns: begin a new statement after a comma, "wait", "scratch that"
    second_thoughts: tuple[str, ...] = ()  # void an earlier verdict if another one follows: "actually"
    conclusions: tuple[str, ...] = ()  # the verdict after them outranks earlier ones: "therefore"
    exceptions: tuple[str, ...] = ()  # verdicts if the question asks for what does not apply: "the false one is @"
    alternatives: tuple[str, ...] = ()  # name a second answer: "it could also be @"
    list_leads: tuple[str, ...] = ()  # open a list of the options: "let us look at each option:"
    other_options: tuple[str, ...] = ()  # mark a sentence about the options that were not chosen
    negated_questions: tuple[str, ...] = ()  # raw text: the question asks for what does not apply, "except"

    # Opposites.
    left: tuple[str, ...] = ()  # each with its counterpart at the same place of `right`
    right: tuple[str, ...] = ()
    both_sides: tuple[str, ...] = ()
    opposites: tuple[tuple[str, ...], ...] = ()  # of the words of one group at most one is true
    opposite_prefixes: tuple[str, ...] = ()

    # Reasoning that was written with the answer in view.
    given_answers: tuple[str, ...] = ()  # patterns: mention that the answer was given, "provided answer"

    order_cues: tuple[str, ...] = ()  # raw text of a question, patterns: the answer is a list in an order

    # Numbers, units, spellings, names.
    number_words: Mapping[str, int] = field(default_factory=dict)
    units: tuple[str, ...] = ()
    spellings: tuple[Spelling, ...] = ()
    modalities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # kind of image: its names
