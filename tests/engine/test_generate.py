"""Completions of the embedded model: batches, order, sampling; and controls that detect a blind model."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Lowmed

from lowmed import prompt
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.load import load as load_data
from lowmed.data.split import DataSplit, evaluation_only, limited
from lowmed.engine import device, evaluator, load
from lowmed.engine.generate import complete, encode
from lowmed.errors import DataError
from lowmed.evaluation import results_folder, runner
from lowmed.evaluation.controls import REAL, shuffled
from lowmed.evaluation.report import eval_settings, report
from lowmed.nano import phantom
from lowmed.recipe import ModelSpec

FAMILY = prompt.family("reasoning")
MODEL = ModelSpec(name="nano")
LONGEST_TOKENS = 40


@pytest.fixture(scope="module")
def nano() -> load.Loaded:
    return load.load_base(MODEL, device.find_device(MODEL))


@pytest.fixture
def blind(nano: load.Loaded) -> Iterator[load.Loaded]:
    """The same model with its image features set to zero."""

    def zero(_module: Any, _inputs: Any, output: Any) -> Any:
        for name, value in output.items():
            output[name] = _zero(value)
        return output

    hook = nano.model.model.visual.register_forward_hook(zero)
    yield nano
    hook.remove()


def _zero(value: Any) -> Any:
    return torch.zeros_like(value) if isinstance(value, torch.Tensor) else type(value)(map(_zero, value))


def _evaluated(folder: Path, data_split: DataSplit, loaded: load.Loaded, *names: str) -> dict[str, Any]:
    """The report with the named controls, each on all questions."""
    settings = eval_settings(MODEL, FAMILY, data_split, max_new_tokens=LONGEST_TOKENS, seen="")
    results_folder.open_folder(folder, settings)

    def answer(samples: Any, open_image: Any, *, copies: int, temperature: float) -> Any:
        return complete(
            loaded, samples, FAMILY, open_image, max_new_tokens=LONGEST_TOKENS, copies=copies, temperature=temperature
        )

    work = [
        condition for condition in runner.list_conditions(data_split, controls=1000) if condition.name in (REAL, *names)
    ]
    runner.run_conditions(folder, "base", work, lambda: answer, train=data_split.train, advance=lambda done, note: None)
    return report(folder).model_dump(exclude_unset=True)


def _phantom(questions: int) -> DataSplit:
    return limited(evaluation_only(load_data("phantom", sizes={"test": questions})), questions)


def test_completions_do_not_depend_on_the_order_of_samples(nano: load.Loaded) -> None:
    samples = phantom.samples("test", 10)
    together = list(complete(nano, samples, FAMILY, phantom.open_image, max_new_tokens=LONGEST_TOKENS))
    reversed_order = complete(nano, samples[::-1], FAMILY, phantom.open_image, max_new_tokens=LONGEST_TOKENS)
    assert {completion.sample.id: completion.completion for completion in together} == {
        completion.sample.id: completion.completion for completion in reversed_order
    }
    lengths = [len(prompt.question_text(completion.sample)) for completion in together]
    assert lengths == sorted(lengths)
    assert {completion.sample.id for completion in together} == {sample.id for sample in samples}


def test_samples_without_image_are_answered_and_truncation_is_recorded(nano: load.Loaded) -> None:
    samples = [replace(sample, images=()) for sample in phantom.samples("test", 3)]
    result = list(complete(nano, [*samples, *phantom.samples("test", 2)], FAMILY, phantom.open_image, max_new_tokens=3))
    assert len(result) == 5
    assert {(completion.tokens, completion.finish_reason) for completion in result if completion.sample.images} == {
        (3, "length")
    }


def test_sampled_completions_vary_and_have_the_requested_number(nano: load.Loaded) -> None:
    samples = phantom.samples("test", 2)
    torch.manual_seed(0)
    result = list(complete(nano, samples, FAMILY, phantom.open_image, max_new_tokens=12, temperature=3.0, copies=4))
    assert [completion.sample.id for completion in result].count(samples[0].id) == 4
    assert len({completion.completion for completion in result}) > 2


def test_images_missing_in_the_models_input_are_an_error(nano: load.Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    original = nano.processor

    class Losing:
        image_processor, tokenizer = original.image_processor, original.tokenizer

        def apply_chat_template(self, *arguments: Any, **more: Any) -> Any:
            return original.apply_chat_template(*arguments, **more)

        def __call__(self, **options: Any) -> Any:
            inputs = original(**options)
            inputs["image_grid_thw"] = inputs["image_grid_thw"][:1]
            return inputs

    monkeypatch.setattr(nano, "processor", Losing())
    with pytest.raises(DataError, match=r"the samples have 2 images of 18 tokens, the model's input has 1 of 18"):
        encode(nano, phantom.samples("test", 2), FAMILY, phantom.open_image)


def test_a_model_with_zeroed_vision_is_detected(tmp_path: Path, blind: load.Loaded) -> None:
    result = _evaluated(tmp_path / "e", _phantom(12), blind, "grey", "shuffled")["controls"]["base"]
    for name in ("grey", "shuffled"):
        assert (result[name]["changed"], result[name]["lenient"]["effect"]) == (0, 0)
    assert result["verdict"].startswith("NO EVIDENCE")


def test_on_real_images_a_blind_model_gives_the_same_answers_for_grey_ones(
    tmp_path: Path, vqa_rad: Path, blind: load.Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = PixelPolicy(32)
    monkeypatch.setattr(blind, "policy", small)
    data_split = limited(evaluation_only(load_data("vqa-rad", str(vqa_rad))), 4)
    result = _evaluated(tmp_path / "e", data_split, blind, "grey")
    assert result["controls"]["base"]["grey"]["changed"] == 0
    assert result["splits"]["test"]["questions"] == 4
    assert result["splits"]["test"]["no_image_floor"] is not None


def test_the_embedded_model_describes_its_image(nano: load.Loaded) -> None:
    samples = phantom.samples("test", 12)
    real, other = (
        {
            completion.sample.id: completion.completion
            for completion in complete(nano, questions, FAMILY, phantom.open_image, max_new_tokens=LONGEST_TOKENS)
        }
        for questions in (samples, shuffled(samples, phantom.samples("test", 60)))
    )
    # The untrained base describes the image correctly but then gives the most frequent answer. So its answers hardly
    # depend on the image, and its descriptions do.
    assert sum(real[one] != other[one] for one in real) >= 6


def test_the_answerer_loads_the_model_and_answers() -> None:
    answer = evaluator.answerer(MODEL, None, FAMILY, LONGEST_TOKENS)
    [completion] = answer(phantom.samples("test", 1), phantom.open_image, copies=1, temperature=0.0)
    assert "<answer>" in completion.completion


@pytest.mark.slow
def test_probe_and_eval_of_the_embedded_model_from_the_command_line(
    lowmed: Lowmed, reseeded: Lowmed, tmp_path: Path
) -> None:
    probed = lowmed("probe", "nano", "--on", "phantom", "--questions", "6", "--samples", "4", "--json", "--out", "p")
    assert probed.returncode in (0, 1), probed.stderr
    assert (probed.returncode == 0) == (json.loads(probed.stdout)["all"]["verdict"] == "RL")
    pass_counts = [json.loads(line) for line in (tmp_path / "p" / "difficulty.jsonl").read_text().splitlines()]
    assert [row["completions"] for row in pass_counts] == [4] * 6
    command = ("eval", "nano", "--on", "phantom", "--questions", "4", "--controls", "4", "--out", "e")
    first = lowmed(*command, "--json")
    assert json.loads(first.stdout)["controls"]["base"]["blind"]["questions"] == 4
    rescored = reseeded(*command, "--rescore", "--json")
    assert json.loads(rescored.stdout) == json.loads(first.stdout)
    assert lowmed("compare", "e", "e/base.jsonl").returncode == 0
    assert lowmed("eval", "nano", "--on", "phantom", "--questions", "5", "--out", "e").returncode == 2
