"""Text of data, file names and recipes: nothing of it acts on a terminal, in a page or in Markdown, in any locale."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image
from rich.markup import escape
from rich.table import Table

from lowmed.errors import LONGEST_LINE, MOST_LINES, DataError
from lowmed.report.console import EscapingConsole
from lowmed.report.escape import markdown
from lowmed.report.templates import CONTENT_SECURITY_POLICY, SCRIPT
from lowmed.terminal import visible

Lowmed = Callable[..., CompletedProcess[str]]
ACTING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
EVIL = "\x1b[31mred\x1b[0m \x1b]0;title\x07 [red]bold[/] [/] \x9b2J \r\u202eé <script>x</script>"
ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
LONG = "x" * 300


def folder(path: Path) -> Path:
    """A data set with control characters and markup in every text, and links to nothing."""
    path.mkdir()
    rows = [
        {
            "id": f"{EVIL}{number}",
            "question": f"{EVIL} {number}?",
            "answer": "yes" if number % 2 else "no",
            "kind": "closed",
            "modality": f"{EVIL}{number % 2}",
            "topic": "[/]",
            "group": f"{EVIL}{number}",
            "strata": {f"[/bold] {EVIL}": str(number % 2)},
        }
        for number in range(12)
    ]
    (path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (path / "dangling.png").symlink_to("/nonexistent/image.png")
    (path / "loop.png").symlink_to("loop.png")
    (path / f"{EVIL.replace('/', '')}.png").symlink_to("/nonexistent/image.png")
    return path


def make_images(place: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 64), dtype=np.uint8)
        Image.fromarray(pixels).save(place / name, "PNG")


def predictions(path: Path) -> None:
    rows = [
        {"id": str(number), "question": f"{EVIL}?", "answer": "yes", "kind": "closed",
         "modality": f"{EVIL}{number % 2}", "completion": f"<answer>yes</answer>{EVIL}", "image": f"{EVIL}.png"}
        for number in range(8)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize("environment", [{}, ASCII], ids=["utf-8", "ascii"])
@pytest.mark.parametrize(
    "command",
    [
        ["data", "audit", "d"],
        ["data", "audit", "d", "--json"],
        ["data", "show", "d", "--questions", "2"],
        ["data", "show", "d", "--questions", "2", "--json"],
        ["data", "prepare", "d/samples.jsonl", "--out", "out"],
        ["data", "prepare", "d/samples.jsonl", "--out", "out", "--json"],
        ["check", "--recipe", "rl-plain", "--nano", "data.source=folder", "data.path=d"],
        ["score", "p.jsonl"],
        ["score", "p.jsonl", "--json"],
        ["recipes"],
        ["data", "sources"],
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_no_text_of_data_controls_the_terminal(
    command: list[str], environment: dict[str, str], lowmed: Lowmed, tmp_path: Path
) -> None:
    folder(tmp_path / "d")
    predictions(tmp_path / "p.jsonl")
    done = lowmed(*command, **environment)
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert ACTING.findall(done.stdout + done.stderr) == []
    if "--json" in command:
        assert json.loads(done.stdout)
    if environment:
        assert (done.stdout + done.stderr).isascii()


def test_what_is_escaped_stays_readable(lowmed: Lowmed, tmp_path: Path) -> None:
    folder(tmp_path / "d")
    shown = lowmed("data", "show", "d", "--questions", "1").stdout
    assert "\\x1b[31mred\\x1b[0m" in shown
    assert "[red]bold[/] [/]" in shown
    assert "é" in shown
    predictions(tmp_path / "p.jsonl")
    assert "\\x1b[31mred\\x1b[0m \\x1b]0;title\\x07 [red]bold[/] [/]" in lowmed("score", "p.jsonl").stdout


def test_a_json_output_keeps_its_texts_in_ascii(lowmed: Lowmed, tmp_path: Path) -> None:
    folder(tmp_path / "d")
    rows = json.loads(lowmed("data", "show", "d", "--questions", "1", "--json", **ASCII).stdout)
    assert rows[0]["modality"].startswith(EVIL)


def test_names_in_errors_are_escaped(lowmed: Lowmed, tmp_path: Path) -> None:
    (tmp_path / "t\x1b[31m.csv").write_text("image,quest\x1b[31mion,answ\n1,2,3\n", encoding="utf-8")
    done = lowmed("data", "prepare", "t\x1b[31m.csv", "--out", "out\x1b[2J", **ASCII)
    assert done.returncode == 2
    assert "quest\\x1b[31mion" in done.stderr
    assert ACTING.findall(done.stdout + done.stderr) == []


def test_pages_allow_their_own_script_alone_and_escape_texts(lowmed: Lowmed, tmp_path: Path) -> None:
    folder(tmp_path / "d")
    lowmed("data", "audit", "d")
    lowmed("data", "show", "d")
    for name in ("audit.html", "show.html"):
        page = (tmp_path / "d" / name).read_text(encoding="utf-8")
        assert f'content="{Markup.escape(CONTENT_SECURITY_POLICY)}"' in page
        assert "&lt;script&gt;" in page
        assert page.count("<script") == page.count(f"<script>{SCRIPT}</script>") == 1


@pytest.mark.parametrize(
    "command",
    [
        ["data", "prepare", LONG, "--out", "out"],
        ["data", "prepare", f"{LONG}.csv", "--out", "out"],
        ["data", "prepare", "d/samples.jsonl", "--out", LONG],
        ["data", "prepare", "d/samples.jsonl", "--out", "y" * 250],
        ["data", "audit", LONG],
        ["data", "show", LONG],
        ["check", "--recipe", LONG],
        ["check", "--recipe", f"{LONG}.yaml"],
        ["check", "--recipe", "rl-plain", "--nano", "data.source=folder", f"data.path={LONG}"],
        ["eval", LONG],
        ["ask", "nano", f"{LONG}.png", "Is there a mass?"],
        ["score", f"{LONG}.jsonl"],
        ["runs", "show", LONG],
        ["report", LONG],
        ["verify", LONG],
        ["data", "prepare", "dangling", "--out", "out"],
        ["data", "audit", "dangling"],
        ["check", "--recipe", "dangling.yaml"],
    ],
    ids=lambda words: " ".join(word[:9] for word in words[:3]),
)
def test_names_that_are_too_long_and_links_to_nothing_are_errors(
    command: list[str], lowmed: Lowmed, tmp_path: Path
) -> None:
    folder(tmp_path / "d")
    for name in ("dangling", "dangling.yaml"):
        (tmp_path / name).symlink_to("/nonexistent")
    done = lowmed(*command)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n  where  ") == done.stderr.count("\n  fix    ") == 1


def test_class_folders_with_links_to_nothing_and_names_that_are_not_utf8_are_imported(
    lowmed: Lowmed, tmp_path: Path
) -> None:
    make_images(tmp_path, *(f"c/{label}/{number}.png" for label in ("mass", "normal") for number in range(3)))
    make_images(tmp_path, os.fsdecode(b"c/mass/bad\xff.png"), "c/mass/\x1b[31mred.png")
    (tmp_path / "c/mass/dangling.png").symlink_to("/nonexistent")
    (tmp_path / "c/mass/loop.png").symlink_to("loop.png")
    (tmp_path / "c/dangling").symlink_to("/nonexistent")
    (tmp_path / os.fsdecode(b"c/mass/text\xff.png")).write_text("no image")
    done = lowmed("data", "prepare", "c", "--out", "out", "--max-rejected", "0.9", **ASCII)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert "text\\udcff.png" in done.stdout
    make_images(tmp_path, os.fsdecode(b"c/class\xff/0.png"))
    done = lowmed("data", "prepare", "c", "--out", "out2", **ASCII)
    assert done.returncode == 2
    assert "not UTF-8" in done.stderr


def test_an_image_name_that_is_too_long_rejects_its_row_only(lowmed: Lowmed, tmp_path: Path) -> None:
    make_images(tmp_path, "a.png")
    (tmp_path / "dangling.png").symlink_to("gone.png")
    table = f"image,question,answer\n{LONG}.png,a?,yes\na.png,b?,no\ndangling.png,c?,no\n"
    (tmp_path / "t.csv").write_text(table, encoding="utf-8")
    done = lowmed("data", "prepare", "t.csv", "--out", "out", "--max-rejected", "0.9", "--json")
    report = json.loads(done.stdout)
    assert report["rows"] == {"train": 1}
    assert sum(reason["rows"] for reason in report["rejected"]) == 2


def test_an_error_of_a_megabyte_is_cut() -> None:
    error = DataError("a" * 2**20, "first\n" + "b\n" * 2**20, "c" * 2**20 + "end")
    assert len(str(error)) < 2 * (LONGEST_LINE + MOST_LINES * 12)
    assert str(error).endswith("end")
    assert DataError("what", "/path" * 100, "fix").where == "/path" * 100


def test_a_table_interprets_no_markup_or_escape_of_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    shown = EscapingConsole(width=200, force_terminal=True, color_system=None)
    table = Table(box=None)
    table.add_column("\x1b[31mhead")
    table.add_row(escape("[red]\x1b[2J[/] [/]"))
    shown.print(table)
    printed = capsys.readouterr().out
    assert "\x1b[2J" not in printed
    assert "[red]\\x1b[2J[/] [/]" in printed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, 3.5 mm (left)", "plain words, 3.5 mm (left)"),
        ("vqa_rad by_image", "vqa_rad by_image"),
        ("[click](javascript:alert(1))", r"\[click\](javascript:alert(1))"),
        ("![x](https://tracker)", r"!\[x\](https://tracker)"),
        ("<img src=x onerror=y>", "&lt;img src=x onerror=y&gt;"),
        ("# heading", "&#35; heading"),
        ("1. list", "&#49;. list"),
        ("a | b", r"a \| b"),
        ("one\n\n# two", "one # two"),
        ("_x_ __y__ *z* ~~s~~ `c`", r"\_x\_ \_\_y\_\_ \*z\* \~~s\~~ \`c\`"),
    ],
)
def test_markdown_shows_a_text_as_it_is(text: str, shown: str) -> None:
    assert str(markdown(text)) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\tb\nc é", "a\tb\nc é"), ("\x1b\x07\r", "\\x1b\\x07\\x0d"), ("\x7f\x9b\u202e", "\\u007f\\u009b\\u202e")],
)
def test_control_characters_become_visible(text: str, shown: str) -> None:
    assert visible(text) == shown
