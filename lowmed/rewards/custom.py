"""Custom rewards: a function in a Python file, named in a recipe as `FILE.py:FUNCTION`, and approved by the user."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from lowmed.errors import RecipeError
from lowmed.rewards.score import Reward, Score
from lowmed.rewards.trust import RewardFile, read_reward_file, require_approved
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


def require_file(name: str) -> RewardFile:
    """The file of the reward `FILE.py:FUNCTION`, without executing it.

    Raises:
        RecipeError: the file does not exist, or is no Python file.
    """
    return read_reward_file(Path(name.rpartition(":")[0]), f"method.rewards, {name}")


def require_trusted(name: str) -> RewardFile:
    """The file of the reward `FILE.py:FUNCTION`, whose content the user has approved, without executing it.

    Raises:
        RecipeError: as `require_file`, or the user has not approved the file.
    """
    file = require_file(name)
    require_approved(file, f"method.rewards, {name}")
    return file


def load(name: str) -> CustomReward:
    """Load the reward `FILE.py:FUNCTION`. This executes the file.

    Raises:
        RecipeError: as `require_trusted`; or the function does not exist, or the file raises an exception.
    """
    file = require_trusted(name)
    path, _, function = name.rpartition(":")
    module = ModuleType(file.path.stem)
    module.__file__ = str(file.path)
    try:
        # The content that was approved, not the file, which may change, nor a compiled copy in `__pycache__`.
        exec(compile(file.content, str(file.path), "exec"), module.__dict__)  # noqa: S102
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
