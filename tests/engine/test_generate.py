"""The embedded model answering: batches, order, sampling; and controls that expose it once it cannot see."""

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
from lowmed.evaluate import results_folder, runner
from lowmed.evaluate.controls import REAL, shuffled
from lowmed.evaluate.report import eval_settings, report
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
    """The same model with whatever its vision tower says set to zero."""

    def nothing(_module: Any, _inputs: Any, output: Any) -> Any:
        for name, value in output.items():
            output[name] = _zero(value)
        return output

    hook = nano.model.model.visual.register_forward_hook(nothing)
    yield nano
    hook.remove()


def _zero(value: Any) -> Any:
    return torch.zeros_like(value) if isinstance(value, torch.Tensor) else type(value)(map(_zero, value))


def _evaluated(folder: Path, data_split: DataSplit, loaded: load.Loaded, *names: str) -> dict[str, Any]:
    """The report with the controls of these names, each on all questions."""
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


def test_every_sample_is_answered_whatever_stands_beside_it(nano: load.Loaded) -> None:
    samples = phantom.samples("test", 10)
    together = list(complete(nano, samples, FAMILY, phantom.picture, max_new_tokens=LONGEST_TOKENS))
    turned = complete(nano, samples[::-1], FAMILY, phantom.picture, max_new_tokens=LONGEST_TOKENS)
    assert {completion.sample.id: completion.completion for completion in together} == {
        completion.sample.id: completion.completion for completion in turned
    }
    lengths = [len(prompt.question_text(completion.sample)) for completion in together]
    assert lengths == sorted(lengths)
    assert {completion.sample.id for completion in together} == {sample.id for sample in samples}


def test_samples_without_image_and_cut_replies_are_answered_too(nano: load.Loaded) -> None:
    samples = [replace(sample, images=()) for sample in phantom.samples("test", 3)]
    result = list(complete(nano, [*samples, *phantom.samples("test", 2)], FAMILY, phantom.picture, max_new_tokens=3))
    assert len(result) == 5
    assert {(completion.tokens, completion.finish_reason) for completion in result if completion.sample.images} == {
        (3, "length")
    }


def test_sampled_replies_vary_and_come_as_often_as_asked(nano: load.Loaded) -> None:
    samples = phantom.samples("test", 2)
    torch.manual_seed(0)
    result = list(complete(nano, samples, FAMILY, phantom.picture, max_new_tokens=12, temperature=3.0, copies=4))
    assert [completion.sample.id for completion in result].count(samples[0].id) == 4
    assert len({completion.completion for completion in result}) > 2


def test_pictures_that_do_not_reach_the_model_are_an_error(nano: load.Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = nano.processor

    class Losing:
        def apply_chat_template(self, *arguments: Any, **more: Any) -> Any:
            return whole.apply_chat_template(*arguments, **more)

        def __call__(self, **given: Any) -> Any:
            inputs = whole(**given)
            inputs["image_grid_thw"] = inputs["image_grid_thw"][:1]
            return inputs

    monkeypatch.setattr(nano, "processor", Losing())
    with pytest.raises(DataError, match="2 images were given and 1 reached the model"):
        encode(nano, phantom.samples("test", 2), FAMILY, phantom.picture)


def test_a_model_whose_vision_is_zeroed_is_exposed(tmp_path: Path, blind: load.Loaded) -> None:
    result = _evaluated(tmp_path / "e", _phantom(12), blind, "grey", "shuffled")["controls"]["base"]
    for name in ("grey", "shuffled"):
        assert (result[name]["changed"], result[name]["lenient"]["effect"]) == (0, 0)
    assert result["verdict"].startswith("NO EVIDENCE")


def test_on_real_pictures_a_zeroed_model_answers_the_same_of_grey(
    tmp_path: Path, vqa_rad: Path, blind: load.Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = PixelPolicy(32)
    monkeypatch.setattr(blind, "policy", small)
    data_split = limited(evaluation_only(load_data("vqa-rad", str(vqa_rad))), 4)
    result = _evaluated(tmp_path / "e", data_split, blind, "grey")
    assert result["controls"]["base"]["grey"]["changed"] == 0
    assert result["splits"]["test"]["questions"] == 4
    assert result["splits"]["test"]["no_image_floor"] is not None


def test_the_embedded_model_describes_the_picture_that_it_is_shown(nano: load.Loaded) -> None:
    samples = phantom.samples("test", 12)
    real, other = (
        {
            completion.sample.id: completion.completion
            for completion in complete(nano, asked, FAMILY, phantom.picture, max_new_tokens=LONGEST_TOKENS)
        }
        for asked in (samples, shuffled(samples, phantom.samples("test", 60)))
    )
    # The untrained base sees and describes, but answers from habit, which is what training has to mend: its answers
    # hardly change with the image, its descriptions do.
    assert sum(real[one] != other[one] for one in real) >= 6


def test_the_answerer_of_a_verb_loads_the_model_and_answers() -> None:
    answer = evaluator.answerer(MODEL, None, FAMILY, LONGEST_TOKENS)
    [completion] = answer(phantom.samples("test", 1), phantom.picture, copies=1, temperature=0.0)
    assert "<answer>" in completion.completion


@pytest.mark.slow
def test_probe_and_eval_of_the_embedded_model_from_the_command_line(lowmed: Lowmed, tmp_path: Path) -> None:
    probed = lowmed("probe", "nano", "--on", "phantom", "--questions", "6", "--samples", "4", "--json", "--out", "p")
    assert probed.returncode in (0, 1), probed.stderr
    assert (probed.returncode == 0) == (json.loads(probed.stdout)["all"]["verdict"] == "RL")
    counted = [json.loads(line) for line in (tmp_path / "p" / "difficulty.jsonl").read_text().splitlines()]
    assert [row["completions"] for row in counted] == [4] * 6
    asked = ("eval", "nano", "--on", "phantom", "--questions", "4", "--controls", "4", "--out", "e")
    first = lowmed(*asked, "--json")
    assert json.loads(first.stdout)["controls"]["base"]["blind"]["questions"] == 4
    again = lowmed(*asked, "--rescore", "--json")
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert lowmed("compare", "e", "e/base.jsonl").returncode == 0
    assert lowmed("eval", "nano", "--on", "phantom", "--questions", "5", "--out", "e").returncode == 2
