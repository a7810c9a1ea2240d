"""The JSON files of a study: the state of each job, and the results with everything that went into them."""

from typing import Literal

from lowmed.records import Part, Record

Interval = tuple[float, float]
Status = Literal["waiting", "running", "stopped", "failed", "finished"]


class JobRecord(Record):
    """The state of one arm and seed."""

    arm: str
    """Name of the arm."""
    seed: int
    """Seed of the run."""
    digest: str
    """Digest of recipe, overrides, seed, and the same of the run that it starts from."""
    status: Status
    """`finished` after training and all evaluations. The next `lowmed study` continues `stopped` and `failed` jobs."""
    error: str | None = None
    """Why it failed, in one line."""
    recipe_digest: str | None = None
    """`recipe_digest` of its run.json, by which another run in its place is noticed."""
    start_sha256: str | None = None
    """SHA-256 of the adapter that it starts from; if that was trained again since, this run does not belong to it."""
    max_questions: int | None = None
    """Limit of questions for each split in the evaluations."""
    base_digest: str | None = None
    """SHA-256 over the weights of a base model on this machine; null for a model of the hub, which has a commit."""


class StudyFile(Part):
    """Stored completions of one system."""

    source: str
    """Data source."""
    prompts: str
    """Prompt family of the study; `own` if each run uses its own."""
    system: str
    """tuned or base."""
    file: str
    """File of the completions, in the study's folder."""
    sha256: str
    """SHA-256 of the completions."""
    settings_sha256: str
    """SHA-256 of the evaluation's settings.json."""
    prompt_digest: str
    """Digest of the prompt family."""
    data_digest: str
    """Digest of the data and their split."""


class StudyRun(Part):
    """One training run, with what went into it."""

    arm: str
    """Name of the arm."""
    seed: int
    """Seed of the run."""
    status: Status
    """State of the job; a run that has not finished is not in the table."""
    error: str | None
    """Why it failed."""
    method: str
    """Training method."""
    recipe: str
    """Recipe of the arm."""
    overrides: tuple[str, ...]
    """Overrides of the arm."""
    start: str | None
    """Arm whose adapter it starts from."""
    digest: str
    """Digest of recipe, overrides, seed and start."""
    model: str
    """Base model."""
    base_commit: str | None
    """Hub commit of the base model."""
    base_digest: str | None
    """SHA-256 over the weights of a local base model."""
    data_digest: str | None
    """Digest of the data and their split."""
    completions_digest: str | None
    """Digest of the pairs or labeled completions that the run trains on; null for methods without them."""
    prompt_digests: dict[str, str]
    """Digests of the prompts for training (`train`) and of the recipe's own for evaluation (`infer`)."""
    reward_code: tuple[dict[str, str], ...]
    """SHA-256 of each file of custom rewards."""
    versions: dict[str, str]
    """Package versions."""
    card: str | None
    """GPU name, or CPU."""
    precision: str | None
    """bf16, fp16 or fp32."""
    steps: int | None
    """Optimizer steps."""
    seconds: float | None
    """Training time."""
    adapter_sha256: str | None
    """SHA-256 of the trained adapter's weights."""
    files: tuple[StudyFile, ...]
    """Its stored completions."""


class StudyCell(Part):
    """What accuracies and differences of a study share: where, and on how many questions, images and seeds."""

    source: str
    """Data source."""
    split: str
    """Split of the questions."""
    seen: str
    """`seen in training` (the run's own held-out data), `unseen`, or `unseen modality (...)`."""
    prompts: str
    """Prompt family at inference."""
    questions: int
    """Different questions over all seeds; reports are not among them."""
    images: int
    """Their images (or patients)."""
    seeds: int
    """Runs, one a seed."""
    same_questions: bool
    """Whether every seed has the same questions; a split by image differs with the seed."""
    few: bool
    """Under 30 questions or 10 images."""


