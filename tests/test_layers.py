"""The rooms keep to their order, and nothing heavy is loaded before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lowmed"
HEAVY = {"torch", "torchvision", "transformers", "trl", "peft", "bitsandbytes", "datasets", "unsloth", "accelerate"}
# Lower rooms first; a module may import at its top only from its own room and those before it.
ORDER = ["errors", "files", "records", "schema", "sample", "answer", "prompt", "methods", "recipe", "models", "run",
         "nano", "data", "judge", "rewards", "plan", "evaluate", "report", "engine", "ship", "cli"]  # fmt: skip
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_at_the_top(module: Path) -> set[str]:
    names = set()
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_import_downward_and_lightly(module: Path) -> None:
    for name in imported_at_the_top(module):
        top, _, rest = name.partition(".")
        assert top not in HEAVY or room(module) in ("engine", "ship"), f"{name} is heavy"
        if top == "lowmed" and rest and room(module) in ORDER:
            other = rest.split(".")[0]
            if other in ORDER:
                assert ORDER.index(other) <= ORDER.index(room(module)), f"{room(module)} imports {other}"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_stay_readable(module: Path) -> None:
    assert len(module.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["recipes"],
        ["check", "--recipe", "rarl", "--nano"],
        ["grpo", "--help"],
        ["plan", "--recipe", "rarl"],
        ["rewards", "list"],
    ],
)
def test_light_verbs_load_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys, lowmed.cli\n"
        f"sys.argv = ['lowmed', *{arguments!r}]\n"
        "try:\n    lowmed.cli.main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"assert not set(sys.modules) & {HEAVY!r}, set(sys.modules) & {HEAVY!r}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
