"""Written reports in `lowmed eval`, `score` and `compare`: similarity with baselines, and no accuracy."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lowmed.cli import app
from lowmed.data.answer_prior import AnswerPrior, central_report
from lowmed.data.dataset import DataSet
from lowmed.data.split import split_data, training_questions_only
from lowmed.errors import DataError
from lowmed.evaluation.compare import compare
from lowmed.evaluation.compare_inputs import ComparedRun
from lowmed.evaluation.control_effects import control_effect, verdict
from lowmed.evaluation.dev import figures
from lowmed.evaluation.metrics import metrics, scored
from lowmed.evaluation.report import no_image_floor
from lowmed.evaluation.report_metrics import exchanged_reports, report_metrics
from lowmed.evaluation.score_summary import summarize
from lowmed.nano import phantom_report
from lowmed.report.report_rows import NOT_APPLICABLE, report_rows
from lowmed.sample import Sample

SAMPLES = phantom_report.samples("test", 60)
PRIOR = AnswerPrior(phantom_report.samples("train", 200))


def row(sample: Sample, text: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": sample.id,
        "split": "test",
        "kind": sample.kind,
        "question": sample.question,
        "answer": sample.answer,
        "options": [],
        "group": sample.group,
        "modality": sample.modality,
        "completion": f"<answer>{text}</answer>",
        "finish_reason": "stop",
        "tokens": 9,
        "prior": PRIOR.answer(sample),
        **changes,
    }


PERFECT = scored(row(sample, sample.answer) for sample in SAMPLES)
CONSTANT = scored(row(sample, PRIOR.answer(sample)) for sample in SAMPLES)
SILENT = scored(row(sample, "") for sample in SAMPLES)
CLOSED = {
    "id": "c", "split": "test", "kind": "closed", "question": "Is there a lesion?", "answer": "yes", "options": [],
    "group": "c", "modality": "CT", "completion": "<answer>yes</answer>", "finish_reason": "stop", "tokens": 3,
    "prior": "yes",
}  # fmt: skip


def test_a_perfect_system_reaches_1_and_the_baselines_stay() -> None:
    perfect, constant, silent = (report_metrics(rows) for rows in (PERFECT, CONSTANT, SILENT))
    assert perfect and constant and silent
    for name in ("rouge_l", "google_bleu", "f1", "precision", "recall"):
        assert getattr(perfect.written, name).value == 1.0
        assert getattr(silent.written, name).value == 0.0
        assert constant.constant and getattr(constant.written, name) == getattr(constant.constant, name)
        assert perfect.constant and perfect.exchanged
        for baseline in (perfect.constant, perfect.exchanged):
            assert 0 < getattr(baseline, name).value < 0.9
    assert perfect.written.words == perfect.reference_words
    assert silent.written.words == 0


def test_another_patients_report_does_not_depend_on_the_order_of_the_rows() -> None:
    forward = dict(zip((one["id"] for one in PERFECT), exchanged_reports(PERFECT), strict=True))
    backward = dict(zip((one["id"] for one in PERFECT[::-1]), exchanged_reports(PERFECT[::-1]), strict=True))
    assert forward == backward
    same_patient = [row(sample, "", group="one patient") for sample in SAMPLES]
    assert exchanged_reports(same_patient) == [None] * 60
    by_modality = {sample.id: sample.modality for sample in SAMPLES}
    assert all(f" {by_modality[name]} " in str(text) for name, text in forward.items())


def test_accuracy_does_not_apply_to_reports() -> None:
    result = metrics(SILENT)
    assert (result.strict, result.lenient, result.by_kind, result.by_modality) == (None, None, {}, {})
    assert result.unread == 1.0
    assert no_image_floor(PERFECT) is None
    mixed = metrics([*SILENT, *scored([CLOSED])])
    assert mixed.lenient is not None
    assert mixed.lenient.accuracy == 1.0
    assert set(mixed.by_kind) == {"closed"}
    assert mixed.reports is not None
    assert mixed.reports.reports == 60


def test_a_truncated_report_in_an_open_tag_is_an_empty_one() -> None:
    [cut] = scored([row(SAMPLES[0], "", completion=f"<answer>{SAMPLES[0].answer}", finish_reason="length")])
    assert cut["outcome"] == "unread"
    assert (cut["report"]["rouge_l"], cut["report"]["words"]) == (0.0, 0)


def test_the_constant_is_the_training_report_that_is_most_similar_to_the_others() -> None:
    reports = ["no lesion in the lung", "one lesion in the lung", "two lesions in the heart", "one lesion in the lung"]
    assert central_report(reports) == "one lesion in the lung" == central_report(reports[::-1])
    assert central_report([]) == ""
    assert PRIOR.answer(SAMPLES[0]) in {sample.answer for sample in phantom_report.samples("train", 200)}


def test_reports_are_compared_by_their_figures() -> None:
    sides = [{"data": ComparedRun("x", None, None, tuple(rows))} for rows in (CONSTANT, PERFECT)]
    source = compare(sides[0], sides[1]).sources["data"]
    assert source.all is None
    assert source.reports is not None
    change = source.reports["f1"]
    assert change.difference == pytest.approx(1 - change.first)
    assert 0 < change.by_image[0] < change.difference < change.by_image[1]
    assert change.p_by_image < 1e-6
    assert source.p_holm == change.p_by_image
    assert source.reports_by_split == {}
    halves = [
        {"data": ComparedRun("x", None, None, tuple({**one, "split": str(at % 2)} for at, one in enumerate(rows)))}
        for rows in (CONSTANT, PERFECT)
    ]
    by_split = compare(halves[0], halves[1]).sources["data"].reports_by_split
    assert {split: changes["f1"].questions for split, changes in by_split.items()} == {"0": 30, "1": 30}
    equal = compare(sides[1], sides[1]).sources["data"].reports
    assert equal is not None
    assert (equal["f1"].difference, equal["f1"].p_by_image) == (0, 1)


def test_a_control_shows_whether_reports_depend_on_the_image() -> None:
    exchanged = [
        row(sample, str(text), prior=None) for sample, text in zip(SAMPLES, exchanged_reports(PERFECT), strict=True)
    ]
    effect = control_effect(PERFECT, scored(exchanged))
    assert effect.lenient is None
    assert verdict(effect).startswith("the image is used: another image costs +0.")
    assert verdict(control_effect(CONSTANT, CONSTANT)).startswith("NO EVIDENCE THAT THE IMAGE IS USED")


def test_dev_questions_count_by_rouge_l() -> None:
    assert figures(PERFECT)["accuracy"] == 1.0
    assert 0 < figures(CONSTANT)["accuracy"] < 1


def test_rows_of_a_table_have_the_baselines_below_each_figure() -> None:
    rows = dict(report_rows([report_metrics(PERFECT)]))
    assert rows["ROUGE-L"][0].startswith("1.000 [")
    labels = [label for label, _ in report_rows([report_metrics(PERFECT), None])]
    assert labels[:3] == ["ROUGE-L", "  same report for all", "  another patient's"]
    assert report_rows([None]) == []


def test_score_takes_files_with_reports(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({**one, "fields": None}) + "\n" for one in CONSTANT))
    result = CliRunner().invoke(app, ["score", str(file)])
    assert result.exit_code == 0, result.output
    assert f"Accuracy {NOT_APPLICABLE}." in result.output
    assert "another patient's" in result.output
    summary = summarize(CONSTANT)
    assert (summary.accuracy, summary.chance, summary.most_frequent_gold) == (None, None, None)
    assert summary.by_kind["report"].reports is not None


def test_a_probe_of_reports_is_refused() -> None:
    dataset = DataSet("r", {"train": tuple(SAMPLES)}, (), lambda _: None)  # type: ignore[arg-type, return-value]
    from lowmed.recipe import DataSpec

    split = split_data(dataset, DataSpec(source="folder", split_by="image"), 0)
    with pytest.raises(DataError, match="neither right nor wrong"):
        training_questions_only(split, 10)
