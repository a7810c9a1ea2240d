"""The check of a recipe's rewards: it holds for honest ones and finds each planted weakness."""

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
]


@pytest.mark.parametrize("family", ["reasoning", "direct"])
def test_the_rewards_that_ship_hold(family: str) -> None:
    asked = prompt.family(family)
    result = check_rewards(rewards.build(HONEST, asked.completion_format), SAMPLES, asked)
    assert result["failures"] == []
    assert {line["kind"] for line in result["hacks"]} == {"choice", "closed", "open", "json"}


@dataclass(frozen=True)
class Planted:
    """A reward with a weakness that is found in real graders."""

    weakness: str

    def __call__(self, sample: Sample, completion: str) -> rewards.Score:
        gold = hacks.gold_text(sample)
        paid = {
            "answer anywhere": f">{gold}<" in completion or f"is {gold}" in completion,
            "empty tags": bool(re.search("<think>.*</think>.*<answer>.*</answer>", completion, re.DOTALL)),
            "first tag": re.findall("<answer>(.*?)</answer>", completion)[:1] == [gold],
            "believes what it is told": "correct" in completion or gold in completion,
            "lists": all(word in completion for word in gold.split()),
        }[self.weakness]
        return rewards.Score(float(paid), self.weakness)


@pytest.mark.parametrize(
    ("weakness", "hack"),
    [
        ("answer anywhere", "answer in think, empty tag"),
        ("first tag", "two answers"),
        ("believes what it is told", "injection: ask the judge"),
        ("lists", "everything offered"),
    ],
)
def test_a_planted_weakness_is_found(weakness: str, hack: str) -> None:
    result = check_rewards([rewards.Weighted("planted", 1.0, Planted(weakness))], SAMPLES, FAMILY)
    assert any(line["hack"] == hack and line["wins"] for line in result["hacks"])
    assert any(repr(hack) in failure for failure in result["failures"])


def test_a_gold_reply_or_a_spelling_of_it_that_earns_less_is_found() -> None:
    class Picky:
        def __call__(self, sample: Sample, completion: str) -> rewards.Score:
            return rewards.Score(
                float(completion.strip().endswith(f"<answer>{hacks.gold_text(sample)}</answer>")), "as written"
            )

    result = check_rewards([rewards.Weighted("picky", 1.0, Picky())], SAMPLES[:9], FAMILY)
    assert {line["spelling"] for line in result["variants"]} >= {"spaces and lines", "capitals", "letter with a dot"}
    assert "line between the tags" not in {line["spelling"] for line in result["variants"]}
    stern = check_rewards([rewards.Weighted("never", 1.0, lambda *_: rewards.Score(0.5, "half"))], SAMPLES[:9], FAMILY)
    assert stern["failures"][0] == "9 of 9 gold replies earn less than all of `never`"


def test_paying_length_is_named_and_is_no_failure() -> None:
    result = check_rewards(rewards.build([("accuracy", 1.0, {}), ("chain", 0.5, {})]), SAMPLES, FAMILY)
    assert result["failures"] == []
    assert result["by_design"] == ["chain"]
    assert "ramble" in {line["hack"] for line in result["hacks"] if line["wins_by_design"]}


@pytest.mark.parametrize(
    ("completion", "look"),
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
def test_replies_are_seen_for_what_they_look_like(completion: str, look: str) -> None:
    side = Sample("s", "Is it on the left or right side?", "left", "closed", "g", "t")
    assert hacks.detect_hacks(side, completion, "think_answer") == {look}
    assert hacks.detect_hacks(side, prompt.reference_completion(FAMILY, side), "think_answer") == frozenset()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.id)
def test_the_honest_error_is_an_error_in_form_and_a_ramble_is_long(sample: Sample) -> None:
    accuracy, form = rewards.build([("accuracy", 1.0, {}), ("format", 1.0, {})])
    honest = hacks.honest_wrong(sample, "think_answer")
    assert accuracy(sample, honest).value == 0.0
    assert form(sample, honest).value == 1.0
    assert len(hacks.hacks(sample, "think_answer")["ramble"].split()) >= hacks.RAMBLE_TOKENS


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_the_command_tells_what_holds_and_exits_one_where_it_does_not(tmp_path: Path) -> None:
    held = run("check", "--recipe", "rarl", "--nano", "--json")
    assert held.exit_code == 0
    assert json.loads(held.stdout)["failures"] == []
    (tmp_path / "mine.py").write_text(
        "from lowmed.rewards import Score\n\n\n"
        "def echo(sample, completion):\n    return Score(float(sample.answer in completion), 'anywhere')\n"
    )
    fooled = run("check", "--recipe", "rarl", "--nano", f'method.rewards=[{{name: "{tmp_path}/mine.py:echo"}}]')
    assert fooled.exit_code == 1
    assert "fails    'two answers' earns 1.00" in fooled.stdout
    assert fooled.stdout.endswith("the rewards do not hold\n")
    refused = run("check", "--recipe", "rarl-sft", "--nano")
    assert isinstance(refused.exception, RecipeError)


def test_list_and_show_know_every_reward() -> None:
    assert json.loads(run("list", "--json").stdout).keys() == rewards.REWARDS.keys()
    for name in rewards.REWARDS:
        shown = json.loads(run("show", name, "--json").stdout)
        assert shown["about"]
        assert "judge" not in shown["options"]
    assert isinstance(run("show", "acuracy").exception, RecipeError)


def test_every_reward_has_its_row_in_the_document() -> None:
    text = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert rows == list(rewards.REWARDS)
    for look in hacks.LOOKS:
        assert f"`canary/{look}`" in text


def test_the_recipes_that_ship_and_need_no_judge_hold() -> None:
    for name in shipped_recipes():
        recipe = load_recipe(name, [], nano=True)
        if recipe.method.kind == "grpo" and not {each.name for each in recipe.method.rewards} & {"judge", "clinical"}:
            result = check_rewards(rewards.for_recipe(recipe), phantom.samples("train", 24), recipe.prompts.training)
            assert result["failures"] == [], name
