"""Errors that a user can fix. Each has three parts: what is wrong, where, and the fix."""

LONGEST_LINE, MOST_LINES = 1000, 200  # of each part; a library's message may have a megabyte


def cut(text: str) -> str:
    """A text without the middle of lines that are too long, and without lines that are too many."""
    if len(text) <= LONGEST_LINE:
        return text
    lines = text.split("\n", MOST_LINES)
    kept = [
        line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 200]} ... {line[-190:]}"
        for line in lines[:MOST_LINES]
    ]
    return "\n".join([*kept, "..."] if len(lines) > MOST_LINES else kept)


class LowmedError(Exception):
    """Base class of all errors that a user can fix.

    Args:
        what: what is wrong, in one sentence.
        where: the file and line, option, key or setting.
        fix: the command or edit that fixes it.
    """

    def __init__(self, what: str, where: str, fix: str) -> None:
        self.what, self.where, self.fix = cut(what), cut(where), cut(fix)
        super().__init__(self.what)

    def __str__(self) -> str:
        where = self.where.replace("\n", "\n         ")
        return f"{self.what}\n  where  {where}\n  fix    {self.fix}"

    def __reduce__(self) -> tuple[type["LowmedError"], tuple[str, str, str]]:
        return type(self), (self.what, self.where, self.fix)  # pickled by worker processes


class RecipeError(LowmedError):
    """The recipe, an override or an option is invalid."""


class DataError(LowmedError):
    """A data set, row or image is invalid or missing."""


class SetupError(LowmedError):
    """The machine lacks something: a GPU, a package, a model, disk space."""


class RunError(LowmedError):
    """A run directory is missing, already exists, or does not fit the command."""


class JudgeUnavailableError(RunError):
    """The judge fails too often, or does not finish in time. A training run stops with a checkpoint and can resume."""


def first_line(error: Exception) -> str:
    """The first line of an error of another library, or the name of its type."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
