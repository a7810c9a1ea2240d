"""Figures of the images of a data set: how many load, their sizes and tokens, and what needs a look."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from lowmed.data.audit import record
from lowmed.data.audit.image_scan import ImageScan
from lowmed.data.image.policy import PixelPolicy, image_tokens
from lowmed.data.ingest import prepared_folder
from lowmed.data.ingest.image_store import StoredFile

SHOWN = 12  # images in the record
NATIVE = PixelPolicy(16384)  # so large that images keep their original size
TOKEN_BINS = (0, 64, 128, 256, 512, 1024, 2048, 4096, 16385)


def figures(
    references: Sequence[str],
    scans: Sequence[ImageScan],
    stored: Sequence[StoredFile],
    policy: PixelPolicy,
    text_only: bool,
) -> record.ImageFigures:
    """Images loaded and expected, their original sizes, and their tokens at these sizes."""
    broken = [record.BrokenImage(image=scan.reference, problem=scan.problem) for scan in scans if scan.problem]
    original = {image: size for file in stored for image, size in zip(file.images, file.sizes, strict=False)}
    sizes = [original.get(scan.reference, scan.size) for scan in scans if not scan.problem]
    tokens = [image_tokens(width, height, NATIVE) for width, height in sizes]
    blank = [scan.reference for scan in scans if scan.blank]
    notes = prepared_folder.image_notes(stored)
    over = sum(count > policy.max_image_tokens for count in tokens)
    return record.ImageFigures(
        expected=len(references),
        loaded=len(sizes),
        text_only=text_only,
        broken=tuple(broken[:SHOWN]),
        width=_spread([width for width, _ in sizes]),
        height=_spread([height for _, height in sizes]),
        aspect=_spread([round(max(size) / min(size), 2) for size in sizes]),
        tokens=_spread(tokens),
        token_histogram=tuple(
            record.TokenBin(low=low, below=below, images=sum(low <= count < below for count in tokens))
            for low, below in pairwise(TOKEN_BINS)
        ),
        budget=policy.max_image_tokens,
        over_budget=round(over / len(tokens), 4) if tokens else 0.0,
        blank=len(blank),
        blank_shown=tuple(blank[:SHOWN]),
        partly_used=notes.partly_used,
        unused_frames=notes.unused_frames,
    )


def _spread(values: Sequence[float]) -> record.Spread | None:
    return record.Spread(min=min(values), median=median(values), max=max(values)) if values else None
