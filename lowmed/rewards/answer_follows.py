"""Whether the answer is the one that the reasoning comes to; no judge, no model."""

from dataclasses import dataclass

from lowmed import answer
from lowmed.answer.negation import is_affirmed, mark_clauses
from lowmed.prompt import CompletionFormat
from lowmed.rewards.format import thought, thought_fault
from lowmed.rewards.reasoning import sentences
from lowmed.rewards.score import Score
from lowmed.sample import Sample


@dataclass(frozen=True)
class AnswerFollows:
    """1 where the think block comes to the answer in the tag, 0 where it comes to another; right or wrong alike.

    The idea of a reasoning-to-answer consistency reward is CAPO's (2506.12849, later MCR), whose formula was not found;
    reading the conclusion by rule is the toolkit's. Says nothing where the reasoning states no single answer, nor
    about JSON and whole texts.
    """

    completion_format: CompletionFormat = "think_answer"

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if self.completion_format == "answer" or sample.kind in ("json", "text"):
            return Score(None, "no reasoning that comes to a short answer was asked for")
        text = thought(completion)
        if text is None:
            return Score(0.0, "no single think block before an answer")
        if fault := thought_fault(text):
            return Score(0.0, fault)
        read = answer.read(completion, sample)
        if read.value is None or not read.strict:
            return Score(0.0, f"unread ({', '.join(read.flags) or read.source})")
        agrees = _stated(text, read.value) if sample.kind == "open" else _concluded(text, read.value, sample)
        if agrees is None:
            return Score(None, "the reasoning states no single answer", read.value)
        return Score(float(agrees), "follows" if agrees else "the reasoning comes to another answer", read.value)


def _concluded(text: str, value: str, sample: Sample) -> bool | None:
    """Whether the last sentence that names an answer names this one; None where none does, or it names several."""
    asked = answer.question_of(sample)
    for sentence in reversed(sentences(text)):
        result, flag = answer.read_text(sentence, asked)
        if result is not None and result in _answers(sample, result):
            return result == value
        if flag == "ambiguous":
            return None
    return None


def _answers(sample: Sample, result: str) -> tuple[str, ...]:
    """What counts as naming an answer: an option, yes or no, or a short text that the question offers."""
    if sample.kind == "choice":
        return sample.options
    offered = answer.normalize(sample.question)
    return (result,) if result in ("yes", "no") or result in offered else ()


def _stated(text: str, value: str) -> bool | None:
    """Whether the reasoning says the words of an open answer, or says them only to deny them."""
    marked = mark_clauses(text)
    if is_affirmed(value, marked):
        return True
    return False if f" {value} " in f" {marked} " else None
