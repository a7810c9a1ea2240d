"""Contrastive decoding equals a naive implementation, and is reported as a control only."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from predictors import division

from lowmed import prompt
from lowmed.api.evaluate import evaluate
from lowmed.data.image.policy import prepare
from lowmed.engine import contrastive, device, load
from lowmed.engine.generate import complete, generate_ids
from lowmed.errors import RecipeError, SetupError
from lowmed.evaluation import controls, results_folder, runner
from lowmed.evaluation.report import eval_settings, report
from lowmed.nano import phantom
from lowmed.recipe import ModelSpec
from lowmed.report import eval_table

MODEL = ModelSpec(name="nano")
FAMILY = prompt.family("reasoning")
SAMPLES = [phantom.samples("test", 20)[number] for number in (4, 1, 19)]  # the image decides a token of the outer ones
TOKENS = 32


@pytest.fixture(scope="module")
def nano() -> load.Loaded:
    return load.load_base(MODEL, device.find_device(MODEL))


def gray(reference: str) -> Any:
    return controls.grey(phantom.open_image(reference))


def naive(nano: load.Loaded, sample: Any, strength: float = 1.0, plausible: float = 0.1) -> list[int]:
    """One completion by two forward passes over everything for each token, with probabilities in place of logits."""
    text = nano.processor.apply_chat_template(prompt.build_messages(FAMILY, sample, 0), add_generation_prompt=True)
    ids: list[int] = []
    while len(ids) < TOKENS and (not ids or ids[-1] not in nano.end_ids):
        logits = []
        for opener in (phantom.open_image, gray):
            images = [prepare(opener(image), nano.policy) for image in sample.images]
            inputs = nano.processor(text=[text], images=images, return_tensors="pt")
            tokens = torch.tensor([ids], dtype=torch.long)
            inputs["input_ids"] = torch.cat([inputs["input_ids"], tokens], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            kinds = inputs["mm_token_type_ids"]
            inputs["mm_token_type_ids"] = torch.cat([kinds, torch.zeros_like(tokens)], dim=1)
            with torch.no_grad():
                logits.append(nano.model(**inputs).logits[0, -1].float())
        own = logits[0].softmax(0)
        own[list(nano.suppressed)] = 0
        scores = (1 + strength) * own.log() - strength * logits[1].log_softmax(0)
        ids.append(int(scores.masked_fill(own < plausible * own.max(), -torch.inf).argmax()))
    return ids


def test_it_equals_two_forward_passes_for_every_token(nano: load.Loaded) -> None:
    options: dict[str, Any] = {"max_new_tokens": TOKENS, "contrast": gray}
    expected = {sample.id: naive(nano, sample) for sample in SAMPLES}
    for size in (3, 2):  # two rows of a batch are one pair
        batched = generate_ids(nano, SAMPLES, FAMILY, phantom.open_image, batch_size=size, **options)
        assert {sample.id: ids for sample, ids in batched} == expected
    ordinary = generate_ids(nano, SAMPLES, FAMILY, phantom.open_image, max_new_tokens=TOKENS)
    assert {sample.id: ids for sample, ids in ordinary} != expected


def test_against_the_same_image_it_is_ordinary_greedy_decoding(nano: load.Loaded) -> None:
    options: dict[str, Any] = {"max_new_tokens": TOKENS}
    same = list(generate_ids(nano, SAMPLES, FAMILY, phantom.open_image, contrast=phantom.open_image, **options))
    assert same == list(generate_ids(nano, SAMPLES, FAMILY, phantom.open_image, **options))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=4, max_size=8), st.randoms(use_true_random=False))
def test_an_implausible_token_is_never_chosen(values: list[float], draw: Any) -> None:
    logits = torch.tensor([values])
    others = torch.tensor([[draw.uniform(-1000, 1000) for _ in values]])
    token = int(contrastive.contrasted(logits, others).argmax())
    probabilities = logits.softmax(-1)[0]
    assert probabilities[token] >= 0.1 * probabilities.max() * (1 - 1e-5)


def test_a_plausible_token_that_the_image_favors_beats_a_likelier_one() -> None:
    logits, others = torch.tensor([[2.0, 1.5, -9.0]]), torch.tensor([[2.0, 0.0, -99.0]])
    scores = contrastive.contrasted(logits, others)[0]
    assert scores.tolist() == [2.0, 3.0, -torch.inf]


def test_logits_that_are_no_numbers_are_an_error(nano: load.Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = nano.model.get_output_embeddings().weight
    monkeypatch.setattr(weight, "data", torch.full_like(weight.data, torch.nan))
    with pytest.raises(SetupError, match="NaN"):
        list(generate_ids(nano, SAMPLES[:1], FAMILY, phantom.open_image, max_new_tokens=2, contrast=gray))


def test_questions_without_an_image_are_left_out() -> None:
    samples = [SAMPLES[0], replace(SAMPLES[1], images=())]
    condition = controls.contrastive("test", samples, phantom.open_image)
    assert [sample.id for sample in condition.samples] == [SAMPLES[0].id]
    opened = condition.contrast(SAMPLES[0].images[0]) if condition.contrast else None
    assert opened is not None
    assert opened.getcolors() == [(opened.width * opened.height, (128, 128, 128))]


def test_it_is_off_by_default_and_needs_a_model_and_controls() -> None:
    data_split = division(SAMPLES)
    names = [condition.name for condition in runner.list_conditions(data_split, controls=4)]
    assert controls.CONTRASTIVE not in names
    with pytest.raises(RecipeError, match="--controls"):
        evaluate("nano", contrastive=True, controls=0)
    with pytest.raises(RecipeError, match="which an endpoint does not return"):
        evaluate(None, contrastive=True, endpoint="http://127.0.0.1:1/v1", model="x", on="phantom")


def test_it_is_a_control_next_to_the_accuracy_of_the_model(
    nano: load.Loaded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_split = division(SAMPLES)
    folder = tmp_path / "e"
    results_folder.open_folder(folder, eval_settings(MODEL, FAMILY, data_split, max_new_tokens=TOKENS, seen=""))

    def answer(samples: Any, open_image: Any, **options: Any) -> Any:
        return complete(nano, samples, FAMILY, open_image, max_new_tokens=TOKENS, **options)

    names = (controls.REAL, controls.CONTRASTIVE)
    listed = runner.list_conditions(data_split, controls=4, contrasted=True)
    work = [condition for condition in listed if condition.name in names]
    for part in (work[:1], work):  # added to an evaluation that has none
        runner.run_conditions(folder, "base", part, lambda: answer, train=(), advance=lambda done, note: None)
        result = report(folder)
        lenient = result.splits["test"].results["base"].lenient
        assert lenient is not None
        accuracy = lenient.accuracy
        if part == work[:1]:
            before = accuracy
    assert accuracy == before
    effect = result.controls["base"].contrastive
    assert effect is not None
    assert effect.lenient is not None
    assert (effect.questions, effect.lenient.real) == (3, accuracy)
    assert effect.lenient.effect == pytest.approx(accuracy - effect.lenient.accuracy)
    assert result.controls["base"].verdict == ""  # that is about another image
    eval_table.show_eval(result)
    printed = capsys.readouterr().out
    assert "decoded against gray, n=3" in printed
    assert "ordinary - contrastive decoding" in printed
