"""Records of a judge: its identity, and the calibration file that `lowmed judge calibrate` writes."""

from lowmed.records import JudgeUsage, Part, Record


class JudgeIdentity(Part):
    """Model and rubric of a verdict; only scores of equal identities may be compared."""

    model: str
    """Name of the model on its server."""
    rubric: str
    """`answer` or `clinical`."""
    rubric_digest: str
    """Digest of the rubric's text, its sampling parameters and the answer rules."""


class Rate(Part):
    """A proportion."""

    count: int
    """Numerator."""
    n: int
    """Denominator."""
    rate: float | None
    """Null if `n` is 0."""
    wilson: tuple[float, float] | None
    """95 % Wilson interval."""


class Agreement(Part):
    """Verdicts compared with human labels."""

    n: int
    """Rows with a verdict."""
    labeled_correct: int
    """Rows that a human labeled correct."""
    labeled_incorrect: int
    """Rows that a human labeled incorrect."""
    accuracy: Rate
    """Verdicts equal to the label."""
    kappa: float | None
    """Cohen's kappa; null if chance agreement is 1."""
    false_accepts: Rate
    """Accepted rows among those labeled incorrect."""
    false_rejects: Rate
    """Rejected rows among those labeled correct."""


class Attacks(Part):
    """Texts that answer nothing, judged in place of the candidate."""

    tried: int
    """Attacks with a verdict."""
    accepted: int
    """Attacks that the judge accepted."""
    accepted_texts: tuple[str, ...]
    """The accepted texts, each once."""


class Disagreement(Part):
    """A row on which verdict and label differ."""

    question: str | None
    """Null if the completion held no text to judge, as are `golds` and `text`."""
    golds: tuple[str, ...] | None
    """Gold answers."""
    text: str | None
    """The text that was judged."""
    label: bool
    """The human label."""
    verdict: bool
    """The judge's verdict."""
    by: str
    """`rule`, `cache` or `judge`."""
    why: str
    """Reason of the verdict."""


class RubricCalibration(Part):
    """Agreement of one judge with human labels under one rubric."""

    passed: bool
    """Whether rewards may use this judge."""
    faults: tuple[str, ...]
    """Why not."""
    judge: JudgeIdentity
    """Model and rubric."""
    rows: int
    """Labeled rows that were judged."""
    skipped_rows: int
    """Rows of kinds that are never judged."""
    no_verdict: int
    """Rows on which the judge failed."""
    all: Agreement
    """Over all rows, as a reward meets them."""
    judged_by_model: Agreement
    """Over the rows that no rule settles."""
    attacks: Attacks
    """Attempts to make the judge accept texts that answer nothing."""
    disagreements: tuple[Disagreement, ...]
    """Every row on which verdict and label differ."""
    usage: JudgeUsage
    """Requests, tokens and cost."""


class CalibrationFile(Record):
    """Calibration of one judge model, for `judge.calibration` of a recipe."""

    model: str
    """Name of the model on its server."""
    rubrics: dict[str, RubricCalibration]
    """By rubric name."""
