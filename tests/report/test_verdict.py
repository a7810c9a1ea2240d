"""The sentences at the head of a report: what rose, and the problems."""

from dataclasses import replace
from pathlib import Path

import pytest
from predictors import constant, division, evaluated, perfect, question_only, sighted

from lowmed.evaluation.records import EvalReport
from lowmed.evaluation.report import report
from lowmed.nano import phantom
from lowmed.report.console import percent
from lowmed.report.run_report import read
from lowmed.report.verdict import Verdict, evaluations_verdict, run_verdict
from lowmed.run import Run

TEST = phantom.samples("test", 200)
CLEAN: dict[str, list[str]] = {"leaks": []}


def _evaluated(folder: Path, base: object, tuned: object, controls: int = 40) -> EvalReport:
    data = division(TEST, phantom.samples("train", 60))
    evaluated(folder, data, base, controls=0, system="base")  # type: ignore[arg-type]
    evaluated(folder, data, tuned, controls=controls, system="tuned")  # type: ignore[arg-type]
    return report(folder)


def _seen(result: EvalReport, seen: dict[str, str]) -> EvalReport:
    splits = {name: part.model_copy(update={"seen": seen[name]}) for name, part in result.splits.items()}
    return result.model_copy(update={"splits": splits})


def _text(verdict: Verdict) -> tuple[str, str]:
    return "\n".join(verdict.findings), "\n".join(verdict.problems)


def test_a_gain_from_the_image_has_findings_and_no_problem(tmp_path: Path) -> None:
    result = _evaluated(tmp_path / "e", question_only, sighted(TEST))
    findings, problems = _text(evaluations_verdict([result]))
    change = result.splits["test"].accuracy_change
    assert change is not None
    assert f"rose from {percent(change.first)} to 100 % (+{100 * change.difference:.1f} points" in findings
    assert "The model uses the image: with another image, accuracy is " in findings
    assert problems == ""


def test_a_model_without_eyes_is_a_problem(tmp_path: Path) -> None:
    findings, problems = _text(evaluations_verdict([_evaluated(tmp_path / "e", constant("nothing"), question_only)]))
    assert "rose" in findings
    assert "Nothing shows that the model uses the image" in problems
    assert "does not clearly exceed" in problems  # the answers of the prior are all that it has


def test_a_loss_and_no_change_are_problems(tmp_path: Path) -> None:
    _, problems = _text(evaluations_verdict([_evaluated(tmp_path / "worse", perfect, question_only)]))
    assert "FELL from 100 %" in problems
    same = _seen(_evaluated(tmp_path / "same", question_only, question_only), {"test": "seen in training"})
    _, problems = _text(evaluations_verdict([same]))
    assert "Accuracy on 200 held-out questions did not change significantly" in problems


def test_unread_completions_are_a_problem(tmp_path: Path) -> None:
    def silent(sample: object, look: object) -> str:
        return perfect(sample, look) if sample in TEST[:150] else ""  # type: ignore[arg-type]

    _, problems = _text(evaluations_verdict([_evaluated(tmp_path / "e", question_only, silent)]))
    assert "25 % of the tuned model's completions have no readable answer" in problems


def test_a_modality_that_was_not_trained_on_is_named_and_comes_after_the_own_questions(tmp_path: Path) -> None:
    data = division(TEST, phantom.samples("train", 60))
    held_out = {"unseen": tuple(phantom.samples("unseen", 60)), **data.held_out}
    nothing = dict.fromkeys(held_out, frozenset[str]())
    data = replace(data, held_out=held_out, images_in_train=nothing, images_in_published_train=nothing)
    folder = tmp_path / "e"
    for system, predictor in (("base", question_only), ("tuned", perfect)):
        evaluated(folder, data, predictor, controls=0, system=system)
    result = _seen(report(folder), {"test": "seen in training", "unseen": "unseen modality (ultrasound)"})
    verdict = evaluations_verdict([result])
    assert verdict.findings[0].startswith("Accuracy on 200 held-out questions rose")
    assert verdict.findings[1].startswith("Accuracy on 60 questions about ultrasound, which was not trained on, rose")


def test_questions_about_trained_images_are_not_called_held_out(tmp_path: Path) -> None:
    shared = frozenset(image for sample in TEST[:20] for image in sample.images)
    evaluated(tmp_path / "e", division(TEST, TEST[:20], shared), perfect, controls=0, system="tuned")
    findings, problems = _text(evaluations_verdict([_seen(report(tmp_path / "e"), {"test": "seen in training"})]))
    assert "questions of `test`, which shares images with training, is 100 %" in findings
    assert "held-out" not in findings
    assert "Images of `test` of phantom: 20 of them are trained on" in problems


def test_leaks_abstaining_rewards_and_a_stopped_run_are_problems(finished: Run) -> None:
    content = read(finished)
    row = {"scores": {"accuracy": {"value": 1.0, "why": ""}, "reasoning": {"value": None, "why": "no explanation"}}}
    stopped = content.run.model_copy(update={"status": "stopped"})
    changed = replace(content, run=stopped, rollouts=(row, row))
    _, problems = _text(run_verdict(changed, {"leaks": ["3 images of `test` are in `train`"]}))
    assert "This run is stopped: it has not ended." in problems
    assert "3 images of `test` are in `train`." in problems
    assert "The reward `reasoning` abstained on 2 of 2 completions" in problems
    assert "`accuracy`" not in problems
    findings, _ = _text(run_verdict(content, CLEAN))
    assert "No id, image or patient" in findings
    findings, _ = _text(run_verdict(content, {"missing": "nothing is at hand"}))
    assert "No id, image or patient" not in findings


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (1.0, "100 %"), (0.9983, "99.8 %"), (0.003, "0.3 %"), (0.4567, "46 %")]
)
def test_percentages_never_round_to_none_or_all(share: float, text: str) -> None:
    assert percent(share) == text
