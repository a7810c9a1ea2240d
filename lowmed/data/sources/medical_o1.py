"""medical-o1-reasoning-SFT (Chen et al. 2024, HuatuoGPT-o1): questions with reasoning and a long answer, text only."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lowmed.data.ingest import cells, tables
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.raw_sample import RawSample, RowLocation, read_rows
from lowmed.data.sources.source import Source
from lowmed.errors import DataError

ENGLISH, CHINESE = "medical_o1_sft.json", "medical_o1_sft_Chinese.json"
LANGUAGES = {"en": (ENGLISH,), "zh": (CHINESE,), "both": (ENGLISH, CHINESE)}
QUESTION, REASONING, ANSWER = "Question", "Complex_CoT", "Response"


def open_folder(folder: Path, options: ImportOptions) -> RowStream:
    """Read the files of a language, or one named file, e.g. one of those mixed with general instructions.

    Raises:
        DataError: the folder has no such file, or a file does not have the published columns.
    """
    files = [folder] if folder.is_file() else [folder / name for name in LANGUAGES[options.language]]
    for file in files:
        _require_columns(file, folder)

    def rows() -> Iterator[tuple[RowLocation, str | Mapping[str, Any]]]:
        for file in files:
            yield from tables.read_table(file)

    description = f"files    {', '.join(file.name for file in files)} (--language, or name one file)"
    return RowStream(read_rows(rows(), _read), description, sum(map(tables.count_rows, files)))


def _require_columns(file: Path, folder: Path) -> None:
    if not file.is_file():
        raise DataError(f"there is no {file.name} here", str(folder), f"it needs {MEDICAL_O1.files}")
    first = next((row for _, row in tables.read_table(file) if not isinstance(row, str)), {})
    if missing := [name for name in (QUESTION, REASONING, ANSWER) if name not in first]:
        raise DataError(f"the file has no column `{missing[0]}`", str(file), f"it needs {MEDICAL_O1.files}")


def _read(row: str | Mapping[str, Any]) -> RawSample:
    """Convert a row.

    Raises:
        ValueError: it cannot be read.
    """
    if isinstance(row, str):
        raise ValueError(row)
    return RawSample(
        question=cells.lines(row.get(QUESTION)).strip(),
        answer=cells.lines(row.get(ANSWER)).strip(),
        kind="text",
        explanation=cells.lines(row.get(REASONING)).strip(),
        source=MEDICAL_O1.name,
    )


MEDICAL_O1 = Source(
    name="medical-o1",
    about="medical questions with chain-of-thought reasoning and a long answer, text only, written by GPT-4o",
    size="19,704 questions in English, 20,171 in Chinese",
    kinds="text",
    license="Apache-2.0",
    citation="Chen et al., HuatuoGPT-o1, arXiv 2412.18925",
    url="https://huggingface.co/datasets/FreedomIntelligence/medical-o1-reasoning-SFT",
    files=f"{ENGLISH} or {CHINESE}, or the path of one of the published JSON files",
    open=open_folder,
    hub_id="FreedomIntelligence/medical-o1-reasoning-SFT",
    hub_files=(ENGLISH, CHINESE),
    question_tokens=400,  # assumed; a row has about 3,000 characters, all fields together (58.2 MB, 19,704 rows)
    reference_tokens=2000,
)
