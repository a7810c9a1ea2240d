"""The Typer application's group of commands, and usage errors in the three lines of every other error."""

import difflib
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from lowmed.cli.train import HELP as METHODS
from lowmed.errors import LowmedError

UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer does not export its name

# Headings of `lowmed --help`, with the commands below each. Each training method has a command.
SECTIONS = {
    "Before training": ("demo", "doctor", "inspect", "data", "recipes", "rewards", "check", "plan", "probe"),
    "Training": (*METHODS, "bridge", "study", "runs"),
    "Evaluation": ("eval", "score", "compare", "judge", "report"),
    "Using the result": ("verify", "merge", "export", "ask", "chat", "serve", "studio"),
}
# Commands that people bring from other tools -> what to use here.
OTHER_COMMANDS = {
    "train": "`lowmed sft` or `lowmed grpo`",
    "finetune": "`lowmed sft` or `lowmed grpo`",
    "rl": "`lowmed grpo`",
    "ppo": "`lowmed grpo`",
    "orpo": "`lowmed dpo`",
    "evaluate": "`lowmed eval`",
    "test": "`lowmed eval`",
    "infer": "`lowmed ask` or `lowmed chat`",
    "predict": "`lowmed ask`",
    "generate": "`lowmed ask`",
    "push": "`lowmed export RUN --to hub`",
    "upload": "`lowmed export RUN --to hub`",
    "gguf": "`lowmed export RUN --to gguf`",
    "list": "`lowmed runs`",
    "ls": "`lowmed runs`",
    "status": "`lowmed runs`",
    "rm": "`lowmed runs rm`",
    "prune": "`lowmed runs prune`",
    "estimate": "`lowmed plan`",
    "info": "`lowmed doctor`",
    "prepare": "`lowmed data prepare`",
    "audit": "`lowmed data audit`",
    "distil": "`lowmed data distil`",
    "distill": "`lowmed data distil`",
}


# How Typer names a type -> plain words.
TYPE_NAMES = {"int range": "an integer", "int": "an integer", "float range": "a number", "float": "a number"}


class CommandGroups(TyperGroup):
    """Lists the commands below headings, one line each."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one definition list a heading."""
        for heading, names in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(limit=100)) for name in names])


def usage_error(error: Exception) -> LowmedError:
    """A mistake in how a command was called, with the edit that corrects it.

    Args:
        error: a `UsageError` of Typer.
    """
    context: Any = getattr(error, "ctx", None)
    command = context.command_path if context else _called(sys.argv)  # Typer leaves it out where a value is missing
    message = error.format_message().rstrip(".")  # type: ignore[attr-defined]
    option = getattr(error, "option_name", None)
    if context and option:
        return _unknown_option(option, command, _options(context))
    if message.startswith("No such command"):
        word = message.split("'")[1]
        return _unknown_command(word, command, list(context.command.commands))
    parameter = getattr(error, "param", None)
    options = [name for name in parameter.opts if name.startswith("-")] if parameter else [option] if option else []
    if message.startswith("Invalid value for"):
        message = message.partition(": ")[2].removeprefix("Value error, ") or message
        for words, plain in TYPE_NAMES.items():
            message = message.replace(f"not a valid {words}", f"not {plain}")
    what = message[0].lower() + message[1:]
    return LowmedError(what, " / ".join(options) or command, f"`{command} --help` shows what is expected")


def _unknown_option(option: str, command: str, known: Sequence[str]) -> LowmedError:
    from lowmed.recipe import Recipe

    key = option.lstrip("-").replace("-", "_")
    close = difflib.get_close_matches(option, known, n=1, cutoff=0.75)
    if close:
        fix = f"did you mean `{close[0]}`?"
    elif "--recipe" in known and key.split(".")[0] in Recipe.model_fields:
        fix = f"recipe keys have no dashes: write `{key}=VALUE`"
    elif "--recipe" in known:
        fix = f"write recipe keys as key=value, see `lowmed recipes schema`; `{command} --help` lists the options"
    else:
        fix = f"`{command} --help` lists the options"
    return LowmedError(f"`{command}` has no option `{option}`", option, fix)


def _unknown_command(word: str, command: str, known: Sequence[str]) -> LowmedError:
    close = difflib.get_close_matches(word, known, n=1)
    if command == "lowmed" and word in OTHER_COMMANDS:
        fix = f"use {OTHER_COMMANDS[word]}"
    elif close:
        fix = f"did you mean `{command} {close[0]}`?"
    else:
        fix = f"`{command} --help` lists the commands"
    return LowmedError(f"`{command}` has no command `{word}`", command, fix)


def _called(arguments: Sequence[str]) -> str:
    """The command that was called, as far as its words name one."""
    known = {name for names in SECTIONS.values() for name in names}
    return " ".join(["lowmed", *(word for word in arguments[1:2] if word in known)])


def _options(context: Any) -> list[str]:
    return [name for parameter in context.command.params for name in parameter.opts if name.startswith("-")]
