"""Verdicts of a judge through `lowmed eval`: stored next to the completions, and in no other figure."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from judge.served import JudgeRequest, Server, overlapping, serving, verdict
from typer.testing import CliRunner, Result

from lowmed.cli.compare import compare as compare_command
from lowmed.cli.evaluate import evaluate as command
from lowmed.errors import RecipeError, RunError, SetupError
from lowmed.evaluation import results_folder
from lowmed.evaluation.compare import compare
from lowmed.evaluation.compare_inputs import load_systems
from lowmed.evaluation.records import EvalSettings, SplitSettings
from lowmed.judge import ANSWER, transport

SPLIT = SplitSettings(questions=8, images=8, images_trained_on=0, stamp="", seen="")
SETTINGS = EvalSettings(
    model="nano", load_in="16bit", endpoint=False, max_image_tokens=256, max_new_tokens=64, prompts="reasoning",
    prompt_digest="0" * 12, source="phantom", data_digest="d" * 64, seen="", splits={"test": SPLIT},
)  # fmt: skip
COMPLETIONS = [  # kind, gold, completion
    ("open", "pleural effusion", "<answer>pleural effusion</answer>"),
    ("open", "pleural effusion", "<answer>effusion in the pleural space</answer>"),
    ("open", "pleural effusion", "an effusion of the pleural cavity"),
    ("open", "pleural effusion", "<answer>pneumonia</answer>"),
    ("open", "no abnormality", "<answer>abnormality</answer>"),
    ("open", "left lung", "<answer>right lung</answer>"),
    ("open", "left lung", "<think>It is the left lung"),
    ("closed", "yes", "<answer>no</answer>"),
]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(transport, "PAUSES_SECONDS", ())
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "e"
    results_folder.open_folder(folder, SETTINGS)
    rows: list[dict[str, Any]] = [
        {
            "id": str(number), "split": "test", "kind": kind, "question": "What is seen?", "options": [],
            "answer": gold, "group": f"g{number}", "images": [], "modality": "", "topic": "",
            "completion": completion, "tokens": 5, "finish_reason": "stop", "prior": None,
        }
        for number, (kind, gold, completion) in enumerate(COMPLETIONS)
    ]  # fmt: skip
    results_folder.append_rows(results_folder.completions_file(folder, "base", "real"), rows)


def _eval(server: Server | None, *more: str, model: str = "m") -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    judge = ("--judge-url", server.url, "--judge-model", model) if server else ()
    arguments = ("nano", "--on", "phantom", "--questions", "1", "--out", "e", "--rescore", *judge, *more)
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def _json(server: Server | None, **more: Any) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(_eval(server, "--json", **more).stdout)
    return result


def test_open_answers_are_judged_once_and_used_by_no_other_metric() -> None:
    before = _json(None)
    assert before["judged"] == []
    with serving() as server:
        result = _json(server)
        [one] = result.pop("judged")
        assert {**result, "judged": []} == before
        assert one["judge"] == {"model": "m", "rubric": "answer", "rubric_digest": ANSWER.digest}
        assert (one["usage"]["requests"], one["usage"]["hosts"]) == (4, [server.url.removesuffix("/v1")])
        figures = one["splits"]["test"]["base"]
        assert (figures["questions"], figures["no_verdict"], figures["by_rule"]) == (7, 0, 3)
        assert figures["accuracy"] == pytest.approx(4 / 7)  # one by rule, two paraphrases, one contradiction
        assert figures["exact_match"] == pytest.approx(1 / 7)
        assert figures["accepted_contradictions"] == 1
        assert _json(server)["judged"] == [one]
        assert _json(None)["judged"] == [one]  # no further request, and the server is not needed
        assert len(server.requests) == 4
        short = _eval(server).stdout
        assert "test, open, judged by m" in short
        shown = _eval(None, "--rescore", "--full").stdout
        assert f"open, n=7, judged by m ({ANSWER.digest})" in shown
        assert "No other metric uses its verdicts." in shown
    rows = results_folder.read_verdicts(Path("e/verdicts.jsonl"))
    assert [row["id"] for row in rows] == ["0", "1", "2", "3", "4", "5", "6"]
    assert rows[1]["text"] == "effusion in the pleural space"


def test_failures_are_retried_and_verdicts_are_kept() -> None:
    def respond(request: JudgeRequest) -> tuple[int, bytes]:
        return (500, b"") if request.candidate == "pneumonia" else overlapping(request)

    with serving(respond) as server:
        with pytest.raises(RunError, match="1 of 4"):
            _eval(server)
        server.respond = lambda request: verdict(request, True)
        count = len(server.requests)
        [one] = _json(server)["judged"]
        assert len(server.requests) == count + 1
        assert one["splits"]["test"]["base"]["no_verdict"] == 0
        assert one["usage"]["requests"] == 5  # including the failed one


def test_judges_are_reported_apart_and_a_changed_completion_loses_its_verdict() -> None:
    with serving() as server:
        _json(server)
        server.respond = lambda request: verdict(request, False)
        result = _json(server, model="other")["judged"]
        assert [one["judge"]["model"] for one in result] == ["m", "other"]
        assert [round(7 * one["splits"]["test"]["base"]["accuracy"]) for one in result] == [4, 1]
        file = results_folder.completions_file(Path("e"), "base", "real")
        file.write_text(file.read_text().replace("pneumonia", "empyema"))
        assert _json(None)["judged"][0]["splits"]["test"]["base"]["no_verdict"] == 1
        count = len(server.requests)
        assert _json(server)["judged"][0]["splits"]["test"]["base"]["no_verdict"] == 0
        assert len(server.requests) == count + 1


def test_a_judge_needs_url_and_name_and_an_invalid_url_is_reported_first() -> None:
    with pytest.raises(RecipeError, match="must be used together"):
        _eval(None, "--judge-url", "http://127.0.0.1:9/v1")
    with pytest.raises(SetupError, match="URL is invalid"):
        _eval(None, "--judge-url", "not-a-url", "--judge-model", "m")


def _improved() -> None:
    """A second evaluation, `f`, with one more correct paraphrase."""
    shutil.copytree("e", "f")
    file = results_folder.completions_file(Path("f"), "base", "real")
    file.write_text(file.read_text().replace("<answer>pneumonia</answer>", "<answer>pleural effusion seen</answer>"))


def test_two_evaluations_are_compared_by_the_same_judge() -> None:
    _improved()
    before = _comparison()
    assert (before["judged"], before["judges_differ"]) == ((), "")
    with serving() as server:
        _eval(server)
        _eval(server, "--out", "f")
    result = _comparison()
    [judged] = result.pop("judged")
    assert {**result, "judged": ()} == before  # no other metric uses verdicts
    assert judged["judge"] == {"model": "m", "rubric": "answer", "rubric_digest": ANSWER.digest}
    assert (judged["questions"], judged["only_first"], judged["only_second"]) == (7, 0, 1)
    assert (judged["first"], judged["second"]) == (pytest.approx(4 / 7), pytest.approx(5 / 7))
    assert (judged["p_mcnemar"], judged["no_verdict"]) == (1, 0)
    shown = _compared()
    assert f"open, judged by m ({ANSWER.digest})" in shown
    assert "by the judge m: no significant difference: +0.143" in shown
    verdicts = Path("f/verdicts.jsonl")
    verdicts.write_text("".join(verdicts.read_text().splitlines(keepends=True)[1:]))
    [judged] = _comparison()["judged"]
    assert (judged["questions"], judged["no_verdict"]) == (6, 1)
    assert "1 open questions without a verdict on one side are left out" in _compared()


def test_verdicts_of_different_judges_are_not_compared() -> None:
    _improved()
    with serving() as server:
        _eval(server)
        assert "B by no judge: scores of different judges are not compared" in _compared()
        _eval(server, "--out", "f", model="other")
        result = _comparison()
        assert result["judged"] == ()
        assert "A was judged by m (rubric " in result["judges_differ"]
        assert "B by other (rubric " in _compared()
        _eval(server, "--out", "f")  # the same one too
    [judged] = _comparison()["judged"]
    assert judged["judge"]["model"] == "m"


def test_another_rubric_counts_as_another_judge() -> None:
    _improved()
    with serving() as server:
        _eval(server)
        _eval(server, "--out", "f")
    verdicts = Path("f/verdicts.jsonl")
    verdicts.write_text(verdicts.read_text().replace(ANSWER.digest, "0" * len(ANSWER.digest)))
    result = _comparison()
    assert result["judged"] == ()
    assert "scores of different judges are not compared" in result["judges_differ"]


def _comparison() -> dict[str, Any]:
    sources = compare(load_systems(Path("e")), load_systems(Path("f"))).sources
    return sources["phantom"].model_dump()


def _compared() -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(compare_command)
    return " ".join(CliRunner().invoke(app, ["e", "f", "--full"], catch_exceptions=False).stdout.split())
