"""The report page: complete, self-contained, and safe against any text of a model or a data set."""

import contextlib
import http.server
import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
from playwright.sync_api import Browser
from predictors import constant, division, evaluated
from typer.testing import CliRunner

from lowmed.cli.report import report as command
from lowmed.errors import RunError
from lowmed.evaluation.records import Cell, ConditionalShare, JudgeCost, JudgedAccuracy, JudgeScores, ReasoningCells
from lowmed.judge.records import JudgeIdentity
from lowmed.nano import phantom
from lowmed.recipe.io import load_recipe
from lowmed.report import card, charts, page
from lowmed.report.run_report import read, rewards, settings
from lowmed.report.templates import SCRIPT
from lowmed.run import Run

SOURCES = {"phantom": phantom.open_image}
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


def test_the_page_shows_training_settings_and_results(finished: Run) -> None:
    html = page.render(read(finished), SOURCES, NO_DATA)
    for words in (
        *("nano", "GRPO", "lora.rank", "third-party note on RARL", "answer-prior baseline", "12 s", "1.50 GiB"),
        *(
            "torch 2.14.1",
            "Reward",
            "Entropy",
            "Completion length",
            "zero_spread_groups",
            "rewards/reasoning",
            "gained",
        ),
        *("not for clinical use", "kind: choice", "laterality errors", "accuracy", "share of the weighted sum"),
    ):
        assert words in html, words
    assert html.count('<article class="case ') >= 3
    assert "<think>" not in html
    assert "&lt;think&gt;" not in re.sub(r"<details><summary>Rollouts.*?</details>", "", html, flags=re.DOTALL)


def test_the_page_fetches_nothing_and_runs_its_own_script_alone(finished: Run) -> None:
    html = page.render(read(finished), SOURCES, NO_DATA)
    seen = _seen(html)
    assert "&lt;script&gt;document.title" in html
    assert seen.tags.count("script") == html.count(f"<script>{SCRIPT}</script>") == 1
    assert not {"iframe", "object", "embed", "link", "form", "base"} & set(seen.tags)
    assert seen.handlers == []
    assert all(address.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for address in seen.addresses)
    assert not re.search(r"url\((?!#)|@import", html)
    assert "default-src 'none'" in html


def test_images_are_embedded_only_on_request(finished: Run) -> None:
    assert any(
        address.startswith("data:image") for address in _seen(page.render(read(finished), SOURCES, NO_DATA)).addresses
    )
    without = page.render(read(finished), {}, NO_DATA)
    assert not any(address.startswith("data:image") for address in _seen(without).addresses)
    assert "--with-images embeds them" in without


def test_the_path_of_the_data_is_not_shown(finished: Run) -> None:
    recipe = finished.recipe
    local = recipe.model_copy(update={"data": recipe.data.model_copy(update={"path": "wards/7"})})
    assert not any("wards" in value for _key, value, _why in settings(local))


def test_rewards_are_shown_with_their_share(finished: Run) -> None:
    result = {reward.name: reward for reward in rewards(read(finished))}
    assert result["accuracy"].last == pytest.approx(0.375)
    assert sum(reward.share for reward in result.values()) == pytest.approx(1)


def test_an_unfinished_or_unevaluated_run_is_shown_as_such(finished: Run) -> None:
    shutil.rmtree(finished.folder / "evals")
    finished.update(status="failed", error="<b>out of memory</b>")
    html = page.render(read(finished), SOURCES, NO_DATA)
    assert "This run is failed: &lt;b&gt;out of memory" in html
    assert "Not evaluated yet" in html
    (finished.folder / "metrics.jsonl").unlink()
    assert "<svg" not in page.render(read(finished), SOURCES, NO_DATA)


def test_every_recorded_metric_is_in_one_chart() -> None:
    rows = [{"step": at, "loss": 1 / at, "kl": 0.1, "canary/injection": 0.5} for at in range(1, 30)]
    result = charts.training_charts(rows)
    assert [chart.title for chart in result] == ["Loss", "KL to the initial policy", "Canaries"]
    assert [line.name for chart in result for line in chart.lines] == ["loss", "kl", "canary/injection"]


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
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()


def test_in_a_real_browser_nothing_is_fetched_and_no_planted_script_runs(
    finished: Run, tmp_path: Path, browser: Browser
) -> None:
    with _listening() as (address, requests):
        planted = (
            f"<script>fetch('{address}/a')</script><img src='{address}/b'><link rel=stylesheet href='{address}/c'>"
        )
        rollout = finished.folder / "rollouts.jsonl"
        row = json.loads(rollout.read_text().splitlines()[0])
        rollout.write_text(json.dumps({**row, "completion": planted}) + "\n")
        file = tmp_path / "report.html"
        file.write_text(page.render(read(finished), SOURCES, NO_DATA))
        tab = browser.new_page()
        tab.goto(file.as_uri(), wait_until="networkidle")
        assert tab.title() == "rarl-nano - lowmed report"
        assert requests == []
        # Even unescaped the text fetches nothing, because the page's policy forbids it: each protection works alone.
        file.write_text(file.read_text().replace("</body>", planted + "</body>"))
        tab.goto(file.as_uri(), wait_until="networkidle")
        assert requests == []
        bare = tmp_path / "bare.html"
        bare.write_text(f"<!doctype html><body>{planted}</body>")
        tab.goto(bare.as_uri(), wait_until="networkidle")
        assert requests  # proves that the server records a fetch
        tab.close()


