"""`import lowmed` is light, exports what it documents, and the examples of the documentation run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import lowmed

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "numpy", "pydantic", "typer", "yaml"}


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, lowmed; print(sorted({HEAVY!r} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [name for name in lowmed.__all__ if name != "__version__"])
def test_every_exported_name_resolves_and_is_documented(name: str) -> None:
    exported = getattr(lowmed, name)
    assert exported.__doc__
    assert (
        f"`{name}" in (ROOT / "docs" / "api.md").read_text()
        or f"lowmed.{name}" in (ROOT / "docs" / "api.md").read_text()
    )


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lowmed.nothing


@pytest.mark.slow
@pytest.mark.usefixtures("forked_scripts")
def test_the_examples_of_the_page_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    assert len(blocks) >= 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/api.md", "exec"), names)  # noqa: S102
