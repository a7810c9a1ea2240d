"""Choose the images of a study: the series by modality and description, then its slices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lowmed.data.image import dicom
from lowmed.data.image.files import MAX_FRAMES, Frames
from lowmed.data.image.montage import MONTAGE_FRAMES, SPACED_FRAMES, spaced_numbers
from lowmed.data.ingest.dicom_studies import STACKED, Series, Slice, Study
from lowmed.errors import RecipeError


@dataclass(frozen=True)
class SeriesChoice:
    """Which images of a study are used.

    Attributes:
        modalities: DICOM codes; empty for all.
        description: a part of the series description, in any case; "" for all.
        frames: which slices; None for the middle one of a volume, and the first one of other images.
    """

    modalities: frozenset[str] = frozenset()
    description: str = ""
    frames: Frames | None = None

    def fits(self, series: Series) -> bool:
        """Whether the series may be used."""
        fitting = not self.modalities or series.modality in self.modalities
        return fitting and self.description.casefold() in series.description.casefold()


@dataclass(frozen=True, slots=True)
class Chosen:
    """The images that a study or series gives, of `images` images in `stacks` series that fit."""

    slices: tuple[Slice, ...]
    images: int
    stacks: int


def modality_codes(name: str) -> frozenset[str]:
    """The DICOM codes that a name means: a code such as `DX`, or a word such as `X-ray`.

    Raises:
        RecipeError: it is neither.
    """
    codes = {code for code, word in dicom.MODALITIES.items() if name.casefold() in (code.casefold(), word.casefold())}
    if not codes:
        known = ", ".join(dict.fromkeys((*dicom.MODALITIES, *dicom.MODALITIES.values())))
        raise RecipeError(f"`{name}` is not a modality of images", "--modality", f"one of {known}")
    return frozenset(codes)


def choose(study: Study, choice: SeriesChoice, series_uid: str = "", image_uid: str = "") -> Chosen | None:
    """The images of a study that are used; None if no series fits.

    The largest series is used. Radiographs and other images without volumes count as one series for each modality,
    because views of one examination are often stored as one series each.

    Args:
        study: the study.
        choice: how to choose.
        series_uid: use this series.
        image_uid: use this image.
    """
    fitting = [series for series in study.series.values() if choice.fits(series)]
    if image_uid:
        named = tuple(each for series in fitting for each in series.slices if each.uid == image_uid)
        return Chosen(named, len(named), 1) if named else None
    if series_uid:
        fitting = [series for series in fitting if series.uid == series_uid]
    stacks = _stacks(fitting)
    if not stacks:
        return None
    largest = max(stacks, key=lambda stack: (sum(series.images for series in stack), -stack[0].number))
    ordered = [each for series in largest for each in in_order(series.slices)]
    frames = choice.frames or ("middle" if largest[0].modality in STACKED else "first")
    images = sum(series.images for series in fitting)
    return Chosen(tuple(_pick(ordered, frames)), images, len(stacks))


def in_order(slices: Sequence[Slice]) -> list[Slice]:
    """The slices along the normal of their plane, else by instance number, else by name."""
    first = slices[0].orientation
    parallel = first is not None and all(
        each.position is not None and each.orientation is not None and np.allclose(each.orientation, first, atol=1e-3)
        for each in slices
    )
    numbered = all(each.number is not None for each in slices)
    normal = np.cross(first[:3], first[3:]) if parallel and first is not None else np.zeros(3)

    def key(each: Slice) -> tuple[float, int, str]:
        along = round(float(np.dot(normal, each.position)), 3) if parallel and each.position is not None else 0.0
        return along, each.number if numbered and each.number is not None else 0, each.name

    return sorted(slices, key=key)


def _stacks(fitting: Sequence[Series]) -> list[list[Series]]:
    """Series of volumes one by one; all others of one modality together, in the order of their numbers."""
    stacks: dict[str, list[Series]] = {}
    for series in sorted(fitting, key=lambda each: (each.number, each.uid)):
        key = f"volume {series.uid}" if series.modality in STACKED else series.modality
        stacks.setdefault(key, []).append(series)
    return list(stacks.values())


def _pick(ordered: Sequence[Slice], frames: Frames) -> Sequence[Slice]:
    match frames:
        case "first":
            return ordered[:1]
        case "middle":
            return ordered[len(ordered) // 2 :][:1]
        case "montage" | "spaced":
            most = MONTAGE_FRAMES if frames == "montage" else SPACED_FRAMES
            return [ordered[number] for number in spaced_numbers(len(ordered), most)]
    return ordered[: MAX_FRAMES + 1]  # one too many is an error of the row