def test_judge_scores_are_shown_apart_with_the_name_escaped(finished: Run) -> None:
    content = read(finished)
    [(folder, report)] = content.evaluations.items()
    judged = JudgedAccuracy(
        questions=20, no_verdict=2, by_rule=0, accuracy=0.75, wilson=(0.5, 0.9), by_image=(0.5, 0.9), exact_match=0.5,
        accepted_contradictions=0,
    )  # fmt: skip
    scores = JudgeScores(
        judge=JudgeIdentity(model="<b>judge</b>", rubric="answer", rubric_digest="0" * 12),
        usage=JudgeCost(hosts=(), requests=0, malformed=0, prompt_tokens=0, completion_tokens=0, cost=0),
        splits={"test": {"tuned": judged}},
    )
    with_judge = report.model_copy(update={"judged": (scores,)})
    html = page.render(replace(content, evaluations={folder: with_judge}), SOURCES, NO_DATA)
    assert "open questions accepted by &lt;b&gt;judge&lt;/b&gt;" in html
    assert re.search(r"0\.750 \[0\.500, 0\.900\] of 20, 2 without a verdict", html)


def test_strata_and_reasoning_are_on_the_page_with_texts_escaped(finished: Run) -> None:
    content = read(finished)
    [(folder, report)] = content.evaluations.items()
    cell = Cell(questions=7, images=7, strict=0.4, lenient=0.4, by_image=(0.1, 0.8), few=True)
    cells = ReasoningCells(
        both_right=41, only_reasoning_right=13, only_answer_right=5, both_wrong=6, unread_answer_right=7,
        unread_answer_wrong=8,
        answer_right_if_reasoning_right=ConditionalShare(n=54, share=0.76, by_image=(0.62, 0.86)),
        reasoning_right_if_answer_right=None,
    )  # fmt: skip
    part = report.splits["test"]
    results = {
        system: metrics.model_copy(update={"by_strata": {"<b>site</b>": {"A&E": cell}}, "reasoning": cells})
        for system, metrics in part.results.items()
    }
    changed = report.model_copy(update={"splits": {"test": part.model_copy(update={"results": results})}})
    html = page.render(replace(content, evaluations={folder: changed}), SOURCES, NO_DATA)
    assert "&lt;b&gt;site&lt;/b&gt;: A&amp;E, n=7 (few)" in html
    assert "TOO FEW DATA for a stable figure: &lt;b&gt;site&lt;/b&gt; A&amp;E" in html
    assert re.search(r"reasoning right: answer right, wrong</td><td>41, 13</td>", html)
    assert "0.760 [0.620, 0.860]" in html


def test_the_evaluations_during_training_are_drawn_and_summarized(finished: Run) -> None:
    assert "Dev accuracy" not in page.render(read(finished), SOURCES, NO_DATA)
    for step, accuracy in ((0, 0.5), (1, 0.75), (2, 0.625)):
        line = {"step": step, "accuracy": accuracy, "low": 0.3, "high": 0.9, "unread": 0.1, "truncated": 0.0}
        finished.append("dev.jsonl", [{**line, "tokens": 20.0, "questions": 8, "questions_digest": "a"}])
    html = page.render(read(finished), SOURCES, NO_DATA)
    assert "Dev accuracy with 95 % interval" in html
    assert "the adapter is that of step 1: dev accuracy 0.750, the highest of 2 evaluations" in html
    assert "before training 0.500" in html
    assert "Dev reward" not in html  # no reward was computed


def test_the_model_card_names_the_step_of_the_adapter(finished: Run) -> None:
    assert "dev questions" not in card.render(read(finished))
    recipe = load_recipe("rarl", ["data.dev=0.1"], nano=True)
    finished.update(adapter_step=1)
    chosen = card.render(replace(read(finished), recipe=recipe))
    assert "the adapter of step 1, chosen by its accuracy on dev questions" in chosen


def test_figures_of_tests_and_classes_are_on_the_page_with_options_escaped(finished: Run) -> None:
    choices = [
        replace(sample, kind="choice", options=("<b>no</b>", "yes"), answer="yes")
        for sample in phantom.samples("test", 60)
        if sample.topic in ("presence", "side")
    ]
    other = finished.folder / "evals" / "other"
    evaluated(other, division(choices), constant("<answer>B</answer>"), controls=0, system="tuned")
    lines = [
        {"split": "test", "id": sample.id, "options": ["<b>no</b>", "yes"], "log_probs": [-1.0, -0.1]}
        for sample in choices
    ]
    (other / "probabilities.tuned.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    html = page.render(read(finished), SOURCES, NO_DATA)
    assert "yes/no as a test for yes, n=" in html
    assert "sensitivity, tuned - base" in html
    assert "2 classes: &lt;b&gt;no&lt;/b&gt;, yes, n=" in html
    assert "<th>&lt;b&gt;no&lt;/b&gt;</th>" in html
    assert "reliability, choices: probability of the most probable option" in html
    assert "<b>no</b>" not in html
