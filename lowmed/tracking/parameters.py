"""What is tracked of a run besides its metrics: the recipe without paths of this machine, and the digests."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lowmed import __version__
from lowmed.run import Run

# Local paths and addresses. Anything else that looks like a path is replaced too.
PRIVATE_KEYS = (
    "data.path",
    "data.difficulty",
    "data.pairs",
    "data.unpaired",
    "lora.start",
    "judge.url",
    "judge.calibration",
)
LOCAL = "(local)"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def parameters(run: Run) -> dict[str, str]:
    """The settings of a run by dotted key, its digests, and the version of lowmed."""
    record = run.record
    recipe = run.recipe
    public = recipe.model_copy(update={"data": recipe.data.with_paths(lambda _: None)})
    settings = public.model_dump(mode="json", exclude={"about", "provenance", "track"})
    return {
        "recipe_digest": record.recipe_digest,
        "data_digest": record.data_digest or "",
        "lowmed": __version__,
        **dict(_flat("", settings)),
    }


def public_name(metric: str) -> str:
    """The name of a metric without the folder of a custom reward, `FILE.py:FUNCTION`."""
    section, slash, name = metric.partition("/")
    return f"{section}{slash}{_without_paths(name)}" if ".py:" in name else metric


def _flat(prefix: str, values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from _flat(f"{key}.", value)
        elif key not in PRIVATE_KEYS:
            value = _without_paths(value)
            yield key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_paths(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_paths(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if ".py:" in value:
        return value.rpartition("/")[2]
    return LOCAL if _is_path(value) else value


def _is_path(text: str) -> bool:
    if text.startswith(("/", "~", "./", "../")):
        return True
    if "/" not in text or re.search(r"\s", text):
        return False
    return not _HUB_ID.fullmatch(text) or Path(text).exists()
