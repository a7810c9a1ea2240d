"""The model or run that a command names: checked before anything is downloaded or loaded."""

from dataclasses import replace
from pathlib import Path

from lowmed.errors import RunError, SetupError
from lowmed.evaluation.target import EvalTarget, open_target
from lowmed.run import FOLDER, Run, is_missing_path


def open_existing(target: str) -> EvalTarget:
    """A run, model folder, adapter folder, hub id or `nano`.

    Raises:
        RunError: a local path does not exist, or the run has not finished.
    """
    if is_missing_path(target):
        raise RunError(
            "the run does not exist", target, f"name a run directory (ls {FOLDER}), a model folder, a hub id, or nano"
        )
    return open_target(target)


def require_run(path: str) -> None:
    """Refuse a path at which nothing exists.

    Raises:
        RunError: it does not exist.
    """
    if not Path(path).exists():
        raise RunError("the run does not exist", path, f"name a run directory: ls {FOLDER}")


def require_base(name: str) -> None:
    """Refuse the name of a base that is a path at which nothing exists.

    Raises:
        SetupError: it does not exist.
    """
    if is_missing_path(name):
        raise SetupError("the base model does not exist", name, "name its folder: --base FOLDER")


def open_finished_run(target: str, base: str | None) -> tuple[Run, EvalTarget]:
    """A finished run with its evaluation settings; its model points at `base` if that is given.

    Args:
        target: the run directory.
        base: folder of another copy of the base, or None for the recipe's.

    Raises:
        RunError: the folder does not exist, is not a run directory, or the run has not finished.
        SetupError: the base does not exist.
    """
    require_run(target)
    if not (Path(target) / "run.json").is_file():
        raise RunError("this is not a run directory", target, "name a directory that contains run.json")
    opened = open_target(target)
    assert opened.run is not None
    return opened.run, with_base(opened, base)


def with_base(target: EvalTarget, base: str | None) -> EvalTarget:
    """The target with its model at another path; None leaves it unchanged.

    Raises:
        SetupError: the base does not exist.
    """
    if not base:
        return target
    require_base(base)
    return replace(target, model=target.model.model_copy(update={"name": base, "revision": None}))
