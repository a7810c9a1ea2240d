"""A run as the page shows it, from its files alone."""

import functools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from lowmed.data.sources.generated import GENERATORS
from lowmed.errors import LowmedError
from lowmed.files import read_jsonl
from lowmed.report import gallery
from lowmed.report.run_records import RunSummary
from lowmed.report.run_summary import list_folder, summary
from lowmed.run import RECORD, Run
from lowmed.studio import curves, markup
from lowmed.studio.processes import main_memory_gib
from lowmed.studio.running import process_of

if TYPE_CHECKING:
    from lowmed.data.for_recipe import RecipeData
    from lowmed.sample import Sample

SHOWN_COMPLETIONS = 6
STEPS_AVERAGED = 20
_TAIL = 2**18  # bytes
_WATCHED = (RECORD, "lock", "metrics.jsonl", "dev.jsonl", "rollouts.jsonl", "dev_completions.jsonl")


def runs_in(folder: Path) -> tuple[RunSummary, ...]:
    """The runs in a folder, newest first; none if it does not exist yet."""
    return list_folder(folder).runs if folder.is_dir() else ()


def state(run: Path) -> tuple[Any, ...]:
    """What changes as soon as the view of a run changes."""
    return str(run), *(_version(run / name) for name in _WATCHED)


def overview(rows: Sequence[RunSummary], chosen: str | None) -> str:
    """The list of runs, as `lowmed runs` has it."""
    if not rows:
        return markup.note("There are no runs yet. Start one in the tab Train.")
    head = ("run", "status", "method", "data", "steps", "accuracy")
    cells = [(Path(row.folder).name, row.status, row.method, row.source, _steps(row), _accuracy(row)) for row in rows]
    marked = next((number for number, row in enumerate(rows) if Path(row.folder).name == chosen), None)
    return markup.table(head, cells, marked)


def status(run: Path) -> str:
    """Status, progress, time left, memory, and why it ended."""
    row = summary(run)
    if row.status in ("damaged", "leftover", "other"):
        return markup.note(f"{row.status}: {row.reason}")
    record = Run(run).record
    share = min(1.0, row.steps / row.max_steps) if row.max_steps else 0.0
    left = seconds_left(Run(run), row) if row.status == "running" else None
    process = process_of(run)
    main_memory = main_memory_gib(process) if process else None
    pairs = [
        ("status", f"{row.status}{': ' + row.reason if row.reason else ''}"),
        ("recipe", f"{row.recipe} ({row.method}) on {row.source}"),
        ("steps", _steps(row)),
        ("time left", None if left is None else _duration(left)),
        ("trained for", None if record.seconds is None else _duration(record.seconds)),
        ("peak memory", None if record.peak_gib is None else f"{record.peak_gib:.2f} GiB on {record.card}"),
        ("main memory", None if main_memory is None else f"{main_memory:.2f} GiB at most until now"),
        ("accuracy", _accuracy(row)),
    ]
    bar = f'<div class="lm-bar"><div style="width:{100 * share:.1f}%"></div></div>'
    return bar + markup.facts(pairs)


def seconds_left(run: Run, row: RunSummary) -> float | None:
    """Mean seconds of the last steps, times the steps that are left; None before the first step."""
    seconds = [one["seconds"] for one in tail(run.folder / "metrics.jsonl")[-STEPS_AVERAGED:] if one.get("seconds")]
    return fmean(seconds) * max(0, row.max_steps - row.steps) if seconds and row.max_steps else None


def drawn_curves(run: Path) -> str:
    """The curves until now; lines that are not complete yet are left out."""
    rows, dev = (_rows(run / name) for name in ("metrics.jsonl", "dev.jsonl"))
    return curves.draw(rows, dev) or markup.note("There are no steps yet: data and model are being loaded.")


