"""Review the text that was covered in the images of a data set, and search for text that remains."""

from collections.abc import Sequence
from pathlib import Path

from lowmed.data.audit import record
from lowmed.data.image import mask_text
from lowmed.data.image.files import open_in
from lowmed.data.ingest.image_store import StoredFile
from lowmed.errors import DataError, SetupError

CHECKED = 200  # images that are searched again, evenly spaced; one takes about half a second
SHOWN = 12


def masked_text(root: Path, stored: Sequence[StoredFile]) -> record.MaskedText:
    """The images with covered text, and text that the detector finds in the stored images.

    Args:
        root: the data set's folder.
        stored: the records of its image files.
    """
    boxes = {
        reference: _scaled(covered, size, root, reference)
        for file in stored
        for reference, size, covered in zip(file.images, file.sizes, file.masked, strict=False)
    }
    covered = [reference for reference, each in boxes.items() if each]
    references = list(boxes)
    chosen = references[:: max(len(references) // CHECKED, 1)][:CHECKED]
    try:
        remaining = {reference: _text(root, reference) for reference in chosen}
    except SetupError:
        chosen, remaining = [], {}
    # Images with remaining text first: they need a person.
    order = sorted(
        {*covered, *remaining}, key=lambda reference: (not remaining.get(reference), reference not in covered)
    )
    shown = [reference for reference in order if boxes[reference] or remaining.get(reference)][:SHOWN]
    return record.MaskedText(
        images=len(covered),
        boxes=sum(map(len, boxes.values())),
        of=len(boxes),
        searched_again=len(chosen),
        remaining=sum(map(bool, remaining.values())),
        shown=tuple(
            record.MaskedImage(image=name, covered=boxes[name], remaining=tuple(remaining.get(name, ())))
            for name in shown
        ),
    )


def note(masked: record.MaskedText) -> str:
    """The point for review: images in which text remains."""
    return f"{masked.remaining:,} of {masked.searched_again:,} images may still show text after masking"


def _scaled(
    boxes: tuple[mask_text.Box, ...], size: tuple[int, int], root: Path, reference: str
) -> tuple[mask_text.Box, ...]:
    """Boxes of the original image in the pixels of the stored one."""
    if not boxes:
        return ()
    try:
        stored = open_in(root, reference).size
    except DataError:
        stored = size  # the audit reports images that do not open
    across, down = stored[0] / size[0], stored[1] / size[1]
    return tuple((round(a * across), round(b * down), round(c * across), round(d * down)) for a, b, c, d in boxes)


def _text(root: Path, reference: str) -> list[mask_text.Box]:
    try:
        return mask_text.find_text(open_in(root, reference))
    except DataError:
        return []
