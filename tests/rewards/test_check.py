"""The check of rewards: the shipped ones pass, and every planted weakness is found."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lowmed import prompt, rewards
from lowmed.cli.rewards import app
from lowmed.errors import RecipeError
from lowmed.nano import phantom
from lowmed.recipe.io import load_recipe, shipped_recipes
from lowmed.rewards import hacks
from lowmed.rewards.check import check_rewards
from lowmed.sample import Sample

FAMILY = prompt.family("reasoning")
JSON = Sample("j", "Report it.", '{"side": "left", "findings": ["mass", "scar"]}', "json", "g", "t")
SAMPLES = [*phantom.samples("train", 20), JSON]
HONEST: list[tuple[str, float, dict[str, Any]]] = [
    ("accuracy", 1.0, {"graded": True}),
    ("reasoning", 0.5, {}),
    ("format", 0.2, {}),
    ("answer_follows", 0.2, {}),
    ("modality", 0.1, {}),
    ("extraction", 1.0, {}),
    ("repetition", 0.1, {}),
    ("overlong", 0.1, {}),
    ("consistency", 0.5, {}),
    ("image_dependence", 0.3, {}),
    ("majority", 0.3, {}),
]


@pytest.mark.parametrize("family", ["reasoning", "direct"])
def test_the_shipped_rewards_pass_the_check(family: str) -> None:
    chosen = prompt.family(family)
    report = check_rewards(rewards.build(HONEST, chosen.completion_format), SAMPLES, chosen)
    assert report.failures == ()
    assert {result.kind for result in report.hacks} == {"choice", "closed", "open", "json"}


@dataclass(frozen=True)
class Planted:
    """A reward with a weakness that real graders have."""

    weakness: str

    def __call__(self, sample: Sample, completion: str) -> rewards.Score:
        gold = sample.written_answer
        is_paid = {
            "answer anywhere": f">{gold}<" in completion or f"is {gold}" in completion,
            "empty tags": bool(re.search("<think>.*</think>.*<answer>.*</answer>", completion, re.DOTALL)),
            "first tag": re.findall("<answer>(.*?)</answer>", completion)[:1] == [gold],
            "trusts the completion": "correct" in completion or gold in completion,
            "lists": all(word in completion for word in gold.split()),
        }[self.weakness]
        return rewards.Score(float(is_paid), self.weakness)


@pytest.mark.parametrize(
    ("weakness", "hack"),
    [
        ("answer anywhere", "answer in think, empty tag"),
        ("first tag", "two answers"),
        ("trusts the completion", "injection: ask the judge"),
        ("lists", "everything offered"),
    ],
)
def test_a_planted_weakness_is_found(weakness: str, hack: str) -> None:
    report = check_rewards([rewards.Weighted("planted", 1.0, Planted(weakness))], SAMPLES, FAMILY)
    assert any(result.hack == hack and result.wins for result in report.hacks)
    assert any(repr(hack) in failure for failure in report.failures)
    assert not report.passed


def test_a_gold_completion_or_spelling_that_earns_less_is_found() -> None:
    class Picky:
        def __call__(self, sample: Sample, completion: str) -> rewards.Score:
            return rewards.Score(
                float(completion.strip().endswith(f"<answer>{sample.written_answer}</answer>")), "as written"
            )

    report = check_rewards([rewards.Weighted("picky", 1.0, Picky())], SAMPLES[:9], FAMILY)
    variants = {below.variant for below in report.variants_below}
    assert variants >= {"spaces and lines", "capitals", "letter with a dot"}
    assert "line between the tags" not in variants
    half = rewards.Weighted("half", 1.0, lambda *_: rewards.Score(0.5, "half"))
    first = check_rewards([half], SAMPLES[:9], FAMILY).failures[0]
    assert first == "`half` pays 9 of 9 gold completions less than a right answer can earn"


def test_a_reward_that_pays_length_is_reported_without_a_failure() -> None:
    report = check_rewards(rewards.build([("accuracy", 1.0, {}), ("chain", 0.5, {})]), SAMPLES, FAMILY)
    assert report.failures == ()
    assert report.pay_length == ("chain",)
    assert "ramble" in {result.hack for result in report.hacks if result.wins_with_length}


@pytest.mark.parametrize(
    ("completion", "sign"),
    [
        ("<think>So: <answer>left</answer></think>", "answer_in_think_alone"),
        ("<think>a b c</think><answer>left</answer><answer>right</answer>", "several_answers"),
        ("<think>a b c</think><answer>left or right</answer>", "everything_offered"),
        ("<think>a b c</think><answer>I do not know</answer>", "refused"),
        ("<think>a b c</think><answer> : </answer>", "wordless_answer"),
        ("<think></think><answer>left</answer>", "empty_or_looping_thought"),
        (f"<think>{'so it is ' * 30}</think><answer>left</answer>", "empty_or_looping_thought"),
    ],
)
def test_signs_of_hacking_are_detected(completion: str, sign: str) -> None:
    side = Sample("s", "Is it on the left or right side?", "left", "closed", "g", "t")
    assert hacks.detect_hacks(side, completion, "think_answer") == {sign}
    assert hacks.detect_hacks(side, prompt.reference_completion(FAMILY, side), "think_answer") == frozenset()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.id)
def test_the_honest_wrong_completion_is_wrong_in_the_right_form_and_the_ramble_is_long(sample: Sample) -> None:
    accuracy, form = rewards.build([("accuracy", 1.0, {}), ("format", 1.0, {})])
    honest = hacks.honest_wrong_completion(sample, "think_answer")
    assert accuracy(sample, honest).value == 0.0
    assert form(sample, honest).value == 1.0
    assert len(hacks.hack_completions(sample, "think_answer")["ramble"].split()) >= hacks.RAMBLE_TOKENS


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_the_command_exits_with_1_if_the_rewards_fail(tmp_path: Path) -> None:
    passed = run("check", "--recipe", "rarl", "--nano", "--json")
    assert passed.exit_code == 0
    document = json.loads(passed.stdout)
    assert (document["format"], document["failures"]) == (1, [])
    (tmp_path / "mine.py").write_text(
        "from lowmed.rewards import Score\n\n\n"
        "def echo(sample, completion):\n    return Score(float(sample.answer in completion), 'anywhere')\n"
    )
    assert run("trust", f"{tmp_path}/mine.py", "--yes").exit_code == 0
    fooled = run("check", "--recipe", "rarl", "--nano", f'method.rewards=[{{name: "{tmp_path}/mine.py:echo"}}]')
    assert fooled.exit_code == 1
    assert "fails    'two answers' earns 1.00" in fooled.stdout
    assert fooled.stdout.endswith("the rewards do not hold\n")
    without_rewards = run("check", "--recipe", "rarl-sft", "--nano")
    assert isinstance(without_rewards.exception, RecipeError)


def test_list_and_show_describe_every_reward() -> None:
    listed = json.loads(run("list", "--json").stdout)["rewards"]
    assert [info["name"] for info in listed] == list(rewards.REWARDS)
    assert len(run("list").stdout.splitlines()) == len(listed)
    for name in rewards.REWARDS:
        shown = json.loads(run("show", name, "--json").stdout)
        assert shown["summary"].endswith(".")
        assert "judge" not in {option["name"] for option in shown["options"]}
    assert isinstance(run("show", "acuracy").exception, RecipeError)


def test_the_documentation_has_a_row_for_every_reward() -> None:
    text = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert rows == list(rewards.REWARDS)
    for sign in hacks.HACK_SIGNS:
        assert f"`canary/{sign}`" in text


def test_the_rewards_of_shipped_recipes_without_a_judge_pass_the_check() -> None:
    for name in shipped_recipes():
        recipe = load_recipe(name, [], nano=True)
        if recipe.method.reward_specs and "judge" not in rewards.needs(recipe):
            report = check_rewards(rewards.for_recipe(recipe), phantom.samples("train", 24), recipe.prompts.training)
            assert report.failures == (), name
