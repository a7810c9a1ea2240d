"""Summary of a run's data for its page: samples, leaks, baselines, rejected rows.

Only counts and shares. Ids, groups, file names and reasons with cell contents stay with the data.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lowmed.data import for_recipe
from lowmed.data.audit import image_figures, leaks, report
from lowmed.data.audit.record import AuditRecord
from lowmed.data.group_split import patient_groups
from lowmed.data.image.policy import image_tokens
from lowmed.data.ingest import prepared_folder
from lowmed.data.ingest.prepared_folder import DataCard
from lowmed.data.run_identity import ROWS, SPLIT, data_changes
from lowmed.distillation.records import read_distilled
from lowmed.errors import LowmedError
from lowmed.files import read_json
from lowmed.records import read_record
from lowmed.run import Run
from lowmed.sample import Sample


def data_summary(run: Run, path: str | None = None) -> dict[str, Any]:
    """The figures of a run's data; `missing` has the reason if the data are missing or have changed.

    Args:
        run: the run, whose split.json names its training samples.
        path: the folder of the data; None for the recipe's.
    """
    spec = run.recipe.data
    if not (run.folder / SPLIT).is_file():
        return {"missing": "the run stopped before its data were split"}
    if not (run.folder / ROWS).is_file():
        return {"missing": "the run does not say which data it was trained on"}
    try:
        data = for_recipe(run.recipe, path=path, filtered=False)
    except LowmedError:  # its text may name a folder or a file
        return {"missing": "the data are not where the run read them; name a copy with --path"}
    data_split = data.split
    parts = (data_split.train, data_split.dev, *data_split.held_out.values())
    samples = {sample.id: sample for part in parts for sample in part}
    ids = read_json(run.folder / SPLIT)
    known = all(sample_id in samples for part in ids.values() for sample_id in part)
    if data_changes(run.folder, data_split) or not known:
        return {"missing": "these are not the data that the run was trained on; name another copy with --path"}
    splits = {name: [samples[sample_id] for sample_id in part] for name, part in ids.items() if part}
    folder = Path("" if spec.sources else path or spec.path or "").expanduser()
    root, audit_name = (folder.parent, f"audit.{folder.stem}.json") if folder.is_file() else (folder, "audit.json")
    card = prepared_folder.data_card(root) if spec.source == "folder" else None
    stored = [file for _, file in prepared_folder.stored_files(root)] if card else []
    shared = report.foremost(leaks.within(leaks.parts(splits), leaks.image_digests(stored)))
    return {
        "parts": {name: _part(rows) for name, rows in splits.items()},
        "rejected": len(data.rejected),
        "leaks": [leak.sentence for leak in shared if leak.trained],
        "held_out_shared": [leak.sentence for leak in shared if not leak.trained],
        "repeats": report.repeats([sample for rows in splits.values() for sample in rows]).model_dump(
            exclude={"shown"}
        ),
        "floor": {name: rules["prior"] for name, rules in report.baselines(splits).items()},
        "sizes": _sizes(splits, stored, run.recipe.model.max_image_tokens),
        "prepared": card and _prepared(card),
        "distilled": _distilled(root) if spec.source == "folder" else None,
        "audit": card and _audit(root / audit_name, folder if folder.is_file() else folder / prepared_folder.SAMPLES),
    }


def _part(rows: Sequence[Sample]) -> dict[str, Any]:
    """Counts of one part. A group that is only the name of an image is not counted as a patient."""
    counts = report.counts(rows)
    return {
        "rows": counts.rows,
        "images": counts.images,
        "kinds": counts.kinds,
        "yes_no": counts.yes_no,
        "modalities": counts.modalities,
        "patients": len(patient_groups(rows)),
        "most_frequent_share": counts.top_answers[0].share,
    }


def _sizes(splits: Mapping[str, Sequence[Sample]], stored: Sequence[Any], budget: int) -> dict[str, Any] | None:
    """Original sizes in pixels, and number of images resized to the budget; None if they were not recorded."""
    used = {image for rows in splits.values() for sample in rows for image in sample.images}
    original = {image: size for file in stored for image, size in zip(file.images, file.sizes, strict=False)}
    sizes = [original[image] for image in sorted(used & original.keys())]
    if not sizes:
        return None
    widths, heights = [width for width, _ in sizes], [height for _, height in sizes]
    over = sum(image_tokens(width, height, image_figures.NATIVE) > budget for width, height in sizes)
    return {
        "images": len(sizes),
        "width": (min(widths), median(widths), max(widths)),
        "height": (min(heights), median(heights), max(heights)),
        "shrunk": over,
        "budget": budget,
    }


def _prepared(card: DataCard) -> dict[str, Any]:
    """Import settings of `lowmed data prepare`, and the number of rejected rows."""
    return {
        "rows": sum(card.rows.values()),
        "rejected": sum(card.rejected.values()),
        "reasons": len(card.rejected),
        "max_image_tokens": card.max_image_tokens,
        "frames": card.frames,
        "window": card.window,
        "lowmed": card.lowmed,
    }


def _distilled(root: Path) -> dict[str, Any] | None:
    """The teacher whose reasoning the explanations are; None if they are others, or the samples have changed since."""
    record = read_distilled(root)
    if record is None or (result := record.result) is None:
        return None
    return {
        "teacher": record.teacher.name,
        "questions": result.questions_kept,
        "of": result.questions,
        "rationalized": result.rationalized.kept if result.rationalized else 0,
    }


def _audit(file: Path, samples: Path) -> dict[str, Any] | None:
    """Figures of `lowmed data audit`; None if it was not run, or the samples have changed since."""
    if not file.is_file():
        return None
    try:
        audit = read_record(file, AuditRecord)
    except LowmedError:  # damaged, or of another version
        return None
    if audit.data.samples_sha256 != prepared_folder.samples_digest(samples):
        return None
    return {
        "verdict": audit.verdict,
        "reasons": list(audit.reasons),
        "look_alikes": audit.near.pairs,
        "metadata": audit.privacy.metadata,
        "text": audit.privacy.text,
        "looked_at": audit.privacy.images_scanned,
    }
