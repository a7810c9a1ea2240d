"""What a user did or met that lowmed cannot go on from, in three lines: what, where, fix."""


class LowmedError(Exception):
    """A mistake or a missing thing, told so that the reader knows what to do next."""

    def __init__(self, what: str, where: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        where = self.where.replace("\n", "\n         ")
        return f"{self.what}\n  where  {where}\n  fix    {self.fix}"

    def __reduce__(self) -> tuple[type["LowmedError"], tuple[str, str, str]]:
        return type(self), (self.what, self.where, self.fix)  # so that worker processes can raise it


class RecipeError(LowmedError):
    """The recipe, or an override of it, is wrong."""


class DataError(LowmedError):
    """A data set, a row or an image is wrong or missing."""


class SetupError(LowmedError):
    """The machine lacks something: a card, a package, a model, disk space."""


class RunError(LowmedError):
    """A run folder is missing, taken, or does not fit what was asked of it."""