class StudyAccuracy(StudyCell):
    """The accuracy of one arm on one split."""

    arm: str
    """Name of the arm, or `base:ARM` for the untrained base model of its runs."""
    stamp: str
    """Warning about images and patients shared with training, or empty."""
    accuracy: float
    """Mean over questions of the mean over seeds."""
    by_image: Interval
    """95 % interval over images of the mean over seeds: other images, the same trained models."""
    by_seed: dict[str, float]
    """Seed -> accuracy of its run."""
    seed_sd: float | None
    """Standard deviation over the seeds; null with one seed, and for a base model, which was not trained."""
    over_seeds: Interval | None
    """95 % t interval over the seeds: other trainings, the same questions; null where `seed_sd` is."""


class StudyDifference(StudyCell):
    """The paired difference of two arms on one split: second minus first."""

    label: str
    """Text of the comparison."""
    first: str
    """Arm, or `base:ARM`."""
    second: str
    """Arm, or `base:ARM`."""
    first_prompts: str
    """Prompt family of the first; `prompts` is that of the second."""
    first_accuracy: float
    """Accuracy of the first on the shared questions."""
    second_accuracy: float
    """Accuracy of the second on the shared questions."""
    difference: float
    """`second_accuracy` - `first_accuracy`."""
    by_image: Interval
    """95 % interval over images of the difference that is averaged over seeds: other images, the same models."""
    by_seed: dict[str, float]
    """Seed -> difference between the two runs with that seed."""
    seed_sd: float | None
    """Standard deviation over the seeds; null with one seed."""
    over_seeds: Interval | None
    """95 % t interval over the seeds: other trainings, the same questions; null with one seed."""
    p_by_image: float
    """Exact two-sided sign-flip test over images, on the changes summed over seeds."""
    p_holm: float
    """The same after Holm over all comparisons of the study; it decides."""
    settings_differ: tuple[str, ...]
    """Settings of the two evaluations that differ; only the shared questions are compared then."""


class StudyRecord(Record):
    """Results of a study, and a digest of everything that went into them."""

    about: str
    """What the study is for."""
    digest: str
    """SHA-256 over the inputs: the study, recipes, overrides, seeds, data, base models, prompts and versions."""
    nano: bool
    """Whether model and data are the embedded ones."""
    seeds: tuple[int, ...]
    """Seeds of every arm."""
    grade: Literal["lenient", "strict"]
    """The accuracy that is shown."""
    max_questions: int | None
    """Limit of questions for each split."""
    rules: int
    """Version of the answer rules."""
    lowmed: str
    """Version of lowmed that made the table."""
    study_sha256: str
    """SHA-256 of the stored study file."""
    complete: bool
    """Whether every arm and seed has finished."""
    runs: tuple[StudyRun, ...]
    """All runs."""
    accuracies: tuple[StudyAccuracy, ...]
    """By arm, source, prompts and split."""
    comparisons: tuple[StudyDifference, ...]
    """By comparison, prompts, source and split; Holm corrects over all of them."""


class Agreement(Part):
    """How the completions of a repeated run agree with the stored ones."""

    file: str
    """Stored completions, in the study's folder."""
    questions: int
    """Questions that both have."""
    equal: int
    """Questions with equal completions."""
    same_grade: int
    """Questions that are right in both, or wrong in both."""
    stored: float
    """Stored accuracy."""
    repeated: float
    """Accuracy of the repeated run."""


class RerunReport(Part):
    """One run trained and evaluated again."""

    run: str
    """Arm and seed."""
    same_adapter: bool
    """Whether the adapter's weights are equal to the bit."""
    differs: tuple[str, ...]
    """Inputs that differ: data, base model, package versions, GPU."""
    agreements: tuple[Agreement, ...]
    """By file of completions."""


class StudyCheck(Record):
    """Result of `lowmed study --verify`; printed by --json, not stored."""

    folder: str
    """The study's folder."""
    digest: str
    """Digest of the inputs that study.json names."""
    completions: int
    """Stored completions from which the table was derived again."""
    problems: tuple[str, ...]
    """What does not agree; empty if everything does."""
    rerun: RerunReport | None = None
    """The repeated run of --rerun."""
