"""Custom rewards: a function in a file, with its mistakes reported like those of other rewards."""

from pathlib import Path

import pytest

from lowmed import trust_reward
from lowmed.errors import RecipeError, RunError
from lowmed.rewards import build
from lowmed.sample import Sample

SAMPLE = Sample(id="1", question="Which side?", answer="left", kind="open", group="1", source="made")


def reward_file(folder: Path, body: str) -> str:
    file = folder / "mine.py"
    file.write_text(f"from lowmed.rewards import Score\n\n\ndef side(sample, completion):\n    {body}\n")
    trust_reward(file)
    return f"{file}:side"


def test_a_function_in_a_file_is_a_reward(tmp_path: Path) -> None:
    name = reward_file(tmp_path, "return Score(float(sample.answer in completion), 'the side is named')")
    [reward] = build([(name, 0.5, {})])
    assert (reward.name, reward.weight) == (name, 0.5)
    assert reward(SAMPLE, "on the left").value == 1.0
    assert reward(SAMPLE, "nothing").value == 0.0


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("return 1.0", "it returned float"),
        ("return None", "it returned NoneType"),
        ("return Score(1.5, '')", "outside 0 to 1"),
        ("return Score(float('nan'), '')", "outside 0 to 1"),
        ("raise KeyError('side')", "KeyError"),
    ],
)
def test_an_invalid_return_value_or_exception_ends_the_run(tmp_path: Path, body: str, why: str) -> None:
    [reward] = build([(reward_file(tmp_path, body), 1.0, {})])
    with pytest.raises(RunError, match=why):
        reward(SAMPLE, "left")


def test_a_missing_or_broken_file_or_function_is_a_mistake_in_the_recipe(tmp_path: Path) -> None:
    name = reward_file(tmp_path, "return Score(1.0, '')")
    with pytest.raises(RecipeError, match="there is no function `other`"):
        build([(name.replace(":side", ":other"), 1.0, {})])
    with pytest.raises(RecipeError, match="there is no file"):
        build([(str(tmp_path / "missing.py") + ":side", 1.0, {})])
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    trust_reward(tmp_path / "broken.py")
    with pytest.raises(RecipeError, match="the file does not run: ModuleNotFoundError"):
        build([(str(tmp_path / "broken.py") + ":side", 1.0, {})])
    with pytest.raises(RecipeError, match="has no option `strength`"):
        build([(name, 1.0, {"strength": 2})])
