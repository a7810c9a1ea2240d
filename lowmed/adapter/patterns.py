"""Regular expressions of an adapter's config, matched as PEFT matches them, but within a time limit.

An expression in a received file can take years (`(.*)*(.*)*Z`), and PEFT would match it in this process. Expressions
with repetitions are therefore matched in a process of their own.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lowmed.adapter.config import shown
from lowmed.errors import RunError
from lowmed.models import FAMILIES

SECONDS = 5
MAX_EXPRESSIONS = 10_000  # of one field; EVA writes one for each layer
MAX_LENGTH = 100_000  # characters of one expression; unsloth writes about a thousand
_LITERAL = re.compile(r"[\w.^$\\-]*")
_OWN = frozenset(family.lora_pattern for family in FAMILIES.values())
_MATCH = """
import json, re, sys
job = json.load(sys.stdin)
results = []
for expression, how in job["expressions"]:
    match = getattr(re.compile(expression), how)
    pairs = ((name, match(name)) for name in job["names"])
    results.append({name: one.groupdict().get("index") for name, one in pairs if one})
json.dump(results, sys.stdout)
"""


@dataclass(frozen=True)
class Expression:
    """A regular expression with a part that a received config contributes.

    Attributes:
        received: what the config holds.
        key: its key in the config, for an error.
        config: the file, for an error.
        template: the full expression, as PEFT builds it; `{}` stands for the received part.
        how: the function of `re` that PEFT calls.
    """

    received: str
    key: str
    config: Path
    template: str = "{}"
    how: Literal["match", "fullmatch"] = "match"

    @property
    def full(self) -> str:
        """The expression to match."""
        return self.template.replace("{}", self.received)


def matches(expression: Expression, names: Sequence[str]) -> dict[str, str | None]:
    """The names that an expression matches, each with the content of the group `index`, if there is one.

    Raises:
        RunError: it is no regular expression, or matching takes too long.
    """
    return all_matches([expression], names)[0]


def all_matches(expressions: Sequence[Expression], names: Sequence[str]) -> list[dict[str, str | None]]:
    """The names that each expression matches, as `matches`, within one time limit.

    Raises:
        RunError: one is no regular expression, there are too many, or matching takes too long.
    """
    if len(expressions) > MAX_EXPRESSIONS:
        raise _refused(f"is one of {len(expressions):,} expressions", expressions[0])
    results: list[dict[str, str | None]] = []
    slow = []
    for expression in expressions:
        if len(expression.received) > MAX_LENGTH:
            raise _refused(f"has {len(expression.received):,} characters", expression)
        try:
            match = getattr(re.compile(expression.full), expression.how)
        except (re.error, OverflowError, RecursionError) as error:
            raise _refused(f"is no regular expression ({shown(error)})", expression) from error
        is_fast = _LITERAL.fullmatch(expression.received) or expression.received in _OWN
        matched = ((name, match(name)) for name in names) if is_fast else ()
        results.append({name: one.groupdict().get("index") for name, one in matched if one})
        slow += [] if is_fast else [len(results) - 1]
    if slow:
        for place, hits in zip(slow, _matched_elsewhere([expressions[at] for at in slow], names), strict=True):
            results[place] = hits
    return results


def first_key(keys: Iterable[str], names: Sequence[str], *, key: str, config: Path) -> dict[str, str]:
    """The first key of a pattern that matches each name, as PEFT's `get_pattern_key` finds it.

    Args:
        keys: keys of `rank_pattern` or `alpha_pattern`.
        names: names of modules.
        key: the key of the config, for an error.
        config: the config, for an error.

    Returns:
        Only the names that a key matches.

    Raises:
        RunError: a key is no regular expression, or matching takes too long.
    """
    expressions = [Expression(one, f"{key}: {one[:60]}", config, r"(.*\.)?({})$") for one in keys]
    matched: dict[str, str] = {}
    for expression, hits in zip(expressions, all_matches(expressions, names) if expressions else (), strict=True):
        matched = dict.fromkeys(hits, expression.received) | matched
    return matched


def _matched_elsewhere(expressions: Sequence[Expression], names: Sequence[str]) -> list[dict[str, str | None]]:
    job = {"expressions": [[one.full, one.how] for one in expressions], "names": list(names)}
    where = expressions[0]
    try:
        process = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MATCH],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _refused(f"takes more than {SECONDS} s to match", where) from error
    if process.returncode:
        reason = next(iter(reversed(process.stderr.strip().splitlines())), "no message")[:200]
        raise _refused(f"cannot be matched ({shown(reason)})", where)
    result: list[dict[str, str | None]] = json.loads(process.stdout)
    return result


def _refused(problem: str, expression: Expression) -> RunError:
    return RunError(
        f"`{shown(expression.key)}` of the adapter's config {problem}",
        str(expression.config),
        "replace the expression by a list of the names of layers that it means",
    )
