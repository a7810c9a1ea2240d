"""Commands, options, recipe keys, recipe names, links and file paths in the documentation exist."""

import itertools
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lowmed.cli import app
from lowmed.recipe.io import shipped_recipes

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("recipes/*"), *ROOT.glob("notebooks/*.ipynb")],
    key=lambda page: page.relative_to(ROOT),
)
MARKDOWN = [page for page in PAGES if page.suffix == ".md" and page.name != "CHANGELOG.md"]  # it lists old names
SECTIONS = ("bridge", "data", "eval", "judge", "lora", "method", "model", "prompts")
SPAN = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"```.*?```", re.DOTALL)
OVERRIDE = re.compile(r"([a-z_]+(?:\.[a-z_]+)*)=")
KEY = re.compile(rf"((?:{'|'.join(SECTIONS)})(?:\.[a-z_]+)+)(?:=.*)?")
FILE_SUFFIXES = ("json", "jsonl", "md", "py", "sqlite", "yaml")
LINK = re.compile(r"\]\(([^)\s]+)\)")
REPOSITORY_PATH = re.compile(r"(?:lowmed|tests|benchmarks|docs|recipes|notebooks)/[\w./{},-]+|\.ci/\w+(?:\.py)?")
MODULE_PATH = re.compile(r"\w+/[\w/{},.]+\.(?:py|jinja)")


