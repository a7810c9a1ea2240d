"""`--help` lists commands below headings, one line each, and a wrong call gets the three lines of every other error."""

import re
import subprocess
import sys

import pytest
from conftest import Lowmed

from lowmed.cli import app
from lowmed.cli.app import OTHER_COMMANDS, SECTIONS
from lowmed.cli.train import HELP
from lowmed.methods import METHODS


def test_every_command_has_a_heading_and_a_summary_of_one_line(lowmed: Lowmed) -> None:
    shown = lowmed("--help").stdout
    names = [name for section in SECTIONS.values() for name in section]
    registered = [command.name for command in app.registered_commands] + [group.name for group in app.registered_groups]
    assert sorted(names) == sorted(name for name in registered if name)
    for name in names:
        summary = re.search(rf"^  {name} +(\S.*)$", shown, re.MULTILINE)
        assert summary, name
        assert not summary[1].endswith("..."), name
    listed = [line for line in shown.split("Before training:")[1].splitlines() if line.strip()]
    assert len(listed) == len(names) + len(SECTIONS) - 1, "a summary takes more than one line"


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["train"], "`lowmed` has no command `train`", "use `lowmed sft` or `lowmed grpo`"),
        (["grpp"], "`lowmed` has no command `grpp`", "did you mean `lowmed grpo`?"),
        (["data", "prepar"], "`lowmed data` has no command `prepar`", "did you mean `lowmed data prepare`?"),
        (["frobnicate"], "`lowmed` has no command `frobnicate`", "`lowmed --help` lists the commands"),
        (["grpo", "--seed", "3"], "`lowmed grpo` has no option `--seed`", "write `seed=VALUE`"),
        (["grpo", "--learning-rate", "1"], "has no option `--learning-rate`", "write recipe keys as key=value"),
        (["eval", "--sample", "3"], "`lowmed eval` has no option `--sample`", "did you mean `--samples`?"),
        (["eval", "nano", "--samples", "many"], "integer", "`lowmed eval --help`"),
        (["eval", "nano", "--samples"], "requires an argument", "`lowmed eval --help`"),
        (["compare", "a"], "missing argument", "`lowmed compare --help`"),
        (["plan", "--recipe", "rarl", "--gib", "-1"], "0.1", "`lowmed plan --help`"),
    ],
)
def test_a_wrong_call_is_three_lines_and_exit_code_2(arguments: list[str], what: str, fix: str, lowmed: Lowmed) -> None:
    process = lowmed(*arguments)
    assert process.returncode == 2
    assert process.stdout == ""
    first, where, last = process.stderr.splitlines()
    assert first.startswith("error: ")
    assert what in first
    assert where.startswith("  where  ")
    assert last.startswith("  fix    ")
    assert fix in last


def test_every_training_method_has_a_command() -> None:
    assert set(HELP) == set(METHODS)


def test_commands_of_other_tools_point_to_existing_ones() -> None:
    names = {name for section in SECTIONS.values() for name in section}
    for word, instead in OTHER_COMMANDS.items():
        assert word not in names
        assert set(re.findall(r"`lowmed (\w+)", instead)) <= names


def test_the_shell_completes_commands(lowmed: Lowmed) -> None:
    words = {"_LOWMED_COMPLETE": "complete_bash", "COMP_WORDS": "lowmed gr", "COMP_CWORD": "1"}
    assert lowmed(**words).stdout.split() == ["grpo"]


def test_help_loads_no_pydantic() -> None:
    code = "import sys, lowmed.cli; print('pydantic' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
