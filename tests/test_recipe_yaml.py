"""Recipes from others: no YAML ends in a traceback, a hang, or exhausted memory."""

import os
import tracemalloc
from pathlib import Path

import pytest
from conftest import Lowmed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lowmed.errors import LowmedError, RecipeError
from lowmed.recipe.io import load_recipe, recipes_folder, shipped_recipes
from lowmed.recipe.raw import parse_value, read_raw, read_text
from lowmed.recipe.yaml_limits import MAX_BYTES, MAX_DEPTH, MAX_NODES

GOOD = "about: a recipe\ndata: {source: phantom}\nmethod: {kind: grpo, rewards: [{name: accuracy}]}\n"


def laughs(levels: int, link: str = "[{}]") -> str:
    """Nested anchors: each stands for ten of the one before."""
    first = "a0: &a0 {x: 1}" if "<<" in link else "a0: &a0 [lol]"
    others = (f"a{n}: &a{n} " + link.format(", ".join([f"*a{n - 1}"] * 10)) for n in range(1, levels))
    return "\n".join([first, *others]) + "\n"


CHAIN = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, MAX_DEPTH + 1))
HOSTILE = {
    "laughs": laughs(40),
    "laughs by merge keys": laughs(40, "{{<<: [{}]}}"),
    "few laughs": laughs(6),
    "self reference": "about: &a [*a]\n",
    "self reference of a mapping": "about: &a {b: {c: *a}}\n",
    "self merge": "about: &a {<<: *a}\n",
    "unknown anchor": "about: *a\n",
    "anchor used twice": "about: [&a x, &a [*a]]\n",
    "chain": CHAIN,
    "brackets": "about: " + "[" * 5000 + "]" * 5000,
    "open brackets": "about: " + "[" * 5000,
    "open braces": "about: " + "{" * 5000,
    "dashes": "- " * 5000 + "x",
    "questions": "? " * 5000 + "x",
    "quoted int": "about: !!int 'a'",
    "float": "about: !!float x",
    "timestamp": "about: !!timestamp x",
    "date that does not exist": "about: 2026-99-99",
    "bool": "about: !!bool x",
    "binary": "about: !!binary '%%%'",
    "good binary": "about: !!binary aGk=",
    "set": "about: !!set {a, b}",
    "omap": "about: !!omap [a: 1]",
    "pairs": "about: !!pairs [a: 1]",
    "broken omap": "about: !!omap x",
    "map of a text": "about: !!map x",
    "int of a list": "about: !!int [1]",
    "int of a mapping": "about: !!int {a: 1}",
    "timestamp of a list": "about: !!timestamp [1, 2]",
    "python": "about: !!python/object/apply:os.system ['touch marker']",
    "own tag": "about: !mine x",
    "equals sign": "about: =",
    "equals key": "about: !!str {=: {=: x}}",
    "merge of a number": "about: {<<: 5}",
    "merge of numbers": "about: {<<: [5]}",
    "merge outside": "<<",
    "huge int": "seed: " + "9" * 5000,
    "huge hex": "seed: 0x" + "f" * 100_000,
    "huge sexagesimal": "seed: 1" + ":59" * 60_000,
    "huge sexagesimal float": "seed: 1" + ":59" * 60_000 + ".5",
    "duplicate": "about: a\nabout: b\n",
    "deep duplicate": "data: {a: {b: 1, b: 2}}\n",
    "list as a key": "[a]: b\n",
    "mapping as a key": "{a: b}: c\n",
    "null as a key": "null: b\n",
    "NaN as a key": ".nan: b\n",
    "date as a key": "2026-01-01: b\n",
    "number as a key": "data: {1: 2, 1.5: 3, true: 4}\n",
    "two documents": "about: a\n---\nabout: b\n",
    "NUL": "about: a\0b\n",
    "escaped NUL": 'about: "a\\0b"\n',
    "escaped surrogate": 'about: "\\ud800"\n',
    "large code point": 'about: "\\UFFFFFFFF"\n',
    "huge indicator": "about: |99\n x\n",
    "version": "%YAML 9.9\n---\nabout: x\n",
    "tab": "about:\n\t- x\n",
    "empty": "",
    "comment": "# nothing\n",
    "too many values": "about: [" + "1, " * MAX_NODES + "]",
    "too large": "# " + "x" * MAX_BYTES,
}


def written(folder: Path, text: str | bytes) -> str:
    path = folder / "mine.yaml"
    path.write_bytes(text.encode(errors="surrogatepass") if isinstance(text, str) else text)
    return str(path)


