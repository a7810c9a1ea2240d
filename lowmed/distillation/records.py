"""The record of a distillation: teacher, settings, estimate and counts."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from lowmed.data.ingest import prepared_folder
from lowmed.errors import LowmedError
from lowmed.records import Part, Record, read_record

RECORD = "distil.json"


class Teacher(Part):
    """The model whose completions are kept."""

    name: str
    """Name of the model; for an endpoint the server's name for it."""
    kind: Literal["model", "endpoint", "probe"]
    """`probe`: the stored completions of `lowmed probe`."""
    host: str | None = None
    """Scheme, name and port of the server; null without one."""
    revision: str | None = None
    """Hub commit of the base model, where a run records it."""
    adapter_sha256: str | None = None
    """Digest of the adapter's weights; null without one."""

    def same_as(self, other: "Teacher") -> bool:
        """Whether the completions of both may be mixed: the port of a server may differ, its host may not."""
        hosts = [urlsplit(one.host).hostname if one.host else None for one in (self, other)]
        return hosts[0] == hosts[1] and self == other.model_copy(update={"host": self.host})


class SamplingEstimate(Part):
    """Upper bounds before the first completion; stored completions are not counted."""

    completions: int
    """Completions to generate. An endpoint gets one request for each."""
    rationalized: int
    """Further completions with the gold answer shown, if no question has a kept completion."""
    prompt_tokens: int
    """Tokens of the prompts of both: texts by their characters, images by their budget."""
    completion_tokens: int
    """Completions times their limit."""
    cost: float | None
    """In the currency of the prices; null without prices."""


class SamplingCounts(Part):
    """The completions of one pass, and why they were dropped."""

    questions: int
    """Questions with completions."""
    completions: int
    """Completions."""
    right: int
    """Completions with the right answer in exactly one tag."""
    kept: int
    """Completions whose reasoning became an explanation."""
    dropped: dict[str, int]
    """Other completions by the first reason that applies."""
    prompt_tokens: int
    """As counted by the server; 0 without one."""
    completion_tokens: int
    """Tokens of the completions."""


class DistilResult(Part):
    """What was kept."""

    questions: int
    """Training questions that were distilled."""
    questions_kept: int
    """Questions with a kept completion."""
    sampled: SamplingCounts
    """Completions of the questions as they are."""
    rationalized: SamplingCounts | None
    """Completions with the gold answer shown; null without `--rationalize`."""
    rows: dict[str, int]
    """Rows of the new data set by split."""
    cost: float | None
    """Of the counted completions, in the currency of the prices; null without prices."""
    samples_sha256: str
    """Digest of samples.jsonl."""


class DistilRecord(Record):
    """Teacher, settings and counts of one distillation."""

    teacher: Teacher
    """The model whose completions are kept."""
    source: str
    """Data source."""
    data_digest: str
    """Digest of the source's data."""
    prompts: str
    """Name of the prompt family."""
    prompt_digest: str
    """Digest of the prompt family."""
    hint_digest: str | None
    """Digest of the text that shows the gold answer; null without `--rationalize`."""
    samples: int
    """Completions requested per question."""
    temperature: float | None
    """Sampling temperature; null if the stored completions have none."""
    max_new_tokens: int
    """Completion limit."""
    keep: int
    """Largest number of kept completions per question."""
    keep_all: bool
    """Whether training questions without a kept completion stay, unchanged."""
    questions: int
    """Training questions to distill."""
    prices: tuple[float, float] | None
    """Per million prompt and completion tokens."""
    estimate: SamplingEstimate
    """Upper bounds before the first completion of the last command."""
    answer_rules: int
    """Version of the rules by which answers are read."""
    lowmed: str
    """The version that wrote the file."""
    result: DistilResult | None = None
    """Null until the data set is complete."""


def read_distilled(folder: Path) -> DistilRecord | None:
    """The record of a complete distilled data set; None if it is another one, or its samples have changed since."""
    try:
        record = read_record(folder / RECORD, DistilRecord)
    except LowmedError:  # missing, damaged, or of another version
        return None
    samples = folder / prepared_folder.SAMPLES
    if not record.result or not samples.is_file():
        return None
    return record if record.result.samples_sha256 == prepared_folder.samples_digest(samples) else None


def teachers(paths: Iterable[Path]) -> tuple[str, ...]:
    """Names of the models whose completions are the explanations of data folders, or of files in them; each once."""
    folders = [path.parent if path.is_file() else path for path in paths]
    records = [record for folder in folders if (record := read_distilled(folder))]
    return tuple(dict.fromkeys(record.teacher.name for record in records))
