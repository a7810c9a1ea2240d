"""The functions of `lowmed.api` return typed results and print nothing."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from evaluation.test_endpoint import _response, _serving

from lowmed.api.compare import compare
from lowmed.api.evaluate import evaluate
from lowmed.api.score import score
from lowmed.errors import RecipeError, RunError
from lowmed.progress import Advance


def test_evaluate_and_compare_return_records_and_report_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[tuple[str, int, int]] = []

    @contextlib.contextmanager
    def progress(label: str, total: int, start: int = 0) -> Iterator[Advance]:
        yield lambda done, note: shown.append((label, total, start + done))

    with _serving(lambda body: _response("<answer>yes</answer>")) as (url, _):
        [report] = evaluate(
            None, endpoint=url, model="m", on="phantom", questions=3, controls=0, out=str(tmp_path / "e"),
            progress=progress,
        )  # fmt: skip
    assert report.systems == ["endpoint"]
    assert report.folder == tmp_path / "e"
    strict = report.splits["test"].results["endpoint"].strict
    assert strict is not None
    assert strict.accuracy in (
        0,
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
        1,
    )
    assert shown[-1] == ("eval endpoint", 6, 6)
    comparison = compare(tmp_path / "e", tmp_path / "e" / "endpoint.jsonl", strict=True)
    assert comparison.grade == "strict"
    overall = comparison.sources["phantom"].all
    assert overall is not None
    assert overall.difference == 0
    assert capsys.readouterr().out == ""


def test_score_returns_a_summary_and_writes_only_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps({"id": "1", "question": "?", "answer": "yes", "completion": "<answer>Yes.</answer>"}))
    assert score(file).accuracy == 1
    assert list(tmp_path.iterdir()) == [file]
    assert score(file, tmp_path / "out") == score(str(file))
    with pytest.raises(RunError, match="exists"):
        score(file, tmp_path / "out")
    assert capsys.readouterr().out == ""


def test_invalid_arguments_are_rejected_before_anything_is_loaded() -> None:
    with pytest.raises(RecipeError, match="must be used together"):
        evaluate("nano", on="phantom", judge_url="http://127.0.0.1:9/v1")
    with pytest.raises(RecipeError, match="nothing to evaluate"):
        evaluate(None, on="phantom")