def refused(name: str, *overrides: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        load_recipe(name, overrides)
    assert caught.value.what.count("\n") == 0
    assert len(caught.value.what) < 500
    assert caught.value.where
    assert caught.value.fix
    return caught.value


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(tmp_path: Path, name: str) -> None:
    tracemalloc.start()
    refused(written(tmp_path, HOSTILE[name]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20


@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in ("comment", "empty", "too large")])
def test_a_hostile_override_is_refused(tmp_path: Path, name: str) -> None:
    text = HOSTILE[name].removeprefix("about: ").removeprefix("seed: ")
    refused(written(tmp_path, GOOD), f"seed={text}")


@pytest.mark.parametrize(
    "key", ["a." * 5000 + "b", ".", "..", "data..source", "data.source.x", "\ud800", "", "=", "seed.x"]
)
def test_a_hostile_key_of_an_override_is_refused(tmp_path: Path, key: str) -> None:
    refused(written(tmp_path, GOOD), f"{key}=1")


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"about: \xc3\x28\n", b"\xef\xbb\xbf\xff", b"\x00" * 100, bytes(range(256))]
)
def test_bytes_that_are_no_utf8_are_refused(tmp_path: Path, content: bytes) -> None:
    refused(written(tmp_path, content))


def test_only_a_regular_file_is_read(tmp_path: Path, lowmed: Lowmed) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    names = [str(tmp_path / f"{name}.yaml") for name in ("pipe", "folder", "zero", "loop")]
    for name in [*names, "/dev/zero", "x" * 300, "x" * 300 + ".yaml", "a\0b", "a\0b.yaml"]:
        refused(name)
    for name in names:
        with pytest.raises(RecipeError, match="cannot be read"):
            read_text(Path(name))
        result = lowmed("check", "--recipe", name)
        assert result.returncode == 2
        assert "Traceback" not in result.stderr


def test_the_size_of_a_file_is_limited_before_it_is_read(tmp_path: Path) -> None:
    path = Path(written(tmp_path, "x"))
    os.truncate(path, 2**40)
    assert "larger than 256 KiB" in refused(str(path)).what


def test_an_error_in_a_value_names_its_line(tmp_path: Path) -> None:
    for value in ("!!int 'a'", "!!set {a, b}", "2026-99-99", "0x" + "f" * 1000, "[" * 40 + "]" * 40):
        assert refused(written(tmp_path, f"{GOOD}# a comment\nseed: {value}\n")).where.endswith("mine.yaml:5")


def test_anchors_and_merge_keys_still_work(tmp_path: Path) -> None:
    text = "x: &x {name: accuracy, weight: 2}\ny: [*x, *x, {<<: *x, weight: 3}]\nz: {<<: *x, name: other}\n"
    raw = read_raw(Path(written(tmp_path, text)))
    assert raw.values["y"] == [{"name": "accuracy", "weight": 2}] * 2 + [{"name": "accuracy", "weight": 3}]
    assert raw.values["z"] == {"name": "other", "weight": 2}
    assert raw.place_of(("y", 2, "weight")) == "mine.yaml:2"
    below = "[" * (MAX_DEPTH - 1) + "1" + "]" * (MAX_DEPTH - 1)
    assert read_raw(Path(written(tmp_path, f"x: {below}"))).values["x"]
    assert len(parse_value("[" + "1, " * (MAX_NODES - 1) + "]")) == MAX_NODES - 1
    assert parse_value("[1e-4, 1_000, 0x10, 1:30, 2.5, .inf, null, yes]") == [
        1e-4,
        1000,
        16,
        90,
        2.5,
        float("inf"),
        None,
        True,
    ]


def test_the_limits_leave_room_for_recipes() -> None:
    sizes = {name: (recipes_folder() / f"{name}.yaml").stat().st_size for name in shipped_recipes()}
    assert max(sizes.values()) < MAX_BYTES / 10


PIECES = st.sampled_from([
    "&a ", "*a", "<<: *a", "!!int ", "!!float ", "!!set ", "!!binary ", "!!timestamp ", "!!null ", "!!str ", "!!map ",
    "!x ", "[", "]", "{", "}", ": ", "? ", "- ", ",", "\n", "  ", "\t", "#", "|\n", ">\n", "'", '"', "%", "@", "`",
    "\0", "\x85", "\u2028", "\ufeff", "9" * 5000, "0x", "1:30", "2026-01-01", "2026-99-99", ".nan", ".inf", "null",
    "true", "~", "=", "---\n", "...\n",
])  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_mutated_recipe_loads_or_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    text = (recipes_folder() / f"{data.draw(st.sampled_from(shipped_recipes()))}.yaml").read_text()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.sampled_from([0, 0, 1, 5, 40])))
        text = text[:start] + data.draw(st.one_of(PIECES, st.text(max_size=5))) + text[end:]
    overrides = data.draw(st.lists(st.tuples(
        st.sampled_from(["seed", "lora.rank", "data", "method.rewards", "prompts", "provenance", "method", "", "x.y"]),
        st.one_of(PIECES, st.text(max_size=8)),
    ), max_size=2))  # fmt: skip
    try:
        load_recipe(
            written(tmp_path, text), [f"{key}={value}" for key, value in overrides], nano=data.draw(st.booleans())
        )
    except LowmedError as error:
        assert error.fix
