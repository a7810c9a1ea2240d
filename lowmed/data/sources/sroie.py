"""SROIE, task 3 of its ICDAR 2019 competition (Huang et al.): scanned receipts with four fields.

The task (https://rrc.cvc.uab.es/?ch=13&com=tasks) gives each receipt a JSON text with company, date, address and
total. Layout of the copy that circulates as `SROIE2019` (Kaggle urbikn/sroie-datasetv2): `train` and `test`, each
with `img/*.jpg` and `entities/*.txt`, which holds that JSON.
"""

from pathlib import Path

from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.json_documents import DocumentFolders, JsonDocument, gold_json
from lowmed.data.ingest.raw_sample import RawSample, read_rows
from lowmed.data.sources.source import Source
from lowmed.errors import DataError
from lowmed.prompt.json_question import AS_PRINTED, json_question

FOLDERS = DocumentFolders({"train": "train", "test": "test"}, "entities", ".txt", "img")
TOP = "SROIE2019"
SCHEMA = {
    "company": "the name of the company",
    "date": "the date of the receipt",
    "address": "the address of the company",
    "total": "the total amount",
}
QUESTION = json_question(SCHEMA, AS_PRINTED)


def open_folder(folder: Path, options: ImportOptions) -> RowStream:
    """Read the receipts of `train/` and `test/`, in the folder or in `SROIE2019` in it.

    Raises:
        DataError: there is none.
    """
    del options
    base = FOLDERS.base(folder, TOP)
    if base is None:
        raise DataError("the folder does not contain SROIE", str(folder), f"it needs {SROIE.files}")
    rows = FOLDERS.documents(base)
    return RowStream(read_rows(rows, _read), "fields   entities/*.txt", len(rows), FOLDERS.unused_images(base))


def _read(receipt: JsonDocument) -> RawSample:
    """Convert a receipt.

    Raises:
        ValueError: its file is damaged, one of its fields or its image is missing.
    """
    content = receipt.read()
    for key in SCHEMA:
        if not isinstance(content.get(key, ""), str):
            raise ValueError(f"the field {key} is not a text")
        if not content.get(key, "").strip():
            raise ValueError(f"the field {key} is missing")
    return RawSample(
        question=QUESTION,
        answer=gold_json({key: " ".join(content[key].split()) for key in SCHEMA}),
        kind="json",
        images=(receipt.image,),
        split=receipt.split,
        id=f"{receipt.split}-{receipt.name}",
        source=SROIE.name,
    )


SROIE = Source(
    name="sroie",
    about="scanned receipts with company, date, address and total as JSON",
    size="973 receipts (626 train, 347 test)",
    kinds="json",
    license="CC BY 4.0 by its copy jsdnrs/ICDAR2019-SROIE; the original states none that was found",
    citation="Huang et al., ICDAR 2019, arXiv 2103.10213",
    url="https://rrc.cvc.uab.es/?ch=13",
    files="train/ and test/ (or SROIE2019/ with them), each with img/ and entities/*.txt",
    open=open_folder,
    question_tokens=70,
)
