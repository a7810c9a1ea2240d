"""Whether the answer is the one that the reasoning concludes, by rule."""

from dataclasses import dataclass
from typing import ClassVar

from lowmed import answer
from lowmed.answer.negation import is_affirmed, mark_clauses
from lowmed.prompt import CompletionFormat
from lowmed.rewards.format import thought, thought_fault
from lowmed.rewards.score import Score
from lowmed.rewards.sentences import sentences
from lowmed.sample import Kind, Sample


@dataclass(frozen=True)
class AnswerFollows:
    """1 if the think block concludes the answer in the tag, 0 if it concludes another one.

    Whether the answer is right does not matter. The idea of a reward for consistency of reasoning and answer is CAPO's
    (2506.12849, later MCR), whose formula was not found. Reading the conclusion by rule is lowmed's. The reward
    abstains if the reasoning states no single answer, and on questions for JSON or a long text.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("choice", "closed", "open")
    pays_form: ClassVar[bool] = True
    completion_format: CompletionFormat = "think_answer"

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if self.completion_format == "answer" or sample.kind in ("json", "text", "report"):
            return Score(None, "the question requests no reasoning with a short answer")
        text = thought(completion)
        if text is None:
            return Score(0.0, "no single think block before an answer")
        if fault := thought_fault(text):
            return Score(0.0, fault)
        read = answer.read(completion, sample)
        if read.value is None or not read.strict:
            return Score(0.0, f"unread ({', '.join(read.flags) or read.source})")
        follows = is_stated(text, read.value) if sample.kind == "open" else _is_concluded(text, read.value, sample)
        if follows is None:
            return Score(None, "the reasoning states no single answer", read.value)
        return Score(float(follows), "follows" if follows else "the reasoning concludes another answer", read.value)


def _is_concluded(text: str, value: str, sample: Sample) -> bool | None:
    """Whether the last sentence that names an answer names this one; None if no sentence names a single answer."""
    concluded = conclusion(text, answer.question_of(sample))
    return None if concluded is None else concluded == value


def conclusion(text: str, question: answer.Question) -> str | None:
    """The answer in the last sentence that names a single possible one; None if there is none or it is ambiguous."""
    for sentence in reversed(sentences(text)):
        named, problem = answer.read_text(sentence, question)
        if named is not None and _is_possible_answer(named, question):
            return named
        if problem == "ambiguous":
            return None
    return None


def _is_possible_answer(named: str, question: answer.Question) -> bool:
    """Whether a text counts as an answer: an option, yes or no, or words of the question."""
    if question.kind == "choice":
        return named in question.options
    return named in ("yes", "no") or named in answer.normalize(question.question)


def is_stated(text: str, value: str) -> bool | None:
    """Whether the reasoning contains the words of an open answer, and does not only deny them; None without them."""
    marked = mark_clauses(text)
    if is_affirmed(value, marked):
        return True
    return False if f" {value} " in f" {marked} " else None