def label(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return text


def command_lines(page: Path) -> Iterator[str]:
    """Every `lowmed ...` of a page: in blocks, after `!` in notebooks, in comments of recipes, in code spans."""
    text = text_of(page)
    for line in text.splitlines():
        if page.suffix == ".md" and not line.startswith("    ") and line not in _fenced(text):
            continue
        if page.suffix == ".ipynb" and not line.startswith("!"):
            continue
        bare = re.sub(r"^[!#\s]*(?:(?:start|try|cost)\s+)?", "", line)
        parts = re.split(r"&&|;", re.split(r"\s{3,}|\s#", bare)[0])
        yield from (part.strip() for part in parts if part.strip().startswith("lowmed "))
    yield from (span for span in SPAN.findall(FENCE.sub("", text)) if span.startswith("lowmed "))


@cache
def _fenced(text: str) -> frozenset[str]:
    return frozenset(line for block in FENCE.findall(text) for line in block.splitlines())


def root_command() -> Any:
    """The click group behind the Typer app; Typer has its own copy of click, without types."""
    return typer.main.get_command(app)


def problems(line: str) -> Iterator[str]:
    """What is wrong with one command line."""
    words = [word.strip("[]") for word in shlex.split(line.replace("\\|", "|").replace("'", ""))]
    words = [word for word in words if word not in ("{TRIAL}", "{EVAL}", "{PROBE}")]  # of the notebooks: several words
    command = root_command()
    position = 1
    while hasattr(command, "commands") and position < len(words) and not words[position].startswith("-"):
        names = words[position].split("|")
        if missing := [name for name in names if name not in command.commands]:
            yield f"no command {missing}"
            return
        command = command.commands[names[0]]
        position += 1
    options = {name: parameter for parameter in command.params for name in parameter.opts if name.startswith("-")}
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    positional: list[str] = []
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("-"):
            positional.append(word)
        elif word not in options:
            if word != "--help":
                yield f"no option {word}"
        elif not getattr(options[word], "is_flag", False):
            if word in ("--recipe", "-r") and not known_recipe(words[position]):
                yield f"no recipe {words[position]}"
            position += options[word].nargs
    if any(argument.name == "overrides" for argument in arguments):
        for word in positional:
            match = OVERRIDE.match(word)
            if match and match[1] != "key" and not key_exists(match[1]):
                yield f"no recipe key {match[1]}"
    elif all(argument.nargs > 0 for argument in arguments) and len(positional) > sum(a.nargs for a in arguments):
        yield f"too many arguments: {positional}"
    if words[1:2] == ["recipes"] and positional and not known_recipe(positional[0]):
        yield f"no recipe {positional[0]}"


def known_recipe(name: str) -> bool:
    placeholder = name.isupper() or name.startswith("$")
    return placeholder or name.endswith((".yaml", "...")) or name in shipped_recipes()


@cache
def schema() -> dict[str, Any]:
    result: dict[str, Any] = json.loads(CliRunner().invoke(app, ["recipes", "schema"]).stdout)
    return result


def key_exists(key: str) -> bool:
    sections = [schema()]
    for name in key.split("."):
        sections = [inner for section in sections for inner in _under(section, name)]
    return bool(sections)


def _under(section: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    for field in _resolved(section):
        if name in field.get("properties", {}):
            yield field["properties"][name]
        elif isinstance(field.get("additionalProperties"), dict):
            yield field["additionalProperties"]


def _resolved(field: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in field:
        yield from _resolved(schema()["$defs"][field["$ref"].rpartition("/")[2]])
    yield from itertools.chain.from_iterable(
        map(_resolved, [*field.get("anyOf", ()), *field.get("oneOf", ()), *field.get("allOf", ())])
    )
    yield field


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def expanded(path: str) -> Iterator[str]:
    """`a/{b,c}.py` as `a/b.py` and `a/c.py`."""
    parts = [part.split(",") for part in re.split(r"[{}]", path)]
    yield from map("".join, itertools.product(*parts))


def missing_paths(page: Path) -> Iterator[str]:
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(text):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists():
            yield f"{label(page)}: link to {target}"
        elif anchor and anchor not in anchors(file):
            yield f"{label(page)}: no heading for {target}"
    for span in SPAN.findall(FENCE.sub("", text)):
        folder = ROOT if REPOSITORY_PATH.fullmatch(span) else ROOT / "lowmed" if MODULE_PATH.fullmatch(span) else None
        if folder and not re.search(r"(?:\b|_)xx?\.py$", span):
            yield from (f"{label(page)}: {path}" for path in expanded(span) if not any(folder.glob(path.rstrip("/"))))


def test_every_command_line_uses_existing_commands_options_keys_and_recipes() -> None:
    lines = [(page, line) for page in PAGES if page.name != "CHANGELOG.md" for line in command_lines(page)]
    assert len(lines) > 100
    wrong = [f"{label(page)}: {line}: {problem}" for page, line in lines for problem in problems(line)]
    assert not wrong, "\n".join(wrong)


def test_every_recipe_key_in_the_text_exists() -> None:
    spans = [(page, span) for page in MARKDOWN for span in SPAN.findall(FENCE.sub("", page.read_text()))]
    named = [(page, match[1]) for page, span in spans if (match := KEY.fullmatch(span))]
    wrong = [
        f"{label(page)}: {key}"
        for page, key in named
        if key.rpartition(".")[2] not in FILE_SUFFIXES and not key_exists(key)
    ]
    assert len(named) > 20
    assert not wrong, "\n".join(wrong)


def test_every_link_and_path_exists() -> None:
    wrong = [problem for page in MARKDOWN for problem in missing_paths(page)]
    assert not wrong, "\n".join(wrong)


def test_the_tables_name_every_command_and_every_recipe() -> None:
    commands = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert [name for name in root_command().commands if f"`lowmed {name}" not in commands] == []
    table = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    assert [name for name in shipped_recipes() if f"| `{name}` |" not in table] == []


def test_the_readme_is_read_in_a_few_minutes() -> None:
    text = FENCE.sub("", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert 400 < len(text.split()) <= 900


@pytest.mark.parametrize(
    "line",
    ["--help", "recipes", "rewards list", "check --recipe rarl --nano", "plan --recipe rarl --gpu t4", "data sources"],
)
def test_cheap_commands_run(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOWMED_OFFLINE", "1")
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 0, result.output
