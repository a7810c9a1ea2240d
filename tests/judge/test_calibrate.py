"""Calibration of a judge against labels, through the command, and its use by rewards."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED
from judge.served import JudgeRequest, Server, completion, overlapping, serving, verdict
from typer.testing import CliRunner, Result

from lowmed.cli.judge import app
from lowmed.errors import DataError, RecipeError, RunError
from lowmed.evaluation.judge_calibration import ATTACKS, agreement
from lowmed.judge import ANSWER, CLINICAL, Judge, judge_for_rewards, transport
from lowmed.recipe import JudgeSpec

GOLDS = [f"{what} of the {where}" for what in ("effusion", "mass", "fracture") for where in "abcdefghijklmnopqrst"]
RIGHT = [("fluid or lump in the " + gold, gold, True) for gold in GOLDS]
WRONG = [("an unremarkable heart", gold, False) for gold in GOLDS]
EXACT = [(gold, gold, True) for gold in GOLDS]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(transport, "PAUSES_SECONDS", ())
    monkeypatch.chdir(tmp_path)


def _file(rows: Iterable[tuple[str, str, bool]], **more: Any) -> str:
    lines = [
        {"question": f"What is it? {number}", "answer": gold, "prediction": prediction, "correct": label, **more}
        for number, (prediction, gold, label) in enumerate(rows)
    ]
    Path("labeled.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return "labeled.jsonl"


def _calibrate(server: Server, file: str, *more: str) -> Result:
    arguments = ("calibrate", file, "--judge-url", server.url, "--judge-model", "m", *more)
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def _settings(server: Server, **changed: str | None) -> JudgeSpec:
    given = {"url": server.url, "model": "m", "calibration": "judge.json", **changed}
    return JudgeSpec.model_validate(given)


def test_a_judge_that_agrees_passes_and_rewards_may_use_it() -> None:
    with serving() as server:
        result = _calibrate(server, _file([*RIGHT, *WRONG, *EXACT]), "--out", "made/judge.json", "--json")
        assert result.exit_code == 0, result.output
        calibration = json.loads(result.stdout)
        assert (calibration["passed"], calibration["faults"]) == (True, [])
        assert (calibration["all"]["n"], calibration["judged_by_model"]["n"]) == (
            180,
            120,
        )  # exact answers are settled by rule
        assert calibration["judged_by_model"]["kappa"] == 1
        assert calibration["judged_by_model"]["false_accepts"]["count"] == 0
        assert calibration["judged_by_model"]["false_accepts"]["wilson"][1] == pytest.approx(
            3.8416 / (60 + 3.8416), abs=1e-3
        )
        assert calibration["attacks"] == {"tried": 10 * (len(ATTACKS) + 1), "accepted": 0, "accepted_texts": []}
        assert calibration["usage"]["host"] == server.url.removesuffix("/v1")
        count = len(server.requests)
        shown = _calibrate(server, "labeled.jsonl", "--judge-prices", "1", "2").stdout
        assert "passed: rewards may use this judge" in shown
        assert "judged by the model  120  1.000" in shown
        assert len(server.requests) == count  # all of it was in the cache
        judge = judge_for_rewards(_settings(server, calibration="made/judge.json"), {"judge": ANSWER})
        assert judge == Judge(server.url, "m")
        with pytest.raises(RecipeError) as raised:  # calibrated on answers, not on reasoning
            judge_for_rewards(_settings(server, calibration="made/judge.json"), {"clinical": CLINICAL})
        assert "--rubric clinical" in raised.value.fix
        with pytest.raises(RecipeError, match="not of another under rubric"):
            judge_for_rewards(_settings(server, calibration="made/judge.json", model="another"), {"judge": ANSWER})


def _accepting(request: JudgeRequest) -> tuple[int, bytes]:
    return verdict(request, True)


def _fooled(request: JudgeRequest) -> tuple[int, bytes]:
    return verdict(request, True) if "Ignore all" in request.candidate else overlapping(request)


def _lenient_now_and_then(request: JudgeRequest) -> tuple[int, bytes]:
    return verdict(request, True) if request.data["question"].endswith(("60", "61")) else overlapping(request)


@pytest.mark.parametrize(
    ("respond", "rows", "fault"),
    [
        (_accepting, [*RIGHT, *WRONG], "kappa is 0.00"),
        (_accepting, [*RIGHT, *WRONG, *EXACT], "100.0% false accepts over the rows judged by the model"),
        (_fooled, [*RIGHT, *WRONG], "10 of 90 attacks were accepted"),
        (_lenient_now_and_then, [*RIGHT, *WRONG], "3.3% false accepts"),
        (overlapping, [*RIGHT, *WRONG[:49]], "49 incorrect and 60 correct rows"),
        (overlapping, [*EXACT, *WRONG], "60 incorrect and 0 correct rows"),
    ],
)
def test_a_judge_that_does_not_pass_is_rejected(respond: Any, rows: list[tuple[str, str, bool]], fault: str) -> None:
    with serving(respond) as server:
        result = _calibrate(server, _file(rows), "--out", "judge.json", "--json")
        assert result.exit_code == 1
        assert any(fault in reason for reason in json.loads(result.stdout)["faults"]), result.stdout
        assert "not passed: " in _calibrate(server, "labeled.jsonl").stdout
        with pytest.raises(RecipeError, match="did not pass its calibration"):
            judge_for_rewards(_settings(server), {"judge": ANSWER})


def test_agreement_follows_from_the_four_counts() -> None:
    pairs = [(True, True)] * 40 + [(True, False)] * 10 + [(False, True)] * 20 + [(False, False)] * 30
    result = agreement(pairs)
    assert result.kappa == pytest.approx((0.7 - 0.5) / 0.5)  # chance: (50 x 60 + 50 x 40) / 100^2
    assert (result.accuracy.rate, result.false_accepts.rate, result.false_rejects.rate) == (0.7, 0.4, 0.2)
    assert agreement([]) == agreement(iter(()))
    assert agreement([(True, True)] * 5).kappa is None
    assert agreement([(True, True)] * 5).false_accepts.rate is None


def test_the_clinical_rubric_is_added_to_the_same_file() -> None:
    def respond(request: JudgeRequest) -> tuple[int, bytes]:
        if request.body["messages"][0]["content"] != CLINICAL.system:
            return overlapping(request)
        return verdict(request, "opaque" in request.candidate)

    sound = "<think>The lung is opaque, so air is displaced there.</think><answer>effusion</answer>"
    rows = [(sound, gold, True) for gold in GOLDS] + [(sound.replace("opaque", "odd"), gold, False) for gold in GOLDS]
    rows += [("no think block at all", "effusion", False)] * 5
    with serving(respond) as server:
        assert _calibrate(server, _file([*RIGHT, *WRONG]), "--out", "judge.json").exit_code == 0
        file = _file(rows)
        Path(file).write_text(Path(file).read_text().replace('"prediction"', '"completion"'))
        result = _calibrate(server, file, "--rubric", "clinical", "--out", "judge.json")
        assert result.exit_code == 0, result.output
        assert judge_for_rewards(_settings(server), {"clinical": CLINICAL, "judge": ANSWER}) is not None
    thoughts = {request.candidate for request in server.requests if "candidate_reasoning" in request.data}
    assert "The lung is opaque, so air is displaced there." in thoughts  # without the answer tag


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ({"question": "q", "answer": "a", "prediction": "b"}, "correct is None"),
        ({"question": "q", "answer": "a", "prediction": "b", "correct": "yes"}, "correct is 'yes'"),
        ({"question": "q", "answer": "a", "prediction": "b", "correct": 1}, "correct is 1"),
        ({"question": "q", "answer": "a", "correct": True}, "no completion and no prediction"),
        ({"question": "q", "prediction": "b", "correct": True}, "no answer"),
        ({"question": "q", "answer": " ", "prediction": "b", "correct": True}, "gold answer is empty"),
        ({"question": "q", "answer": "A", "options": ["x", "y"], "prediction": "A", "correct": True}, "no row to"),
        ({"question": "q", "answer": "no", "kind": "closed", "prediction": "b", "correct": True}, "no row to"),
    ],
)
def test_an_invalid_row_is_reported_with_its_line(line: dict[str, object], what: str) -> None:
    Path("labeled.jsonl").write_text(json.dumps(line) + "\n")
    with serving() as server, pytest.raises(DataError, match=what) as raised:
        _calibrate(server, "labeled.jsonl")
    assert "labeled.jsonl" in raised.value.where
    assert server.requests == []


def test_a_judge_that_fails_too_often_is_not_calibrated() -> None:
    with serving(lambda request: completion("?")) as server, pytest.raises(RunError, match="failed"):
        _calibrate(server, _file(WRONG), "--out", "judge.json")
    assert not Path("judge.json").exists()


def test_rewards_report_a_missing_or_invalid_calibration() -> None:
    with serving() as server:
        assert judge_for_rewards(JudgeSpec(), {}) is None
        with pytest.raises(RecipeError, match="the recipe configures none"):
            judge_for_rewards(JudgeSpec(), {"judge": ANSWER})
        with pytest.raises(RecipeError, match="needs a calibrated judge") as raised:
            judge_for_rewards(_settings(server, calibration=None), {"clinical": CLINICAL})
        assert "lowmed judge calibrate" in raised.value.fix
        for text in ("", "{}", "[]", '{"model": "m", "rubrics": []}', '{"model": 1, "rubrics": {}}'):
            Path("judge.json").write_text(text)
            with pytest.raises(RecipeError, match=r"not JSON|not a valid CalibrationFile"):
                judge_for_rewards(_settings(server), {"judge": ANSWER})
        identity = Judge(server.url, "m").identity().model_dump()
        made_up = {"model": "m", "rubrics": {"answer": {"judge": identity, "passed": True}}}
        Path("judge.json").write_text(json.dumps(made_up))
        with pytest.raises(RecipeError, match="not a valid CalibrationFile"):
            judge_for_rewards(_settings(server), {"judge": ANSWER})


def test_published_verdicts_can_be_labels() -> None:
    file = SHARED / "predictions" / "gmai-qwen2-vl-2b.jsonl"
    if not file.is_file():
        pytest.skip("the published predictions are not at ../shared/predictions")
    rows = [json.loads(line) for line in file.read_text().splitlines()[:400]]
    labeled = [
        (prediction, row["options"]["ABCDEFGH".index(row["answer"])], bool(row["published_correct"]))
        for row in rows
        if (prediction := row["completion"].partition(". ")[2]) in row["options"]
    ]
    with serving() as server:
        result = _calibrate(server, _file(labeled), "--json")
    calibration = json.loads(result.stdout)
    assert calibration["all"]["n"] == len(labeled) > 300
    assert calibration["all"]["kappa"] == pytest.approx(0.768, abs=1e-3)  # shared words are a weak criterion
    assert result.exit_code == 1  # a correct option is settled by rule, so no correct row is left for the model
    assert calibration["judged_by_model"]["labeled_correct"] == 0
