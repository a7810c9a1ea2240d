"""The run and the base that a command names: checked before anything is downloaded or loaded."""

from dataclasses import replace

from lowmed.errors import SetupError
from lowmed.evaluation.target import EvalTarget, open_target
from lowmed.run import Run, is_missing_path, open_run


def require_base(name: str) -> None:
    """Refuse the name of a base that is a path at which nothing exists.

    Raises:
        SetupError: it does not exist.
    """
    if is_missing_path(name):
        raise SetupError("the base model does not exist", name, "name its folder: --base FOLDER")


def open_finished_run(path: str, base: str | None) -> tuple[Run, EvalTarget]:
    """A finished run with its evaluation settings; its model points at `base` if that is given.

    Args:
        path: the run directory.
        base: folder of another copy of the base, or None for the recipe's.

    Raises:
        RunError: the folder does not exist, is not a run directory, or the run has not finished.
        SetupError: the base does not exist.
    """
    run = open_run(path)
    target = open_target(path)
    if base:
        require_base(base)
        target = replace(target, model=target.model.model_copy(update={"name": base, "revision": None}))
    return run, target
