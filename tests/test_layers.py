"""Imports at the top of a module point downward, and heavy packages are imported only when they are needed."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lowmed"
HEAVY = {"torch", "torchvision", "transformers", "trl", "peft", "bitsandbytes", "datasets", "unsloth", "accelerate"}
HEAVY_LAYERS = ("engine", "ship")
# Lower layers first. A module may import at its top only from its own layer and those before it.
ORDER = [
    "errors", "collector", "terminal", "processes", "files", "lock", "progress", "records", "section", "control_tokens",
    "boxes", "sample", "answer", "prompt", "methods", "recipe", "models", "adapter", "run", "followed_run",
    "run_removal", "tracking", "nano", "testbed", "architectures", "data", "judge", "rewards", "plan", "evaluation",
    "distillation", "study", "report", "engine", "ship", "api", "studio", "cli",
]  # fmt: skip
MAX_LINES = 300
MODULES = sorted(PACKAGE.rglob("*.py"))


def layer(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def top_level_imports(module: Path) -> Iterator[str]:
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wrong_imports(module: Path) -> Iterator[str]:
    here = layer(module)
    for name in sorted(set(top_level_imports(module))):
        top, _, rest = name.partition(".")
        if top in HEAVY and here not in HEAVY_LAYERS:
            yield f"{module.relative_to(PACKAGE)} imports {name}, which is heavy"
        target = rest.split(".")[0]
        if top == "lowmed" and here in ORDER and target in ORDER and ORDER.index(target) > ORDER.index(here):
            yield f"{module.relative_to(PACKAGE)} imports {name}, from a layer above it"


def test_modules_import_downward_and_lightly() -> None:
    assert [problem for module in MODULES for problem in wrong_imports(module)] == []


def test_every_layer_has_a_place_in_the_order() -> None:
    assert {layer(module) for module in MODULES} - {"__init__", "__main__"} <= set(ORDER)


def test_modules_stay_short() -> None:
    lines = {
        str(module.relative_to(PACKAGE)): len(module.read_text(encoding="utf-8").splitlines()) for module in MODULES
    }
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["recipes"],
        ["check", "--recipe", "rarl", "--nano"],
        ["grpo", "--help"],
        ["plan", "--recipe", "rarl"],
        ["rewards", "list"],
        ["runs"],
    ],
)
def test_light_commands_load_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys, lowmed.cli\n"
        f"sys.argv = ['lowmed', *{arguments!r}]\n"
        "try:\n    lowmed.cli.main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"assert not set(sys.modules) & {HEAVY!r}, set(sys.modules) & {HEAVY!r}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
