"""VQA-Med 2019 (Ben Abacha et al.): modality, plane, organ and abnormality, in text files with `|` between cells."""

from collections.abc import Iterator
from pathlib import Path

from lowmed.data.ingest.cells import kind, text
from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.raw_sample import ImageRoot, RawSample, RowLocation, image_root, read_rows
from lowmed.data.sources.source import Source
from lowmed.errors import DataError

# Split, file of questions, folder of images, and the cells of a line.
PARTS = (
    ("train", "All_QA_Pairs_train.txt", "Train_images", ("image", "question", "answer")),
    ("validation", "All_QA_Pairs_val.txt", "Val_images", ("image", "question", "answer")),
    (
        "test",
        "VQAMed2019_Test_Questions_w_Ref_Answers.txt",
        "VQAMed2019_Test_Images",
        ("image", "topic", "question", "answer"),
    ),
)
Line = tuple[str, ImageRoot, tuple[str, ...], bytes]


def open_folder(folder: Path, options: ImportOptions) -> RowStream:
    """Read the three published folders, unpacked anywhere inside `folder`."""
    del options
    parts = [
        (split, file, image_root(file.parent, images, f"{images}.zip"), cells)
        for split, name, images, cells in PARTS
        for file in sorted(folder.rglob(name))[:1]
    ]
    if not parts:
        raise DataError("the folder does not contain VQA-Med 2019", str(folder), f"it needs {VQA_MED_2019.files}")

    def rows() -> Iterator[tuple[RowLocation, Line]]:
        for split, file, images, cells in parts:
            for number, line in enumerate(file.read_bytes().splitlines(), start=1):
                if line.strip():
                    yield RowLocation(file.name, number), (split, images, cells, line)

    description = f"files    {', '.join(file.name for _, file, _, _ in parts)}"
    return RowStream(read_rows(rows(), _read), description, sum(1 for _ in rows()))


def _read(entry: Line) -> RawSample:
    split, images, names, line = entry
    try:
        parts = line.decode("utf-8-sig").split("|", len(names) - 1)
    except UnicodeDecodeError as error:
        raise ValueError("the line is not UTF-8") from error
    if len(parts) < len(names):
        raise ValueError(f"the line has {len(parts)} cells instead of {len(names)}")
    cell = {name: text(part) for name, part in zip(names, parts, strict=True)}
    answer = cell["answer"].split("#")[0]  # the test set writes further accepted wordings after a hash
    return RawSample(
        question=cell["question"],
        answer=answer,
        kind=kind("", answer, ()),
        images=(images.image(f"{cell['image']}.jpg", "row"),),
        split=split,
        topic=cell.get("topic", ""),
        source="vqa-med-2019",
    )


VQA_MED_2019 = Source(
    name="vqa-med-2019",
    about="modality, plane, organ system and abnormality in radiology images",
    size="15,292 questions on 4,200 images",
    kinds="closed, open",
    license="not stated; images from MedPix",
    citation="Ben Abacha et al., CLEF 2019, CEUR-WS Vol-2380 paper 272",
    url="https://github.com/abachaa/VQA-Med-2019",
    files="All_QA_Pairs_train.txt, All_QA_Pairs_val.txt, the test questions with answers, and their image folders",
    open=open_folder,
    terms="registration with ImageCLEF for training and validation data",
)
