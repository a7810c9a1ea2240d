"""Probabilities of options: those of a plain forward pass of each completion; stored, resumed, and refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ship import finished
from typer.testing import CliRunner

import lowmed as package
from lowmed import prompt
from lowmed.cli import app
from lowmed.data.image.policy import prepare
from lowmed.engine import chat, device, load, patches
from lowmed.engine.option_probabilities import option_probabilities
from lowmed.errors import RecipeError
from lowmed.evaluation.metrics import prediction, scored
from lowmed.evaluation.records import EvalReport
from lowmed.nano import phantom
from lowmed.recipe import ModelSpec
from lowmed.report import eval_table

FAMILY = prompt.family("reasoning")
MODEL = ModelSpec(name="nano")


def test_they_are_those_of_a_forward_pass_of_each_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    import trl.trainer.utils

    monkeypatch.setattr(trl.trainer.utils, "_ChunkedLogProbFunction", trl.trainer.utils._ChunkedLogProbFunction)
    patches.use_torch_log_probs()
    loaded = load.load_base(MODEL, device.find_device(MODEL))
    test = phantom.samples("test", 40)
    samples = [
        next(sample for sample in test if sample.topic == "presence"),
        next(sample for sample in test if sample.kind == "choice"),
    ]
    texts = [
        "<think>A bright spot, <answer>no</answer>?</think><answer>yes</answer>",
        "<think>Dark lungs.</think><answer>A</answer>",
    ]
    rows = scored(prediction(*pair, 9, "stop") for pair in zip(samples, ["test"] * 2, texts, strict=True))
    unread = {**rows[0], "completion": "It is there."}
    by_id = {sample.id: sample for sample in samples}
    lines = list(option_probabilities(loaded, FAMILY, [*rows, unread], by_id, phantom.open_image))
    assert [line["options"] for line in lines] == [["yes", "no"], list(samples[1].options), ["yes", "no"]]
    assert lines[2]["log_probs"] is None
    for line, sample, text in zip(lines[:2], samples, texts, strict=True):
        letters = "ABC" if sample.kind == "choice" else ["yes", "no"]
        expected = []
        for letter in letters:
            completion = f"{text.rpartition('<answer>')[0]}<answer>{letter}</answer>{chat.turn_end(loaded.tokenizer)}"
            images = [prepare(phantom.open_image(name), loaded.policy) for name in sample.images]
            encoded = loaded.processor(
                text=[chat.render(loaded.processor, FAMILY, sample)], images=images, return_tensors="pt"
            )
            ids = torch.tensor([loaded.tokenizer(completion, add_special_tokens=False)["input_ids"]])
            inputs = {name: value for name, value in encoded.items() if name not in ("input_ids", "attention_mask")}
            if "mm_token_type_ids" in inputs:
                inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(ids)], dim=1)
            together = torch.cat([encoded["input_ids"], ids], dim=1)
            with torch.no_grad():
                logits = loaded.model(input_ids=together, attention_mask=torch.ones_like(together), **inputs).logits
            scores = logits[0, -ids.shape[1] - 1 : -1].log_softmax(-1).gather(1, ids.T)
            expected.append(float(scores.sum()))
        assert line["log_probs"] == pytest.approx(expected, abs=2e-3)


def test_they_are_stored_resumed_and_shown_without_the_option_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluate(probabilities: bool = False) -> EvalReport:
        options: dict[str, Any] = {"questions": 8, "controls": 0, "out": tmp_path / "e", "probabilities": probabilities}
        [result] = package.evaluate("nano", on="phantom", **options)
        return result

    assert not evaluate().splits["test"].probabilities
    first = evaluate(probabilities=True)
    file = tmp_path / "e" / "probabilities.base.jsonl"
    lines = file.read_text()
    file.write_text("".join(lines.splitlines(keepends=True)[:2]) + '{"split": "te')
    assert evaluate(probabilities=True) == first
    assert sorted(file.read_text().splitlines()) == sorted(lines.splitlines())
    assert evaluate() == first
    shown = first.splits["test"].probabilities["base"]
    counted = [part.questions for part in (shown.yes_no, shown.choice) if part]
    assert sum(counted) == sum(json.loads(line)["split"] == "test" for line in lines.splitlines())
    eval_table.show_eval(first)
    assert "test, probabilities" in capsys.readouterr().out


def test_dev_questions_set_the_threshold_and_are_in_no_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished.run(tmp_path / "run", "data.split_by=image", "data.dev=0.02", strength=0.001)
    options: dict[str, Any] = {"questions": 12, "controls": 0, "probabilities": True}
    [result] = package.evaluate(run.folder, **options)
    part = next(part for part in result.splits.values() if part.probabilities)
    chosen = part.probabilities["tuned"].at_threshold
    assert chosen is not None
    folder = run.folder / "evals/phantom"
    dev = [json.loads(line) for line in (folder / "tuned.dev.jsonl").read_text().splitlines()]
    assert {(row["split"], row["kind"]) for row in dev} == {("dev", "closed")}
    assert chosen.dev_questions <= len(dev)
    assert "dev" not in result.splits
    assert chosen.metrics.questions == sum(
        one.yes_no.questions + one.yes_no.without for one in part.probabilities.values() if one.yes_no
    )
    eval_table.show_eval(result)
    assert f"threshold from {chosen.dev_questions} dev questions" in capsys.readouterr().out
    [again] = package.evaluate(run.folder, questions=12, controls=0, rescore=True)
    assert again == result


@pytest.mark.parametrize("option", [("--rescore",), ("--endpoint", "http://127.0.0.1:1/v1", "--model", "x")])
def test_they_need_the_model(option: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, ["eval", "nano", "--on", "phantom", "--probabilities", *option])
    assert isinstance(result.exception, RecipeError)
    assert "need the model on this machine" in result.exception.what
