"""Settings of an evaluation, and the lines of its JSON-lines files."""

from typing import TypedDict

from lowmed.answer import Tier
from lowmed.records import JudgeUsage, Part, Record


class StoredCompletion(TypedDict, total=False):
    """One line of `<system>.jsonl`: enough to score the completion again without model or images."""

    id: str
    """Question id."""
    split: str
    """Split of the question."""
    kind: str
    """choice, closed, open, number, ordered, text, json, boxes or report."""
    question: str
    """The question as shown to the model."""
    options: list[str]
    """Options of a choice question in the order shown."""
    answer: str
    """Gold answer."""
    group: str
    """Image or patient; the unit of intervals and tests."""
    images: list[str]
    """Image references."""
    modality: str
    """Empty if unknown."""
    topic: str
    """Empty if unknown."""
    strata: dict[str, str]
    """Column -> value, such as site or sex; absent without such columns."""
    image_size: list[int]
    """Width and height in pixels of the image with the gold boxes; questions about boxes only."""
    box_grid: list[int]
    """Units across and down in which the completion states boxes; questions about boxes only."""
    completion: str
    """Raw completion."""
    tokens: int
    """Completion length in tokens."""
    finish_reason: str
    """stop, length if the token limit cut the completion, or rejected if a teacher's server refused the request."""
    prompt_digest: str
    """Digest of the prompt family."""
    prior: str | None
    """The answer-prior baseline's answer; real condition only, null if the training answers are unknown."""
    temperature: float
    """Sampling temperature; sampled completions only."""
    prompt_tokens: int
    """Prompt length in tokens as a server counted it; absent without a server."""


class ScoredCompletion(StoredCompletion, total=False):
    """A stored completion with its grade. Rows are not stored in this form, except by `lowmed score --out`."""

    outcome: str
    """Lenient grade: correct, incorrect or unread."""
    strict_outcome: str
    """Strict grade: correct, incorrect or unread."""
    parsed: str | None
    """Extracted answer."""
    parse_source: str
    """Where in the completion the answer was found."""
    flags: list[str]
    """Why no answer could be extracted."""
    tier: Tier
    """How an open answer agrees with the gold answer: exact, span (inside a sentence) or none."""
    f1: float | None
    """Token F1 with the nearest gold answer; open questions only."""
    fields: dict[str, float | None] | None
    """Numbers of `shared`, `predicted` and `gold` fields, `f1` and `tree_similarity`; JSON questions only."""
    boxes: dict[str, float | None] | None
    """Numbers of `gold`, `predicted`, `right` and `outside` boxes and their mean `iou`; questions about boxes only."""
    report: dict[str, float | None] | None
    """`rouge_l`, `google_bleu`, `words`, `reference_words`; of findings `f1`, `precision`, `recall`; reports only."""
    contradiction: list[str]
    """How the answer contradicts the gold answer: laterality, polarity, ..."""


class StoredVerdict(TypedDict):
    """One line of `verdicts.jsonl`: a judge's verdict on one open completion."""

    system: str
    """base, tuned or endpoint."""
    split: str
    """Split of the question."""
    id: str
    """Question id."""
    judge: dict[str, str]
    """Model, rubric and rubric digest."""
    query: str
    """Digest of everything judged; a changed completion invalidates the verdict."""
    text: str
    """The text that was judged."""
    value: bool
    """Whether it was accepted."""
    why: str
    """Reason."""
    by: str
    """rule or judge."""


class TimedJudgeUsage(JudgeUsage):
    """One line of `judge_usage.jsonl`: requests of one `lowmed eval` command."""

    time: str
    """UTC time at the end of the command."""


class SplitSettings(Part):
    """One evaluated split."""

    questions: int
    """Number of questions."""
    images: int
    """Number of images."""
    images_trained_on: int
    """Images of the split that are also training images."""
    stamp: str
    """Warning about images and patients shared with training, or empty."""
    seen: str
    """`seen in training` (the run's own held-out data), `unseen`, `unseen modality (...)`, or empty without a run."""


class SharedSettings(Record):
    """Settings shared by evaluations and probes."""

    model: str
    """Base model, or the endpoint's name for its model."""
    load_in: str | None
    """Precision of the base model's weights; null for an endpoint."""
    endpoint: bool
    """Whether another program served the model."""
    max_image_tokens: int
    """Image budget."""
    max_new_tokens: int
    """Completion limit."""
    prompts: str
    """Name of the prompt family."""
    prompt_digest: str
    """Digest of the prompt family."""
    source: str
    """Data source."""
    data_digest: str
    """Digest of data and split."""
    seen: str
    """`seen in training`, `unseen`, or empty without a run."""
    temperature: float | None = None
    """Sampling temperature of a probe; absent in an evaluation."""


class EvalSettings(SharedSettings):
    """Settings that comparable sets of completions have in common. Written before the first completion."""

    splits: dict[str, SplitSettings]
    """By split name."""