def completions(run: Path, show_images: bool) -> str:
    """The last completions with question, gold answer and scores.

    Args:
        run: run directory.
        show_images: also images that are not generated, which may be patients' images.
    """
    rows = tail(run / "rollouts.jsonl") or tail(run / "dev_completions.jsonl")
    last = list({row.get("id"): row for row in rows}.values())[-SHOWN_COMPLETIONS:]
    if not last:
        return markup.note("No completions are stored yet; SFT stores those of dev evaluations only.")
    data = _data(str(run), _version(run / RECORD)[0])
    samples = _samples(data) if data else {}
    show_images = show_images or _is_generated(run)
    shown = [_card(row, samples.get(str(row.get("id"))), data, show_images) for row in reversed(last)]
    return f'<div class="lm-cards">{"".join(shown)}</div>'


def tail(file: Path) -> list[dict[str, Any]]:
    """The complete lines at the end of a JSON-lines file, which may be written at the same time."""
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - _TAIL))
            lines = opened.read().split(b"\n")[0 if size <= _TAIL else 1 :]
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:  # empty, or not complete
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        rows = read_jsonl(file)
    except LowmedError:  # its last line is being written
        rows = tail(file)
    return [row for row in rows if isinstance(row.get("step"), int)]


def _card(row: Mapping[str, Any], sample: "Sample | None", data: "RecipeData | None", show_images: bool) -> str:
    images = ""
    if sample and data and show_images:
        try:
            thumbnails = [gallery.data_url(data.split.open_image(name).convert("RGB")) for name in sample.images[:4]]
            images = "".join(f'<img src="{markup.escape(one)}" alt="image of the question">' for one in thumbnails)
        except LowmedError as raised:
            images = f'<p class="lm-small">{markup.escape(raised.what)}</p>'
    elif sample and sample.images:
        images = '<p class="lm-small">image not shown: it may be a patient\'s</p>'
    scores = row.get("scores")
    values = [
        f"{name} {_number(score.get('value'))}{' (' + str(score['why']) + ')' if score.get('why') else ''}"
        for name, score in (scores.items() if isinstance(scores, dict) else ())
        if isinstance(score, dict)
    ]
    question = f"<p><b>{markup.escape(sample.question)}</b></p>" if sample else ""
    gold = f"gold answer: {sample.answer}" if sample else str(row.get("id", ""))
    completion = markup.escape(row.get("completion", ""))
    small = "; ".join([f"step {row.get('step')}", gold, *values])
    return (
        f'<div class="lm-card">{images}{question}<p>{completion}</p>'
        f'<p class="lm-small">{markup.escape(small)}</p></div>'
    )


def _is_generated(run: Path) -> bool:
    """Whether no image of a run's data can be a patient's."""
    spec = Run(run).recipe.data
    return not spec.sources and spec.source in GENERATORS


@functools.lru_cache(maxsize=1)
def _data(run: str, _version: int) -> "RecipeData | None":
    """The data of a run; None if they are not on this machine."""
    from lowmed.data import for_recipe

    try:
        return for_recipe(Run(Path(run)).recipe, filtered=False)
    except (LowmedError, OSError):
        return None


def _samples(data: "RecipeData") -> "dict[str, Sample]":
    split = data.split
    return {sample.id: sample for part in (split.train, split.dev, *split.held_out.values()) for sample in part}


def _version(file: Path) -> tuple[int, int]:
    try:
        content = file.stat()
    except OSError:
        return 0, 0
    return content.st_mtime_ns, content.st_size


def _steps(row: RunSummary) -> str:
    return f"{row.steps} of {row.max_steps}" if row.max_steps else str(row.steps)


def _accuracy(row: RunSummary) -> str:
    if row.accuracy is None:
        return ""
    strict = row.accuracy.strict
    low, high = strict.by_image
    return f"{strict.accuracy:.3f} [{low:.3f}, {high:.3f}] on {row.accuracy.questions} {row.accuracy.split}"


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, int | float) else str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
