"""Strata of the user's choice (site, sex, age band, scanner): columns with few, short values, never an identifier."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from lowmed.data.audit.phi_patterns import phi_in_text
from lowmed.errors import DataError

Strata = tuple[tuple[str, str], ...]  # column and value, sorted by column
MAX_VALUES, MAX_CHARACTERS = 20, 40
MIN_ROWS = 5  # with fewer rows, values that all differ are no sign of an identifier
_FIX = "use short categories such as site, sex or age band; leave the column out, or group its values"
_CATEGORY_NAME = "what looks like first and last name"  # the names of scanners and hospitals look like it too


def strata_of(values: Mapping[str, Any]) -> Strata:
    """The strata of one row, without empty values, sorted by column.

    Raises:
        ValueError: a value is a list or an object.
    """
    if not values:
        return ()
    for column, value in values.items():
        if isinstance(value, list | dict | tuple):
            raise ValueError(f"the stratum `{column}` holds a {type(value).__name__} instead of a text")
    texts = {str(column): " ".join(str(value).split()) for column, value in values.items() if value is not None}
    return tuple(sorted((column, text) for column, text in texts.items() if text))


class StrataCheck:
    """Counts the values of stratum columns and refuses a column that may identify patients."""

    def __init__(self, where: str) -> None:
        """Start without rows; `where` names the data in errors."""
        self.where = where
        self.counts: dict[str, Counter[str]] = {}

    def add(self, strata: Iterable[tuple[str, str]]) -> None:
        """Count the strata of one row.

        Raises:
            DataError: a value is long or looks like a date or a patient's number, or a column has too many values.
        """
        for column, value in strata:
            values = self.counts.setdefault(column, Counter())
            if value not in values:
                self._check_value(column, value)
            values[value] += 1
            if len(values) > MAX_VALUES:
                self._refuse(column, f"has more than {MAX_VALUES} different values")

    def finish(self) -> None:
        """Check the columns as a whole.

        Raises:
            DataError: every row has a value of its own.
        """
        for column, values in self.counts.items():
            if len(values) >= MIN_ROWS and len(values) == values.total():
                self._refuse(column, "has another value in every row")

    def _check_value(self, column: str, value: str) -> None:
        if len(value) > MAX_CHARACTERS:
            self._refuse(column, f"has a value of {len(value)} characters; at most {MAX_CHARACTERS} are allowed")
        kind = phi_in_text(value)
        if kind and kind != _CATEGORY_NAME:
            self._refuse(column, f"contains {kind}")

    def _refuse(self, column: str, problem: str) -> None:
        raise DataError(f"the stratum column `{column}` {problem}", self.where, _FIX)


def check_strata(rows: Iterable[Iterable[tuple[str, str]]], where: str) -> None:
    """Check the strata of all rows of a file.

    Raises:
        DataError: as `StrataCheck`.
    """
    check = StrataCheck(where)
    for strata in rows:
        check.add(strata)
    check.finish()
