"""CORD v2 (Park et al. 2019): photos of Indonesian receipts, and their fields as nested JSON.

Layout: the hub's Parquet files (https://huggingface.co/datasets/naver-clova-ix/cord-v2) have the columns `image` and
`ground_truth`, a JSON text whose `gt_parse` is the gold answer. The keys and their meaning are those of the table of
classes in https://github.com/clovaai/cord. `gt_parse` holds a single item as an object and several as a list of
them; here `menu`, `void_menu` and `sub` are always lists, because the question cannot state what the receipt shows.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lowmed.data.ingest import tables
from lowmed.data.ingest.columns import SPLITS
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.json_documents import gold_json
from lowmed.data.ingest.raw_sample import ImageRoot, RawSample, RowLocation, read_rows
from lowmed.data.sources.source import Source
from lowmed.errors import DataError
from lowmed.prompt.json_question import AS_PRINTED, json_question

IMAGE, GROUND_TRUTH, GOLD = "image", "ground_truth", "gt_parse"
SCHEMA = {
    "menu": "a list with an object for each item: nm (name), num (identification number), unitprice (unit price), "
    "cnt (quantity), discountprice (discount), price (total price), itemsubtotal (price after discount), vatyn "
    "(whether the price includes tax), etc (other), sub (a list of its sub-items with nm, unitprice, cnt, price, etc)",
    "void_menu": "a list with an object for each cancelled item: nm (name), price (total price)",
    "sub_total": "an object: subtotal_price, discount_price, service_price (service charge), othersvc_price (other "
    "charge), tax_price (tax), etc (other)",
    "total": "an object: total_price, total_etc (other), cashprice (paid in cash), changeprice (change), "
    "creditcardprice (paid by card), emoneyprice (paid by electronic money), menutype_cnt (number of kinds of items), "
    "menuqty_cnt (number of items)",
}
LISTS = ("menu", "void_menu", "sub")
QUESTION = json_question(SCHEMA, AS_PRINTED)

Row = tuple[RowLocation, str, Path, str | Mapping[str, Any]]  # where, split, folder, and the row or what is wrong


def open_folder(folder: Path, options: ImportOptions) -> RowStream:
    """Read the Parquet files of a folder, whose names begin with a split, or one such file.

    Raises:
        DataError: there is none, or one does not have the columns of CORD.
    """
    del options
    root = folder.parent if folder.is_file() else folder
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.parquet"))
    if not files or any(file.suffix != ".parquet" for file in files):
        raise DataError("no Parquet file of CORD here", str(folder), f"it needs {CORD.files}")
    for file in files:
        _require_columns(file)

    def rows() -> Iterator[tuple[RowLocation, Row]]:
        for file in files:
            for location, row in tables.read_table(file):
                yield location, (location, _split(file), root, row)

    names = ", ".join(file.name for file in files)
    return RowStream(read_rows(rows(), _read), f"files    {names}", sum(map(tables.count_rows, files)))


def _split(file: Path) -> str:
    """The split that a file's name begins with."""
    return SPLITS.get(file.stem.split("-")[0].casefold(), "train")


def _require_columns(file: Path) -> None:
    first = next((row for _, row in tables.read_table(file) if not isinstance(row, str)), {})
    if missing := [name for name in (IMAGE, GROUND_TRUTH) if name not in first]:
        raise DataError(f"the file has no column `{missing[0]}` of CORD", str(file), f"it needs {CORD.files}")


def _read(entry: Row) -> RawSample:
    """Convert a row.

    Raises:
        ValueError: its JSON is missing, damaged or has a key that CORD does not document, or it has no image.
    """
    location, split, root, row = entry
    if isinstance(row, str):
        raise ValueError(row)
    content = _ground_truth(row.get(GROUND_TRUTH))
    gold = content.get(GOLD)
    if not isinstance(gold, dict):
        raise ValueError(f"{GROUND_TRUTH} has no object {GOLD}")
    if unknown := [key for key in gold if key not in SCHEMA]:
        raise ValueError(f"{GOLD} has the key {unknown[0]!r}, which CORD does not document")
    gold_json(gold)  # refuses what is nested too deeply to be converted
    return RawSample(
        question=QUESTION,
        answer=gold_json(_with_lists(gold)),
        kind="json",
        images=(ImageRoot(root).image(row.get(IMAGE), str(location)),),
        split=split,
        source=CORD.name,
    )


def _ground_truth(cell: Any) -> dict[str, Any]:
    if not isinstance(cell, str) or not cell.strip():
        raise ValueError(f"no {GROUND_TRUTH}")
    try:
        content = json.loads(cell)
    except (ValueError, RecursionError):
        raise ValueError(f"{GROUND_TRUTH} is not JSON") from None
    if not isinstance(content, dict):
        raise ValueError(f"{GROUND_TRUTH} holds no JSON object")
    return content


def _with_lists(gold: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields with a list of objects where there may be several of them."""
    fields = {}
    for key, value in gold.items():
        several = [value] if key in LISTS and isinstance(value, dict) else value
        if isinstance(several, list):
            fields[key] = [_with_lists(item) if isinstance(item, dict) else item for item in several]
        else:
            fields[key] = several
    return fields


CORD = Source(
    name="cord",
    about="photos of receipts from shops and restaurants, with their items and totals as JSON",
    size="1,000 receipts (800 train, 100 validation, 100 test)",
    kinds="json",
    license="CC BY 4.0",
    citation="Park et al., Document Intelligence Workshop at NeurIPS 2019; version 2",
    url="https://github.com/clovaai/cord",
    files="the hub's Parquet files (train-*.parquet, validation-*.parquet, test-*.parquet)",
    open=open_folder,
    hub_id="naver-clova-ix/cord-v2",
    hub_files=(
        "data/train-00000-of-00004-b4aaeceff1d90ecb.parquet",
        "data/train-00001-of-00004-7dbbe248962764c5.parquet",
        "data/train-00002-of-00004-688fe1305a55e5cc.parquet",
        "data/train-00003-of-00004-2d0cd200555ed7fd.parquet",
        "data/validation-00000-of-00001-cc3c5779fe22e8ca.parquet",
        "data/test-00000-of-00001-9c204eb3f4e11791.parquet",
    ),
    question_tokens=330,
    reference_tokens=1000,  # the example on its hub page, 22 items, has 2,000 characters
)
