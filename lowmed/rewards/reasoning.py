"""Agreement of the reasoning with the reference explanation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lowmed import answer
from lowmed.answer.findings import contradicts, exchanged_side, is_english, read_findings
from lowmed.errors import RunError
from lowmed.prompt import CompletionFormat
from lowmed.rewards import embedding
from lowmed.rewards.corpus import Corpus, Statement, agreement_above_baseline, baseline, corpus_of, read_statement
from lowmed.rewards.format import thought, thought_fault
from lowmed.rewards.overlap import overlap
from lowmed.rewards.score import Need, Score
from lowmed.rewards.sentences import sentences
from lowmed.sample import Sample


@dataclass(frozen=True)
class Reasoning:
    """Agreement of the findings of the think block with those of the explanation; 0 if they contradict each other.

    `by: findings` reads what is seen, whether it is denied, side, place, properties and numbers. The value is a Dice
    coefficient of these facts. A fact that other training explanations state too weighs less, and costs more if it is
    wrong. What a lucky explanation of another image earns is subtracted. So a text that fits any image earns about
    nothing, and words without the order of a sentence state no fact. The reward abstains on explanations that state
    only the usual, on samples without an explanation, and if the prompt requests the answer alone. Languages other than
    English are compared by pairs of words and by sides, without negations.

    `by: lexical` is the F1 of tokens. It pays words and not content: a constant list of frequent words earns nearly as
    much as right reasoning (docs/rewards.md has the figures). `by: embedding` compares sentences by their embeddings,
    with `model` and `calibration`. RARL (2506.06600) rewards the quality of the reasoning by a formula that was not
    found; these formulas are lowmed's.
    """

    completion_format: CompletionFormat = "think_answer"
    by: Literal["findings", "lexical", "embedding"] = "findings"
    model: str = ""
    calibration: str = ""
    corpus: Corpus | None = None

    def __post_init__(self) -> None:
        if self.by == "embedding":
            embedding.load_scale(self.calibration, self.model)

    @classmethod
    def needs_with(cls, options: Mapping[str, Any]) -> frozenset[Need]:
        """Requirements of the reward with these options."""
        return frozenset({"embedding"}) if options.get("by") == "embedding" else frozenset()

    def with_corpus(self, samples: Sequence[Sample]) -> "Reasoning":
        """The reward with the explanations of the training samples as its baseline; a baseline that it has stays."""
        return self if self.corpus or self.by != "findings" else replace(self, corpus=corpus_of(samples))

    def prepare(self, completions: Sequence[tuple[Sample, str]]) -> None:
        """Embed all sentences of a batch together."""
        if self.by == "embedding":
            thoughts = [thought(completion) or "" for _, completion in completions]
            explanations = [sample.explanation for sample, _ in completions]
            embedding.embed(self.model, (part for text in (*thoughts, *explanations) for part in sentences(text)))

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion.

        Raises:
            RunError: the reward has no corpus, and `by: findings` needs one.
        """
        if not answer.normalize(sample.explanation):
            return Score(None, "the sample has no explanation")
        if self.completion_format == "answer":
            return Score(None, "the prompt requests no reasoning")
        reference = read_statement(sample.explanation, is_english(sample.explanation))
        if self.by == "findings" and baseline(self._corpus(), sample) is None:
            return Score(None, "the explanation states no finding that distinguishes this image")
        text = thought(completion)
        if text is None:
            return Score(0.0, "no single think block before an answer")
        if fault := thought_fault(text):
            return Score(0.0, fault)
        if "noncommittal" in answer.read(completion, sample).flags:
            return Score(0.0, "the answer is a refusal")
        if contradiction := _contradiction(text, sample.explanation):
            return Score(0.0, f"contradicts the explanation: {contradiction!r}")
        if self.by == "lexical":
            return Score(overlap(text, sample.explanation, sample), "token-F1 with the explanation")
        if self.by == "embedding":
            scale = embedding.load_scale(self.calibration, self.model)
            value = embedding.sentence_f1(self.model, scale, sentences(text), sentences(sample.explanation))
            return Score(value, "F1 of sentences with the explanation, by embedding")
        return self._by_findings(sample, text, reference)

    def _by_findings(self, sample: Sample, text: str, reference: Statement) -> Score:
        completion = read_statement(text, is_english(sample.explanation))
        shared = sum(fact in reference.facts for fact in completion.facts)
        counts = f"{shared} of {len(reference.facts)} facts stated, {len(completion.facts) - shared} others"
        return Score(agreement_above_baseline(self._corpus(), sample, completion), counts)

    def _corpus(self) -> Corpus:
        if self.corpus is None:
            raise RunError(
                "the reward `reasoning` has no training explanations, from which it takes its baseline",
                "method.rewards, reasoning",
                "pass them: rewards.with_corpus(rewards.for_recipe(recipe), training_samples)",
            )
        return self.corpus


def _contradiction(text: str, explanation: str) -> str:
    """What the text states against the explanation; in other languages than English, another side only."""
    if not is_english(explanation):
        return exchanged_side(text, explanation)
    return contradicts(read_findings(text).findings, read_findings(explanation).findings)
