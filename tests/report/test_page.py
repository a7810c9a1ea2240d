"""The report page: complete, self-contained, and harmless whatever a model or a data set says."""

import contextlib
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from lowmed.cli.report import report as command
from lowmed.errors import RunError
from lowmed.nano import phantom
from lowmed.report import page, plots
from lowmed.report.record import read, rewards, settings
from lowmed.run import Run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SOURCES = {"phantom": phantom.picture}
NO_DATA = {"missing": "nothing is at hand"}


class _Seen(HTMLParser):
    """Every element and address of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "poster", "srcset"):
                self.addresses.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)


def _seen(html: str) -> _Seen:
    seen = _Seen()
    seen.feed(html)
    return seen


def test_the_page_tells_what_was_trained_how_and_how_well(finished: Run) -> None:
    html = page.render(read(finished), SOURCES, NO_DATA)
    for words in (
        *("nano", "GRPO", "lora.rank", "third-party note on RARL", "answer-prior floor", "12 s", "1.50 GiB"),
        *("torch 2.14.1", "Reward", "Entropy", "Reply length", "zero_spread_groups", "rewards/reasoning", "gained"),
        *("not for clinical use", "kind: choice", "left/right errors", "accuracy", "share of what was paid"),
    ):
        assert words in html, words
    assert html.count('class="case ') >= 3


def test_nothing_in_the_page_runs_or_is_fetched(finished: Run) -> None:
    html = page.render(read(finished), SOURCES, NO_DATA)
    seen = _seen(html)
    assert "&lt;script&gt;document.title" in html
    assert not {"script", "iframe", "object", "embed", "link", "form", "base"} & set(seen.tags)
    assert seen.handlers == []
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in seen.addresses)
    assert not re.search(r"url\((?!#)|@import", html)
    assert "default-src 'none'" in html


def test_pictures_are_embedded_only_where_they_may_be(finished: Run) -> None:
    assert any(
        address.startswith("data:image") for address in _seen(page.render(read(finished), SOURCES, NO_DATA)).addresses
    )
    without = page.render(read(finished), {}, NO_DATA)
    assert not any(address.startswith("data:image") for address in _seen(without).addresses)
    assert "--with-images embeds them" in without


def test_the_folder_of_the_data_is_not_told(finished: Run) -> None:
    recipe = finished.recipe
    local = recipe.model_copy(update={"data": recipe.data.model_copy(update={"path": "wards/7"})})
    assert not any("wards" in value for _key, value, _why in settings(local))


def test_rewards_are_told_with_their_share(finished: Run) -> None:
    result = {each["name"]: each for each in rewards(read(finished))}
    assert result["accuracy"]["last"] == pytest.approx(0.375)
    assert sum(each["share"] for each in result.values()) == pytest.approx(1)


def test_an_unfinished_run_and_one_without_evaluation_are_told_as_such(finished: Run) -> None:
    shutil.rmtree(finished.folder / "evals")
    finished.update(status="failed", error="<b>out of memory</b>")
    html = page.render(read(finished), SOURCES, NO_DATA)
    assert "This run is failed: &lt;b&gt;out of memory" in html
    assert "Not evaluated yet" in html
    (finished.folder / "metrics.jsonl").unlink()
    assert "<svg" not in page.render(read(finished), SOURCES, NO_DATA)


def test_curves_are_drawn_the_same_each_time_without_metadata() -> None:
    rows = [{"step": at, "loss": 1 / at, "kl": 0.1, "canary/injection": 0.5} for at in range(1, 30)]
    result = plots.curves(rows)
    assert result.keys() == {"Loss", "KL to the start", "Canaries"}
    assert result == plots.curves(rows)
    assert all("http" not in drawing and "currentColor" in drawing for drawing in result.values())


def test_the_command_writes_page_and_card_and_one_json(finished: Run, tmp_path: Path) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    result = CliRunner().invoke(app, [str(finished.folder), "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["report"] == str(finished.folder / "report.html")
    assert (finished.folder / "report.html").read_text().startswith("<!doctype html>")
    assert (finished.adapter / "README.md").read_text().startswith("---\n")
    with pytest.raises(RunError):
        CliRunner().invoke(app, [str(tmp_path / "none")], catch_exceptions=False)


@contextlib.contextmanager
def _listening() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()


def _chromium(*arguments: str, folder: Path) -> str:
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_real_browser_nothing_is_fetched_and_no_planted_script_runs(finished: Run, tmp_path: Path) -> None:
    with _listening() as (address, asked):
        planted = (
            f"<script>fetch('{address}/a')</script><img src='{address}/b'><link rel=stylesheet href='{address}/c'>"
        )
        rollout = finished.folder / "rollouts.jsonl"
        row = json.loads(rollout.read_text().splitlines()[0])
        rollout.write_text(json.dumps({**row, "completion": planted}) + "\n")
        file = tmp_path / "report.html"
        file.write_text(page.render(read(finished), SOURCES, NO_DATA))
        document = _chromium("--dump-dom", file.as_uri(), folder=tmp_path)
        assert "<title>rarl-nano - lowmed report</title>" in document
        assert asked == []
        # The same words unescaped would be asked for, were it not for the page's own policy: both walls stand alone.
        file.write_text(file.read_text().replace("</body>", planted + "</body>"))
        _chromium("--dump-dom", file.as_uri(), folder=tmp_path)
        assert asked == []
        bare = tmp_path / "bare.html"
        bare.write_text(f"<!doctype html><body>{planted}</body>")
        _chromium("--dump-dom", "--virtual-time-budget=3000", bare.as_uri(), folder=tmp_path)
        assert asked  # so that the silence above means something
    shot = tmp_path / "report.png"
    _chromium(f"--screenshot={shot}", "--window-size=1300,1800", "--hide-scrollbars", file.as_uri(), folder=tmp_path)
    assert shot.stat().st_size > 20_000


def test_a_judges_verdicts_stand_by_themselves_with_its_name_escaped(finished: Run) -> None:
    record = read(finished)
    [(folder, report)] = record.evaluations.items()
    figures = {"accuracy": 0.75, "wilson": (0.5, 0.9), "questions": 20, "no_verdict": 2, "exact": 0.5}
    judged = [{"judge": {"model": "<b>judge</b>"}, "splits": {"test": {"tuned": figures}}}]
    html = page.render(replace(record, evaluations={folder: {**report, "judged": judged}}), SOURCES, NO_DATA)
    assert "judged right by &lt;b&gt;judge&lt;/b&gt;" in html
    assert re.search(r"0\.750 \[0\.500, 0\.900\] of 20, 2 without verdict", html)
