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

from lowmed.errors import RunError
from lowmed.models import FAMILIES

SECONDS = 5
MAX_LENGTH = 100_000  # characters of one expression; unsloth writes about a thousand
_LITERAL = re.compile(r"[\w.^$\\-]*")
_OWN = frozenset(family.lora_pattern for family in FAMILIES.values())
_MATCH = """
import json, re, sys
job = json.load(sys.stdin)
compiled = re.compile(job["expression"])
match = getattr(compiled, job["how"])
matched = ((name, match(name)) for name in job["names"])
json.dump({name: one.groupdict().get("index") for name, one in matched if one}, sys.stdout)
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
    received = expression.received
    if len(received) > MAX_LENGTH:
        raise _refused(f"has {len(received):,} characters", expression)
    if not _LITERAL.fullmatch(received) and received not in _OWN:
        return _matched_elsewhere(expression, names)
    try:
        match = getattr(re.compile(expression.full), expression.how)
    except re.error as error:
        raise _refused(f"is no regular expression ({error})", expression) from error
    matched = ((name, match(name)) for name in names)
    return {name: one.groupdict().get("index") for name, one in matched if one}


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
    matched: dict[str, str] = {}
    for pattern in keys:
        expression = Expression(pattern, f"{key}: {pattern[:60]}", config, r"(.*\.)?({})$")
        matched |= dict.fromkeys(matches(expression, [name for name in names if name not in matched]), pattern)
    return matched


def _matched_elsewhere(expression: Expression, names: Sequence[str]) -> dict[str, str | None]:
    job = json.dumps({"expression": expression.full, "names": list(names), "how": expression.how})
    try:
        process = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MATCH],
            input=job,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _refused(f"takes more than {SECONDS} s to match", expression) from error
    if process.returncode:
        reason = next(iter(reversed(process.stderr.strip().splitlines())), "no message")[:200]
        raise _refused(f"is no regular expression ({reason})", expression)
    result: dict[str, str | None] = json.loads(process.stdout)
    return result


def _refused(problem: str, expression: Expression) -> RunError:
    return RunError(
        f"`{expression.key}` of the adapter's config {problem}",
        str(expression.config),
        "replace the expression by a list of the names of layers that it means",
    )
