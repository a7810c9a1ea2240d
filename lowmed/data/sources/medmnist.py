"""MedMNIST v2 (Yang et al. 2023): its 2-D sets in any size, converted to choice questions with the class names.

An image of the chest set may have several findings. Each finding becomes a question of its own, whose other options
are absent findings, so that exactly one option is correct.
"""

import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from lowmed.data.ingest.detect import ImportOptions, RowStream
from lowmed.data.ingest.raw_sample import Entry, ImageBytes, RawSample, Rejection, RowLocation
from lowmed.data.sources.source import Source
from lowmed.errors import DataError

ORGANS = (
    "bladder", "left femur", "right femur", "heart", "left kidney", "right kidney", "liver", "left lung", "right lung",
    "pancreas", "spleen",
)  # fmt: skip
NO_FINDING = "no finding"


class Task(NamedTuple):
    """The question of a set, and the names of its classes in the order of its labels."""

    modality: str
    question: str
    classes: tuple[str, ...]


TASKS = {
    "pathmnist": Task(
        "histopathology",
        "Which tissue does this colorectal histology patch show?",
        (
            "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
            "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
        ),
    ),
    "chestmnist": Task(
        "X-ray",
        "Which of these findings does the chest X-ray show?",
        (
            "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
            "consolidation", "edema", "emphysema", "fibrosis", "pleural thickening", "hernia",
        ),
    ),
    "dermamnist": Task(
        "dermatoscopy",
        "Which skin lesion does the image show?",
        (
            "actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions",
            "dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions",
        ),
    ),
    "octmnist": Task(
        "OCT",
        "Which diagnosis does the retinal OCT image show?",
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    ),
    "pneumoniamnist": Task("X-ray", "What does the chest X-ray of a child show?", ("normal", "pneumonia")),
    "retinamnist": Task(
        "fundus photography",
        "Which grade of diabetic retinopathy does the image show?",
        ("grade 0", "grade 1", "grade 2", "grade 3", "grade 4"),
    ),
    "breastmnist": Task("ultrasound", "What does the breast ultrasound image show?", ("malignant", "normal or benign")),
    "bloodmnist": Task(
        "microscopy",
        "Which blood cell does the image show?",
        (
            "basophil", "eosinophil", "erythroblast", "immature granulocyte", "lymphocyte", "monocyte", "neutrophil",
            "platelet",
        ),
    ),
    "tissuemnist": Task(
        "microscopy",
        "Which kidney cortex cell does the image show?",
        (
            "collecting duct, connecting tubule", "distal convoluted tubule", "glomerular endothelial cells",
            "interstitial endothelial cells", "leukocytes", "podocytes", "proximal tubule segments",
            "thick ascending limb",
        ),
    ),
    "organamnist": Task("CT", "Which organ is at the centre of this axial CT crop?", ORGANS),
    "organcmnist": Task("CT", "Which organ is at the centre of this coronal CT crop?", ORGANS),
    "organsmnist": Task("CT", "Which organ is at the centre of this sagittal CT crop?", ORGANS),
}  # fmt: skip
SPLITS = {"train": "train", "val": "validation", "test": "test"}


def open_file(path: Path, options: ImportOptions) -> RowStream:
    """Read one `<set>.npz` or `<set>_<size>.npz`, or a folder that contains one.

    Raises:
        DataError: there is not exactly one such file, it is not a 2-D set, or it is damaged.
    """
    del options
    files = [path] if path.is_file() else sorted(path.glob("*.npz"))
    if len(files) != 1:
        what = f"{len(files)} .npz files: {', '.join(file.name for file in files)}" if files else "no .npz file"
        raise DataError(f"the folder contains {what}", str(path), "name the file itself, e.g. breastmnist.npz")
    (file,) = files
    task = TASKS.get(file.stem.split("_")[0])
    if task is None:
        raise DataError(f"`{file.stem}` is not a 2-D set of MedMNIST", str(file), f"use one of {', '.join(TASKS)}")
    try:
        count = sum(len(_labels(file, part)) for part in SPLITS)
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError) as error:
        raise _damaged(file, error) from error
    return RowStream(_entries(file, task), f"classes  {len(task.classes)}: {', '.join(task.classes)}", count)


def _entries(file: Path, task: Task) -> Iterator[Entry]:
    set_name = file.stem.split("_")[0]
    for part, split in SPLITS.items():
        try:
            labels = _labels(file, part)
            images = _png_images(file, f"{part}_images.npy")
            for number, label in enumerate(labels):
                location, image = RowLocation(f"{file.name}/{part}", number), next(images)
                for suffix, entry in _questions(label, task):
                    if isinstance(entry, Rejection):
                        yield location, entry
                        continue
                    question, answer, options = entry
                    stored = ImageBytes(f"{set_name}-{part}-{number}.png", image)
                    yield location, RawSample(
                        question, answer, "choice", (stored,), split, f"{set_name}-{part}-{number}{suffix}",
                        options=options, modality=task.modality, topic=set_name, source=set_name,
                    )  # fmt: skip
        except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError, StopIteration) as error:
            raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> DataError:
    what = f"the arrays cannot be read ({type(error).__name__}: {error})"
    return DataError(what, str(file), "download the file again and compare its MD5 sum")


def _labels(file: Path, part: str) -> npt.NDArray[Any]:
    with np.load(file, allow_pickle=False) as arrays:
        return np.asarray(arrays[f"{part}_labels"])


def _questions(
    label: npt.NDArray[Any], task: Task
) -> Iterator[tuple[str, tuple[str, str, tuple[str, ...]] | Rejection]]:
    """The suffix of the id, question, answer and options of each question about one label."""
    classes = task.classes
    if label.size == 1:
        index = int(label.reshape(-1)[0])
        if not 0 <= index < len(classes):
            yield "", Rejection(f"the label {index} is outside the {len(classes)} classes")
        else:
            yield "", (task.question, classes[index], classes)
        return
    present = [name for name, is_present in zip(classes, label.reshape(-1), strict=True) if is_present]
    for name in present or [NO_FINDING]:
        absent = tuple(other for other in classes if other == name or other not in present)
        yield f"-{classes.index(name)}" if name in classes else "", (task.question, name, (*absent, NO_FINDING))


def _png_images(file: Path, member: str) -> Iterator[bytes]:
    """The images of an array as PNG files, one at a time, because the whole array may not fit into memory."""
    with zipfile.ZipFile(file) as archive, archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(stream)
        if fortran or dtype != np.uint8 or len(shape) not in (3, 4):
            raise ValueError(f"an array of {dtype} and shape {shape} is not a list of images")
        size = int(np.prod(shape[1:]))
        for _ in range(shape[0]):
            content = stream.read(size)
            if len(content) < size:
                raise EOFError("the array is truncated")
            png = BytesIO()
            Image.fromarray(np.frombuffer(content, np.uint8).reshape(shape[1:])).save(png, "PNG", compress_level=1)
            yield png.getvalue()


MEDMNIST = Source(
    name="medmnist",
    about="12 sets of small images with classes, in 28, 64, 128 or 224 pixels",
    size="780 to 236,386 images a set",
    kinds="choice",
    license="CC BY 4.0; dermamnist CC BY-NC 4.0",
    citation="Yang et al., Scientific Data 10:41, 2023",
    url="https://zenodo.org/records/10519652",
    files="one file such as breastmnist.npz or pathmnist_224.npz",
    open=open_file,
)
