"""FUNSD (Jaume et al. 2019): noisy scans of forms, whose questions are linked to their answers.

Layout (https://guillaumejaume.github.io/FUNSD/): `dataset/training_data` and `dataset/testing_data`, each with
`images/*.png` and `annotations/*.json`. A file holds `{"form": [{"id", "text", "label", "linking": [[id, id]], ...}]}`
with the labels question, answer, header and other. The gold answer has the text of each question that is linked to an
answer as a key. The page's keys are part of the task, so the question does not state them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowmed.answer import normalize
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.json_documents import DocumentFolders, JsonDocument, gold_json
from lowmed.data.ingest.raw_sample import RawSample, read_rows
from lowmed.data.sources.source import Source
from lowmed.errors import DataError

FOLDERS = DocumentFolders(
    {"training_data": "train", "testing_data": "test"}, files="annotations", suffix=".json", images="images"
)
TOP = "dataset"
QUESTION = (
    "Give the filled fields of this form as one JSON object. Each key is the printed label of a field, and its value "
    "is what is filled in there, or a list if there are several entries. Leave out empty fields."
)


def open_folder(folder: Path, options: ImportOptions) -> RowStream:
    """Read the forms of `training_data/` and `testing_data/`, in the folder or in `dataset` in it.

    Raises:
        DataError: there is none.
    """
    del options
    base = FOLDERS.base(folder, TOP)
    if base is None:
        raise DataError("the folder does not contain FUNSD", str(folder), f"it needs {FUNSD.files}")
    rows = FOLDERS.documents(base)
    return RowStream(read_rows(rows, _read), "fields   annotations/*.json", len(rows), FOLDERS.unused_images(base))


def _read(form: JsonDocument) -> RawSample:
    """Convert a form.

    Raises:
        ValueError: its file is damaged, it has no linked pair, or its image is missing.
    """
    pairs = _pairs(_entries(form.read()))
    if not pairs:
        raise ValueError("the form has no question that is linked to an answer")
    return RawSample(
        question=QUESTION,
        answer=gold_json({key: texts[0] if len(texts) == 1 else texts for key, texts in pairs.items()}),
        kind="json",
        images=(form.image,),
        split=form.split,
        id=f"{form.split}-{form.name}",
        source=FUNSD.name,
    )


def _entries(content: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """The entries of a form by id, in the order of the file."""
    form = content.get("form")
    if not isinstance(form, list):
        raise ValueError("the file has no list `form`")
    entries: dict[int, dict[str, Any]] = {}
    for entry in form:
        number = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(number, int) or not isinstance(entry.get("text"), str) or "label" not in entry:
            raise ValueError("an entry of the form has no id, text or label")
        if number in entries:
            raise ValueError(f"two entries of the form have the id {number}")
        entries[number] = entry
    return entries


def _pairs(entries: Mapping[int, dict[str, Any]]) -> dict[str, list[str]]:
    """Text of each question -> texts of its answers, in the order of the form.

    Questions with the same normal form are one key, because a JSON object has each key once. Links between other
    labels, such as from a header to a question, and entries without text do not count.
    """
    links = {link for entry in entries.values() for link in _links(entry, entries)}
    place = {number: at for at, number in enumerate(entries)}
    keys: dict[str, str] = {}
    pairs: dict[str, list[str]] = {}
    for question, answer in sorted(links, key=lambda link: (place[link[0]], place[link[1]])):
        key, value = (" ".join(entries[number]["text"].split()) for number in (question, answer))
        if key and value:
            pairs.setdefault(keys.setdefault(normalize(key) or key.casefold(), key), []).append(value)
    return pairs


def _links(entry: Mapping[str, Any], entries: Mapping[int, Mapping[str, Any]]) -> list[tuple[int, int]]:
    """The links of an entry from a question to an answer."""
    linking = entry.get("linking", [])
    links = []
    for link in linking if isinstance(linking, list) else [linking]:
        is_pair = isinstance(link, list) and len(link) == 2 and all(isinstance(number, int) for number in link)
        if not is_pair or not all(number in entries for number in link):
            raise ValueError(f"the entry {entry['id']} has a link that does not name two entries of the form")
        labels = [entries[number]["label"] for number in link]
        if sorted(map(str, labels)) == ["answer", "question"]:
            links.append((link[0], link[1]) if labels[0] == "question" else (link[1], link[0]))
    return links


FUNSD = Source(
    name="funsd",
    about="noisy scans of forms, with labels and entries as JSON",
    size="199 forms (149 train, 50 test)",
    kinds="json",
    license="non-commercial research and education",
    citation="Jaume et al., ICDAR-OST 2019, arXiv 1905.13538",
    url="https://guillaumejaume.github.io/FUNSD/",
    files="training_data/ and testing_data/ (or dataset/ with them), each with images/ and annotations/*.json",
    open=open_folder,
    terms="non-commercial research and education only",
    question_tokens=60,
    reference_tokens=1000,
)
