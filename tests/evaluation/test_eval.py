"""Predictors with known metrics through a full evaluation: completions are stored, read back, scored, controlled."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from predictors import Look, constant, division, evaluated, guessing, perfect, question_only, sighted

from lowmed.errors import RunError
from lowmed.evaluation import results_folder, runner
from lowmed.evaluation.controls import CONTROLS
from lowmed.evaluation.records import EvalReport
from lowmed.evaluation.report import report
from lowmed.nano import phantom
from lowmed.records import read_record
from lowmed.report import eval_table
from lowmed.report.generalization_table import show_generalization
from lowmed.sample import Sample

TEST = phantom.samples("test", 240)
TRAIN = phantom.samples("train", 300)


def _test(result: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = result["splits"]["test"]["results"]["base"]
    return part


def test_a_perfect_predictor_is_correct_everywhere_and_shows_no_use_of_the_image(tmp_path: Path) -> None:
    result = evaluated(tmp_path / "e", division(TEST), perfect)
    for name in ("strict", "lenient"):
        assert _test(result)[name]["accuracy"] == 1
    assert {name: result["controls"]["base"][name]["lenient"]["accuracy"] for name in CONTROLS} == dict.fromkeys(
        CONTROLS, 1
    )
    shuffled = result["controls"]["base"]["shuffled"]["lenient"]
    assert shuffled["effect"] == 0
    assert shuffled["effect_by_image"][0] == -shuffled["effect_by_image"][1] < 0
    assert shuffled["p_by_image"] == 1
    assert result["controls"]["base"]["verdict"].startswith("NO EVIDENCE")


@pytest.mark.parametrize("text", ["", "I cannot determine.", "<answer></answer>"])
def test_an_empty_predictor_is_unread_everywhere(tmp_path: Path, text: str) -> None:
    result = evaluated(tmp_path / "e", division(TEST), constant(text))
    assert (_test(result)["lenient"]["accuracy"], _test(result)["unread"]) == (0, 1)
    assert all(result["controls"]["base"][name]["unread"] == 1 for name in CONTROLS)


def test_always_yes_gets_the_share_of_yes_and_no_control_changes_it(tmp_path: Path) -> None:
    result = evaluated(tmp_path / "e", division(TEST), constant("<answer>yes</answer>"))
    yes = sum(sample.answer == "yes" for sample in TEST)
    assert _test(result)["strict"]["accuracy"] == pytest.approx(yes / len(TEST))
    assert _test(result)["by_answer_type"]["yes/no"]["lenient"] == pytest.approx(
        yes / sum(sample.topic == "presence" for sample in TEST)
    )
    for name in ("blind", "grey", "shuffled"):
        assert result["controls"]["base"][name]["lenient"]["effect"] == 0
        assert result["controls"]["base"][name]["changed"] == 0


def test_always_a_gets_the_share_of_a_and_loses_it_when_options_are_reordered(tmp_path: Path) -> None:
    result = evaluated(tmp_path / "e", division(TEST), constant("<answer>A</answer>"))
    choices = [sample for sample in TEST if sample.kind == "choice"]
    first = sum(sample.letter == "A" for sample in choices) / len(choices)
    assert _test(result)["by_kind"]["choice"]["lenient"] == pytest.approx(first)
    options = result["controls"]["base"]["options"]
    assert (options["questions"], options["lenient"]["real"]) == (len(choices), pytest.approx(first))
    # No option keeps its position, so everything correct under A is incorrect now.
    was = {sample.id for sample in choices if sample.letter == "A"}
    now = results_folder.read_rows(results_folder.completions_file(tmp_path / "e", "base", "options"))
    assert not any(row["id"] in was and row["options"][0] == row["answer"] for row in now)


def test_a_guesser_gets_chance(tmp_path: Path) -> None:
    result = evaluated(tmp_path / "e", division(TEST), guessing(1))
    low, high = _test(result)["by_kind"]["choice"]["by_image"]
    assert low < 1 / 3 < high


def test_a_question_only_predictor_stays_at_its_baseline_and_is_exposed(tmp_path: Path) -> None:
    result = evaluated(tmp_path / "e", division(TEST, TRAIN), question_only)
    habits = sum(sample.answer == phantom.HABITS[sample.topic] for sample in TEST) / len(TEST)
    assert _test(result)["lenient"]["accuracy"] == pytest.approx(habits)
    assert result["splits"]["test"]["no_image_floor"] == pytest.approx(habits, abs=0.06)
    controls = result["controls"]["base"]
    assert [controls[name]["lenient"]["effect"] for name in ("blind", "grey", "shuffled")] == [0, 0, 0]
    assert controls["options"]["lenient"]["effect"] == 0
    # It always answers left and upper left: correct for an image means incorrect for its mirror image.
    flipped = controls["flipped"]["lenient"]
    assert flipped["accuracy"] <= 1 - flipped["real"]
    assert controls["verdict"].startswith("NO EVIDENCE")


def test_a_predictor_that_uses_the_image_is_recognized(tmp_path: Path) -> None:
    result = evaluated(tmp_path / "e", division(TEST), sighted(TEST))
    controls = result["controls"]["base"]
    assert _test(result)["lenient"]["accuracy"] == 1
    assert [controls[name]["lenient"]["accuracy"] for name in ("blind", "grey", "options", "flipped")] == [0, 0, 1, 1]
    assert controls["flipped"]["questions"] == sum(sample.topic in ("side", "location") for sample in TEST)
    assert controls["shuffled"]["lenient"]["effect_by_image"][0] > 0.7
    assert controls["verdict"].startswith("the image is used")


def test_cells_and_macro_means_are_those_of_their_questions(tmp_path: Path) -> None:
    result = _test(evaluated(tmp_path / "e", division(TEST), question_only))
    count = Counter(sample.modality for sample in TEST)
    assert {name: cell["questions"] for name, cell in result["by_modality"].items()} == dict(count)
    cells = [cell["lenient"] for cell in result["by_modality"].values()]
    assert result["macro_modality"]["lenient"] == pytest.approx(sum(cells) / len(cells))
    few = evaluated(tmp_path / "few", division(TEST[:40]), perfect)
    assert all(
        cell["few"] == (cell["questions"] < 30 or cell["images"] < 10) for cell in _test(few)["by_topic"].values()
    )


def test_a_resumed_evaluation_generates_only_missing_completions(tmp_path: Path) -> None:
    uninterrupted = evaluated(tmp_path / "e", division(TEST), question_only, samples=2)
    for name in ("base.jsonl", "base.shuffled.jsonl", "base.sampled.jsonl"):
        file = tmp_path / "e" / name
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:50]) + '{"id": "cut of')
    predicted: list[str] = []

    def recording(sample: Any, look: Any) -> str:
        predicted.append(sample.id)
        return question_only(sample, look)

    assert evaluated(tmp_path / "e", division(TEST), recording, samples=2) == uninterrupted
    assert len(predicted) == 190 + (uninterrupted["controls"]["base"]["shuffled"]["questions"] - 50) + (480 - 50)


def test_stored_completions_are_scored_without_a_model(tmp_path: Path) -> None:
    before = evaluated(tmp_path / "e", division(TEST, TRAIN), question_only)
    assert report(tmp_path / "e").model_dump(exclude_unset=True) == before

    def never() -> Any:
        raise AssertionError("the model was loaded")

    work = runner.list_conditions(division(TEST, TRAIN), controls=1000)
    runner.run_conditions(tmp_path / "e", "base", work, never, train=TRAIN, advance=lambda done, note: None)


def test_missing_completions_are_an_error(tmp_path: Path) -> None:
    evaluated(tmp_path / "e", division(TEST), perfect, controls=0)
    file = tmp_path / "e" / "base.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(RunError, match="239 of 240"):
        report(tmp_path / "e")


def test_a_damaged_line_is_reported_with_its_place(tmp_path: Path) -> None:
    evaluated(tmp_path / "e", division(TEST), perfect, controls=0)
    file = tmp_path / "e" / "base.jsonl"
    file.write_text("{\n" + file.read_text())
    with pytest.raises(RunError) as raised:
        report(tmp_path / "e")
    assert raised.value.where == f"{file}:1"


def test_other_questions_are_not_mixed_into_a_directory(tmp_path: Path) -> None:
    evaluated(tmp_path / "e", division(TEST), perfect, controls=10)
    with pytest.raises(RunError, match="splits"):
        evaluated(tmp_path / "e", division(TEST[:10]), perfect, controls=10)


def test_more_controls_are_added_to_the_stored_ones(tmp_path: Path) -> None:
    first = evaluated(tmp_path / "e", division(TEST), question_only, controls=40)
    assert first["controls"]["base"]["shuffled"]["questions"] == 40
    more = evaluated(tmp_path / "e", division(TEST), question_only, controls=80)
    assert more == evaluated(tmp_path / "new", division(TEST), question_only, controls=80)


def test_the_title_names_a_split_that_shares_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = frozenset(TEST[0].images)
    evaluated(tmp_path / "e", division(TEST, shared=shared), perfect, samples=2)
    content = report(tmp_path / "e")
    eval_table.show_eval(content)
    shown = capsys.readouterr().out
    assert "SHARES IMAGES WITH TRAINING (test)" in shown.splitlines()[0]
    for words in ("1.000 [", "answer-prior baseline", "visual reliance", "Pass@2", "not for clinical use"):
        assert words in shown
    show_generalization([content, content])
    assert "micro" in capsys.readouterr().out


def test_the_report_can_be_read_back_and_names_no_local_path(tmp_path: Path) -> None:
    evaluated(tmp_path / "e", division(TEST), constant("\ud800 <b>[/bold]"), samples=2)
    content = report(tmp_path / "e")
    content.write(tmp_path / "e" / "report.json")
    assert read_record(tmp_path / "e" / "report.json", EvalReport) == content.model_copy(update={"folder": None})
    document = json.loads((tmp_path / "e" / "report.json").read_text())
    assert document["splits"]["test"]["results"]["base"]["questions"] == len(TEST)
    assert str(tmp_path) not in json.dumps(document)


def test_every_completion_records_its_prompt_digest(tmp_path: Path) -> None:
    evaluated(tmp_path / "e", division(TEST[:20]), perfect)
    settings = results_folder.read_settings(tmp_path / "e")
    for file in (tmp_path / "e").glob("base*.jsonl"):
        assert {row["prompt_digest"] for row in results_folder.read_rows(file)} == {settings.prompt_digest}


def test_strata_of_the_data_are_shown_with_intervals_and_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [
        replace(sample, strata=(("<b>site</b>", "A" if at < 200 else "B"), ("sex", "fm"[at % 2])))
        for at, sample in enumerate(TEST)
    ]
    samples[0] = replace(samples[0], strata=(("sex", "f"),))
    result = _test(evaluated(tmp_path / "e", division(samples), question_only))
    site, sex = result["by_strata"]["<b>site</b>"], result["by_strata"]["sex"]
    assert {name: cell["questions"] for name, cell in site.items()} == {"A": 199, "B": 40}
    assert sum(cell["questions"] for cell in sex.values()) == len(TEST)
    right = sum(sample.answer == phantom.HABITS[sample.topic] for sample in TEST[1::2])
    assert sex["m"]["lenient"] == pytest.approx(right / 120)
    assert sex["m"]["by_image"][0] < right / 120 < sex["m"]["by_image"][1]
    eval_table.show_eval(report(tmp_path / "e"))
    shown = capsys.readouterr().out
    assert "sex m, n=120" in shown
    assert "<b>site</b> B, n=40" in shown
    assert "TOO FEW" not in shown
    evaluated(tmp_path / "few", division(samples[:230]), question_only)
    eval_table.show_eval(report(tmp_path / "few"))
    assert "TOO FEW DATA" not in capsys.readouterr().out
    evaluated(tmp_path / "fewer", division(samples[:220]), question_only)
    eval_table.show_eval(report(tmp_path / "fewer"))
    assert "TOO FEW DATA for a stable figure: <b>site</b> B (under 30" in capsys.readouterr().out


def test_data_without_strata_store_no_field_for_them(tmp_path: Path) -> None:
    result = _test(evaluated(tmp_path / "e", division(TEST[:40]), perfect))
    rows = results_folder.read_rows(tmp_path / "e" / "base.jsonl")
    assert all("strata" not in row for row in rows)
    assert result["by_strata"] == {}


def test_all_right_has_an_interval_with_a_width(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = _test(evaluated(tmp_path / "e", division(TEST), perfect))
    assert result["lenient"]["by_image"] == (pytest.approx(0.025 ** (1 / 240), abs=1e-6), 1)
    eval_table.show_eval(report(tmp_path / "e"))
    assert "[1.000, 1.000]" not in capsys.readouterr().out


def test_reasoning_is_counted_by_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def predict(sample: Sample, _look: Look) -> str:
        if sample.kind != "choice":
            return "<answer>yes</answer>"
        thought = f"One sees it well. So it is {sample.answer}."
        return f"<think>{thought}</think><answer>{'A' if sample.topic == 'modality' else sample.letter}</answer>"

    choices = [sample for sample in TEST if sample.kind == "choice"]
    wrong = sum(sample.topic == "modality" and sample.letter != "A" for sample in choices)
    cells = _test(evaluated(tmp_path / "e", division(TEST), predict))["reasoning"]
    assert (cells["both_right"], cells["only_reasoning_right"]) == (len(choices) - wrong, wrong)
    assert (cells["only_answer_right"], cells["both_wrong"]) == (0, 0)
    assert cells["unread_answer_right"] + cells["unread_answer_wrong"] == len(TEST) - len(choices)
    share = cells["answer_right_if_reasoning_right"]
    assert share["share"] == pytest.approx(1 - wrong / len(choices))
    eval_table.show_eval(report(tmp_path / "e"))
    shown = " ".join(capsys.readouterr().out.split())
    assert f"reasoning right: answer right, wrong {len(choices) - wrong}, {wrong}" in shown
