"""Audit a data set before training, and write its record and its page into the data set's folder."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lowmed.progress import Progress, silent

if TYPE_CHECKING:
    from lowmed.data.audit.record import AuditRecord, Resplit
    from lowmed.recipe import Recipe


def audit(
    folder: str | PathLike[str],
    *,
    against: Sequence[Path] = (),
    max_image_tokens: int | None = None,
    resplit: Literal["image", "patient"] | None = None,
    recipe: "Recipe | None" = None,
    progress: Progress = silent,
) -> "AuditRecord":
    """Audit the data set in `folder` and write `audit.json` and `audit.html` there.

    Args:
        folder: a folder with `samples.jsonl`, or another such file in it.
        against: further data sets to compare with.
        max_image_tokens: the pixel policy that image sizes are compared with; None for the default of recipes.
        resplit: also write a clean split by image or by patient.
        recipe: rows that are too long for its limits and its model are points for review.
        progress: shows the scan of the images.

    Raises:
        DataError: a folder contains no data set.
        RunError: lowmed did not write the files that the audit replaces.
        SetupError: the folder cannot be written.
    """
    from lowmed.data.audit.report import audit as run_audit
    from lowmed.data.audit.report import other_data
    from lowmed.data.image.policy import PixelPolicy
    from lowmed.files import require_own, write_text
    from lowmed.recipe import ModelSpec
    from lowmed.report.data_page import audit_page

    path = Path(folder)
    root = path if path.is_dir() else path.parent
    require_own(audit_file(path), '"data": {\n    "card":')
    require_own(audit_file(path).with_suffix(".html"), "<title>Audit of a data set</title>")
    policy = PixelPolicy(max_image_tokens or ModelSpec().max_image_tokens)
    total = sum(1 for _ in (root / "images").iterdir()) if (root / "images").is_dir() else 0
    with progress("audit", max(total, 1)) as advance:
        record = run_audit(path, policy, against, advance)
    if recipe:
        record = record.model_copy(update={"review": (*record.review, *_row_lengths(recipe, path))})
    if resplit:
        record = record.model_copy(update={"resplit": _write_resplit(path, root, resplit)})
    write_text(audit_file(path), record.model_dump_json(indent=2) + "\n")
    write_text(audit_file(path).with_suffix(".html"), audit_page(record, root, other_data(against)))
    return record


def _row_lengths(recipe: "Recipe", path: Path) -> list[str]:
    from lowmed.data import folder
    from lowmed.engine.tokenizer import local_tokens
    from lowmed.evaluation.row_lengths import describe_row_lengths

    splits = folder.load(str(path), images=False).splits
    held_out = [sample for split, samples in splits.items() if split != "train" for sample in samples]
    return describe_row_lengths(recipe, splits.get("train", ()), held_out, lambda: local_tokens(recipe.model))


def audit_file(folder: Path) -> Path:
    """Where the record of an audit is stored; its page has the suffix .html."""
    return folder / "audit.json" if folder.is_dir() else folder.with_name(f"audit.{folder.stem}.json")


def _write_resplit(path: Path, root: Path, by: Literal["image", "patient"]) -> "Resplit":
    from lowmed.data import folder
    from lowmed.data.audit import image_scan, leaks
    from lowmed.data.audit.record import Resplit
    from lowmed.data.audit.resplit import resplit, write
    from lowmed.data.ingest import prepared_folder

    data = folder.load(str(path), images=False)
    references = dict.fromkeys(image for sample in data.samples for image in sample.images)
    scans = () if prepared_folder.data_card(root) else image_scan.scan_all(root, references)
    digests = leaks.image_digests([file for _, file in prepared_folder.stored_files(root)], scans)
    splits = resplit(data.splits, digests, by)
    file = write(root, splits, by)
    return Resplit(by=by, file=file.name, rows={split: len(samples) for split, samples in splits.items()})
