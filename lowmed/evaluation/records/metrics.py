"""Metrics of greedy completions, controls, sampled completions and judges."""

from pydantic import Field

from lowmed.evaluation.records.box_metrics import BoxMetrics
from lowmed.evaluation.records.classification import Classification
from lowmed.evaluation.records.field_metrics import FieldMetrics
from lowmed.evaluation.records.report_metrics import ReportMetrics
from lowmed.judge.records import JudgeIdentity
from lowmed.records import Part

Interval = tuple[float, float]


class Accuracy(Part):
    """An accuracy with two 95 % intervals."""

    accuracy: float
    """Share of correct questions."""
    by_image: Interval
    """Clopper-Pearson interval on the effective sample size: questions about one image (or patient) are dependent."""
    wilson: Interval
    """Wilson interval: questions are independent."""


class Cell(Part):
    """Accuracy of one stratum."""

    questions: int
    """Number of questions."""
    images: int
    """Number of images (or patients)."""
    strict: float
    """Strict accuracy."""
    lenient: float
    """Lenient accuracy."""
    by_image: Interval
    """Interval of the lenient accuracy, by image."""
    few: bool
    """Under 30 questions or 10 images: too few for a stable figure."""


class Macro(Part):
    """Mean over the cells of a stratum, each cell counted once."""

    strict: float
    """Mean strict accuracy."""
    lenient: float
    """Mean lenient accuracy."""


class ConditionalShare(Part):
    """A share of the rows that fulfil a condition."""

    n: int
    """Rows that fulfil the condition."""
    share: float
    """Share of them."""
    by_image: Interval
    """Its interval, by image."""


class ReasoningCells(Part):
    """Questions by reasoning and answer. Answers are graded leniently; reasoning is right if it comes to the gold."""

    both_right: int
    """Reasoning and answer are right."""
    only_reasoning_right: int
    """The reasoning is right, the answer is wrong or unread."""
    only_answer_right: int
    """The reasoning comes to another answer, the answer is right."""
    both_wrong: int
    """The reasoning comes to another answer, and the answer is wrong or unread."""
    unread_answer_right: int
    """The reasoning cannot be read, the answer is right."""
    unread_answer_wrong: int
    """The reasoning cannot be read, the answer is wrong or unread."""
    answer_right_if_reasoning_right: ConditionalShare | None
    """P(answer right | reasoning right); null without such rows."""
    reasoning_right_if_answer_right: ConditionalShare | None
    """P(reasoning right | answer right), of the rows whose reasoning can be read; null without such rows."""


class TierShare(Part):
    """A share of open answers with its interval."""

    share: float
    """Share of the open questions."""
    by_image: Interval
    """Its interval, by image."""


class OpenTiers(Part):
    """Open answers in tiers, without a judge."""

    questions: int
    """Number of open questions."""
    exact: TierShare
    """Answers equal to a gold answer."""
    span: TierShare
    """Answers equal to a gold answer, or with it inside a sentence."""


class Metrics(Part):
    """Metrics of one system on one split. All shares are of all questions."""

    questions: int
    """Number of questions."""
    images: int
    """Number of images (or patients)."""
    strict: Accuracy | None
    """The answer is in exactly one tag and correct, as rewards require it; null if all are reports."""
    lenient: Accuracy | None
    """The answer can be read without guessing and is correct; likewise."""
    tagged: float
    """Share with exactly one answer tag."""
    unread: float
    """Share from which no single answer could be read."""
    truncated: float
    """Share cut by the token limit."""
    laterality_errors: float
    """Share that names the wrong side."""
    polarity_errors: float
    """Share that denies what is present, or the reverse."""
    token_f1_open: float | None
    """Mean token F1 of open questions."""
    token_f1_open_by_image: Interval | None
    """Interval of `token_f1_open`, by image."""
    reasoning: ReasoningCells | None
    """Reasoning by answer; null if no completion has a think block."""
    by_kind: dict[str, Cell]
    """By question kind."""
    by_modality: dict[str, Cell]
    """By modality."""
    by_answer_type: dict[str, Cell]
    """By kind, with yes/no questions apart from other closed ones."""
    by_topic: dict[str, Cell]
    """By topic."""
    by_strata: dict[str, dict[str, Cell]] = Field(default_factory=dict)
    """By column of the user's choice, such as site or sex, then by its value."""
    macro_kind: Macro | None = None
    """Mean over kinds."""
    macro_modality: Macro | None = None
    """Mean over modalities."""
    macro_answer_type: Macro | None = None
    """Mean over answer types."""
    macro_topic: Macro | None = None
    """Mean over topics."""
    fields: FieldMetrics | None = None
    """By field; absent without JSON questions."""
    boxes: BoxMetrics | None = None
    """Overlap of boxes; absent without questions about boxes."""
    open_tiers: OpenTiers | None = None
    """Open answers in tiers; absent without open questions."""
    classification: Classification | None = None
    """Answers as test results and classes; absent without yes/no questions and choice tasks."""
    reports: ReportMetrics | None = None
    """Similarity of written reports; absent without reports."""


class SampledAtK(Part):
    """Metrics of K sampled completions per question."""

    pass_rate: float
    """Pass@K: at least one of K is correct, unbiased."""
    by_image: Interval
    """Interval of `pass_rate`, by image."""
    chance: float
    """Pass@K of guessing."""
    all_correct: float
    """All of K are correct, unbiased."""
    majority: float
    """maj@K: the most frequent answer is correct."""


class Calibration(Part):
    """Agreement among the completions as confidence in the majority answer."""

    ece: float
    """Expected calibration error over ten bins."""
    risk_at_coverage: dict[str, float]
    """Error rate if only the given share with the highest agreement is answered."""


class SamplingMetrics(Part):
    """Strict metrics of sampled completions."""

    questions: int
    """Number of questions."""
    completions: int
    """Completions per question."""
    by_k: dict[str, SampledAtK]
    """By K."""
    calibration: Calibration
    """Confidence calibration."""


class JudgedAccuracy(Part):
    """A judge's verdicts on the open completions of one system and split."""

    questions: int
    """Open questions."""
    no_verdict: int
    """Questions without a verdict."""
    by_rule: int
    """Verdicts settled by rule."""
    accuracy: float
    """Share accepted."""
    wilson: Interval
    """Wilson interval."""
    by_image: Interval
    """Interval by image."""
    exact_match: float
    """Lenient accuracy of the same completions."""
    accepted_contradictions: int
    """Accepted answers that contradict the gold answer by the word."""


class JudgeCost(Part):
    """All requests to one judge model for this evaluation."""

    hosts: tuple[str, ...]
    """Servers."""
    requests: int
    """Requests sent."""
    malformed: int
    """Completions that held no valid verdict."""
    prompt_tokens: int
    """As counted by the servers."""
    completion_tokens: int
    """As counted by the servers."""
    cost: float
    """0 without prices."""


class JudgeScores(Part):
    """Scores of one judge. No other metric uses them."""

    judge: JudgeIdentity
    """Model and rubric."""
    usage: JudgeCost
    """Requests, tokens and cost."""
    splits: dict[str, dict[str, JudgedAccuracy]]
    """By split, then by system."""
