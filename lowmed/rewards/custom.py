"""A reward of one's own: a function in a Python file, named in a recipe as `FILE.py:FUNCTION`."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from lowmed.errors import RecipeError
from lowmed.rewards.score import Reward, Score
from lowmed.sample import Sample


@dataclass(frozen=True)
class CustomReward:
    """The function under its checks: what it returns is a Score in [0, 1], or one that has nothing to say."""

    function: Reward

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion.

        Raises:
            TypeError: the function returned something else.
            ValueError: its value lies outside of [0, 1].
        """
        score: object = self.function(sample, completion)
        if not isinstance(score, Score):
            raise TypeError(f"it returned {type(score).__name__}, not lowmed.rewards.Score(value, why)")
        if score.value is not None and not 0 <= score.value <= 1:
            raise ValueError(f"its value {score.value} lies outside of 0 to 1")
        return score


def named(name: str) -> bool:
    """Whether the name of a reward is that of a function in a file."""
    return ".py:" in name


def load(name: str) -> CustomReward:
    """The reward `FILE.py:FUNCTION`; the file is run, as any Python that its user wrote.

    Raises:
        RecipeError: there is no such file or function, or the file does not run.
    """
    path, _, function = name.rpartition(":")
    file = Path(path).expanduser()
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise RecipeError(
            f"there is no file {path}",
            f"method.rewards, {name}",
            "the path is relative to where the command is run",
        )
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises is told as a mistake in the recipe, with its cause
        raise RecipeError(
            f"the file does not run: {type(error).__name__}: {error}", f"method.rewards, {name}", "correct the file"
        ) from error
    result = getattr(module, function, None)
    if not callable(result):
        raise RecipeError(
            f"there is no function `{function}` in {path}",
            f"method.rewards, {name}",
            "write `def " + function + "(sample, completion): return Score(value, why)`",
        )
    return CustomReward(result)
