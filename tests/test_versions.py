"""The window of versions in pyproject.toml is what the two ends, `make test-oldest` and `make test-newest`, test."""

import json
import os
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = {name: ROOT / name for name in (".ci/oldest.txt", ".ci/newest.txt", "constraints.txt")}


def requirements(lines: list[str]) -> dict[str, Requirement]:
    parsed = (Requirement(line) for line in lines)
    return {canonicalize_name(one.name): one for one in parsed}


def pinned(path: Path) -> dict[str, Version]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return {name: Version(str(one.specifier).removeprefix("==")) for name, one in requirements(lines).items()}


CORE = requirements(PROJECT["dependencies"])
# Packages with an upper bound: the window.
WINDOW = sorted(name for name, one in CORE.items() if any(part.operator == "<" for part in one.specifier))


def bound(name: str, operator: str) -> Version:
    [version] = [part.version for part in CORE[name].specifier if part.operator == operator]
    return Version(version)


def outside(pins: dict[str, Version], wanted: dict[str, Requirement]) -> list[str]:
    return [f"{one}, not {pins[name]}" for name, one in wanted.items() if not one.specifier.contains(pins[name])]


def test_the_window_contains_torch_and_what_depends_on_it() -> None:
    assert WINDOW == ["accelerate", "bitsandbytes", "datasets", "peft", "torch", "transformers", "trl"]


@pytest.mark.parametrize("name", PINS)
def test_tested_versions_are_allowed(name: str) -> None:
    pins = pinned(PINS[name])
    assert set(WINDOW) | {"torchvision"} <= pins.keys()
    assert outside(pins, {package: one for package, one in CORE.items() if package in pins}) == []


def test_the_default_versions_are_allowed_with_every_extra() -> None:
    pins = pinned(PINS["constraints.txt"])
    for extra in PROJECT["optional-dependencies"].values():
        wanted = requirements([line for line in extra if not line.startswith("lowmed[")])
        assert outside(pins, {name: one for name, one in wanted.items() if name in pins}) == []


@pytest.mark.parametrize("name", WINDOW)
def test_nothing_is_allowed_beyond_the_tested_ends(name: str) -> None:
    oldest, newest = pinned(PINS[".ci/oldest.txt"])[name], pinned(PINS[".ci/newest.txt"])[name]
    assert bound(name, ">=") == oldest
    assert bound(name, "<") == Version(f"{newest.major}.{newest.minor + 1}")


def test_only_the_extra_has_the_bounds_of_unsloth() -> None:
    newest = pinned(PINS[".ci/newest.txt"])
    extra = requirements(PROJECT["optional-dependencies"]["unsloth"])
    bounded = {name for name in extra if name in newest and not extra[name].specifier.contains(newest[name])}
    assert bounded == {"datasets", "torch", "transformers", "trl"}
    assert not any("unsloth" in line for line in PROJECT["optional-dependencies"]["dev"])


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_replace_only_a_torch_outside_of_the_window(path: Path) -> None:
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    [install] = [cell for cell in cells if "pip install" in cell]
    [version] = re.findall(r'"torch==(.+?)\.\*"', install)
    assert Version(version) == Version(".".join(pinned(PINS[".ci/oldest.txt"])["torch"].public.split(".")[:2]))
    assert not re.search(r"\s(-U|--upgrade|--force-reinstall)\s", install)


@pytest.mark.xdist_group("versions")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="tests run in one process")
def test_the_test_runner_keeps_groups_in_one_process(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.endswith("@versions")
