"""Custom rewards: a function in a Python file, named in a recipe as `FILE.py:FUNCTION`."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from lowmed.errors import RecipeError
from lowmed.rewards.score import Reward, Score
from lowmed.sample import Sample


@dataclass(frozen=True)
class CustomReward:
    """A user's function, with a check that it returns a Score whose value is in [0, 1] or None."""

    function: Reward

    @property
    def pays_form(self) -> bool:
        """Whether the function has the attribute `pays_form`: it pays form, whatever the image shows."""
        return bool(getattr(self.function, "pays_form", False))

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion.

        Raises:
            TypeError: the function did not return a Score.
            ValueError: the value is outside [0, 1].
        """
        score: object = self.function(sample, completion)
        if not isinstance(score, Score):
            raise TypeError(f"it returned {type(score).__name__}, not lowmed.rewards.Score(value, why)")
        if score.value is not None and not 0 <= score.value <= 1:
            raise ValueError(f"its value {score.value} is outside 0 to 1")
        return score


def is_custom(name: str) -> bool:
    """Whether the name of a reward refers to a function in a file."""
    return ".py:" in name


def require_file(name: str) -> Path:
    """The file of the reward `FILE.py:FUNCTION`, without executing it.

    Raises:
        RecipeError: the file does not exist.
    """
    path = name.rpartition(":")[0]
    file = Path(path).expanduser()
    if not file.is_file():
        raise RecipeError(
            f"there is no file {path}",
            f"method.rewards, {name}",
            "correct the path; it is relative to the directory in which you run the command",
        )
    return file


def load(name: str) -> CustomReward:
    """Load the reward `FILE.py:FUNCTION`. This executes the file.

    Raises:
        RecipeError: the file or the function does not exist, or the file raises an exception.
    """
    path, _, function = name.rpartition(":")
    file = require_file(name)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None  # a path that ends in .py always has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything
        raise RecipeError(
            f"the file does not run: {type(error).__name__}: {error}", f"method.rewards, {name}", "correct the file"
        ) from error
    reward = getattr(module, function, None)
    if not callable(reward):
        raise RecipeError(
            f"there is no function `{function}` in {path}",
            f"method.rewards, {name}",
            "write `def " + function + "(sample, completion): return Score(value, why)`",
        )
    return CustomReward(reward)
