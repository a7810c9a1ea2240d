"""The data of a run in figures, for its page: what was used, what leaks, what answers alone give, what was left out.

Counts and shares alone. Ids, groups, file names, and reasons that repeat what a cell held, stay where the data are.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lowmed.data import for_recipe
from lowmed.data.audit import leaks, report
from lowmed.data.image.policy import image_tokens
from lowmed.data.ingest import prepared_folder
from lowmed.data.ingest.prepared_folder import DataCard
from lowmed.errors import LowmedError
from lowmed.files import read_json
from lowmed.run import Run
from lowmed.sample import Sample

SPLIT = "split.json"


def data_summary(run: Run, path: str | None = None) -> dict[str, Any]:
    """What the page says of the run's data; `missing` says why, where they are not at hand or are others by now.

    Args:
        run: the run; its own split.json says which samples it trained on.
        path: where the data lie now; None for where the recipe found them.
    """
    spec = run.recipe.data
    if not (run.folder / SPLIT).is_file():
        return {"missing": "the run did not come as far as dividing its data"}
    try:
        data = for_recipe(run.recipe, path=path, difficulty=False)
    except LowmedError:  # whose words may name a folder or a file
        return {"missing": "the data are not where the run found them; --path names a copy"}
    data_split = data.split
    samples = {sample.id: sample for part in (data_split.train, *data_split.held_out.values()) for sample in part}
    ids = read_json(run.folder / SPLIT)
    known = all(one in samples for part in ids.values() for one in part)
    if data_split.digest != run.record.get("data_digest") or not known:
        return {"missing": "the data at hand are not those that the run was trained on; --path names another copy"}
    splits = {name: [samples[one] for one in part] for name, part in ids.items() if part}
    named = Path(path or spec.path or "").expanduser()
    place, audited = (named.parent, f"audit.{named.stem}.json") if named.is_file() else (named, "audit.json")
    card = prepared_folder.data_card(place) if spec.source == "folder" else None
    stored = [each for _, each in prepared_folder.stored_files(place)] if card else []
    result = report.foremost(leaks.within(leaks.parts(splits), leaks.facts(stored)))
    return {
        "parts": {name: _part(rows) for name, rows in splits.items()},
        "rejected": len(data.rejected),
        "leaks": [leak.told for leak in result if leak.trained],
        "held_out_shared": [leak.told for leak in result if not leak.trained],
        "repeats": report.repeats([sample for rows in splits.values() for sample in rows]),
        "floor": {name: rules["prior"] for name, rules in report.floors(splits).items()},
        "sizes": _sizes(splits, stored, run.recipe.model.max_image_tokens),
        "prepared": card and _prepared(card),
        "audit": card and _audit(place / audited, card),
    }


def _part(rows: Sequence[Sample]) -> dict[str, Any]:
    """Counts of one part. A group that is only an image's name is no patient's."""
    result = report.counts(rows)
    images = {image for sample in rows for image in sample.images}
    named = {sample.group for sample in rows} - images
    return {
        **{key: result[key] for key in ("rows", "images", "kinds", "yes_no", "modalities")},
        "patients": len(named),
        "most_frequent_share": result["top_answers"][0]["share"],
    }


def _sizes(splits: Mapping[str, Sequence[Sample]], stored: Sequence[Any], budget: int) -> dict[str, Any] | None:
    """Sizes in pixels as the images came, and how many are shrunk to the budget; None where that was not recorded."""
    used = {image for rows in splits.values() for sample in rows for image in sample.images}
    came = {image: size for each in stored for image, size in zip(each.images, each.sizes, strict=False)}
    sizes = [came[image] for image in sorted(used & came.keys())]
    if not sizes:
        return None
    widths, heights = [width for width, _ in sizes], [height for _, height in sizes]
    over = sum(image_tokens(width, height, report.NATIVE) > budget for width, height in sizes)
    return {
        "images": len(sizes),
        "width": (min(widths), median(widths), max(widths)),
        "height": (min(heights), median(heights), max(heights)),
        "shrunk": over,
        "budget": budget,
    }


def _prepared(card: DataCard) -> dict[str, Any]:
    """How `lowmed data prepare` imported the source: rejected rows, and how images were converted."""
    return {
        "rows": sum(card.rows.values()),
        "rejected": sum(card.rejected.values()),
        "reasons": len(card.rejected),
        "max_image_tokens": card.max_image_tokens,
        "frames": card.frames,
        "window": card.window,
        "lowmed": card.lowmed,
    }


def _audit(file: Path, card: DataCard) -> dict[str, Any] | None:
    """What `lowmed data audit` wrote; None where it was not run, or the samples are others by now."""
    result = read_json(file) if file.is_file() else None
    if result is None or (result["data"]["card"] or {}).get("samples_sha256") != card.samples_sha256:
        return None
    return {
        "verdict": result["verdict"],
        "reasons": result["reasons"],
        "look_alikes": result["near"]["pairs"],
        "metadata": result["privacy"]["metadata"],
        "text": result["privacy"]["text"],
        "looked_at": result["privacy"]["looked_at"],
    }
