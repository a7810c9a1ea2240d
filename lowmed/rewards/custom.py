"""Custom rewards: a function in a Python file, named in a recipe as `FILE.py:FUNCTION`, and approved by the user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from lowmed.errors import LowmedError, RecipeError
from lowmed.rewards.import_guard import ImportGuard
from lowmed.rewards.local_code import RewardCode, read_reward_code
from lowmed.rewards.score import Reward, Score
from lowmed.rewards.trust import read_reward_file, require_approved
from lowmed.sample import Sample


@dataclass(frozen=True)
class CustomReward:
    """A user's function, with a check that it returns a Score whose value is in [0, 1] or None.

    `guard` compares what it imports while it runs.
    """

    function: Reward
    guard: ImportGuard

    @property
    def pays_form(self) -> bool:
        """Whether the function has the attribute `pays_form`: it pays form, whatever the image shows."""
        return bool(getattr(self.function, "pays_form", False))

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion.

        Raises:
            TypeError: the function did not return a Score.
            ValueError: the value is outside [0, 1].
            RecipeError: it imports a module of its folder that the user has not approved.
        """
        with self.guard.active():
            score: object = self.function(sample, completion)
        if not isinstance(score, Score):
            raise TypeError(f"it returned {type(score).__name__}, not lowmed.rewards.Score(value, why)")
        if score.value is not None and not 0 <= score.value <= 1:
            raise ValueError(f"its value {score.value} is outside 0 to 1")
        return score


def is_custom(name: str) -> bool:
    """Whether the name of a reward refers to a function in a file."""
    return ".py:" in name


def require_file(name: str) -> None:
    """Check that the reward `FILE.py:FUNCTION` names a Python file, without executing it.

    Raises:
        RecipeError: the file does not exist, or is no Python file.
    """
    read_reward_file(file_of(name), f"method.rewards, {name}")


def require_trusted(name: str) -> RewardCode:
    """The code of the reward `FILE.py:FUNCTION`, which the user has approved, without executing it.

    Raises:
        RecipeError: the file does not exist or is no Python file, or the user has not approved it or a module of its
            folder that it imports.
    """
    where = f"method.rewards, {name}"
    code = read_reward_code(file_of(name), where)
    for file in code.files:
        require_approved(file, where, by=code.main.path)
    return code


def file_of(name: str) -> Path:
    """The file of the reward `FILE.py:FUNCTION`."""
    return Path(name.rpartition(":")[0])


def load(name: str) -> CustomReward:
    """Load the reward `FILE.py:FUNCTION`. This executes the file.

    Raises:
        RecipeError: as `require_trusted`; or the function does not exist, or the file raises an exception.
    """
    code, where = require_trusted(name), f"method.rewards, {name}"
    path, _, function = name.rpartition(":")
    module = ModuleType(code.main.path.stem)
    module.__file__ = str(code.main.path)
    guard = ImportGuard(code, where)
    try:
        # The content that was approved, not the file, which may change, nor a compiled copy in `__pycache__`.
        compiled = compile(code.main.content, str(code.main.path), "exec")
        guard.first(lambda: exec(compiled, module.__dict__))  # noqa: S102
    except LowmedError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise RecipeError(
            f"the file does not run: {type(error).__name__}: {error}", where, "correct the file"
        ) from error
    reward = getattr(module, function, None)
    if not callable(reward):
        raise RecipeError(
            f"there is no function `{function}` in {path}",
            where,
            "write `def " + function + "(sample, completion): return Score(value, why)`",
        )
    return CustomReward(reward, guard)


def code_digests(rewards: Sequence[Reward]) -> list[dict[str, str]]:
    """The SHA-256 of the files of each custom reward, by their names.

    Args:
        rewards: loaded rewards; others than custom ones have no code of their own.
    """
    return [reward.guard.code.digests() for reward in rewards if isinstance(reward, CustomReward)]


def code_changes(recorded: Sequence[Mapping[str, str]], names: Sequence[str]) -> list[str]:
    """What differs from the code that a run was trained with, one line a file. Nothing is executed.

    Args:
        recorded: the digests of the run; empty if it has none.
        names: the names of its custom rewards, in the same order.
    """
    if recorded and len(recorded) != len(names):
        return [f"the run records {len(recorded)} custom rewards, and its recipe names {len(names)}"]
    changes = []
    for path, before in zip(map(file_of, names), recorded, strict=False):  # an old run records none
        try:
            code = read_reward_code(path, str(path))
        except RecipeError as error:
            changes.append(error.what)
            continue
        now = {**{name: digest for name in before if (digest := code.digest_of(name))}, **code.digests()}
        for name in dict.fromkeys((*before, *now)):
            if now.get(name) != before.get(name):
                state = "is new" if name not in before else "has changed" if name in now else "is missing"
                changes.append(f"{name} {state}, a module of {path}" if name != path.name else f"{path} {state}")
    return list(dict.fromkeys(changes))
