"""`lowmed rewards`: list and describe the rewards, and check those of a recipe."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowmed.cli import options

if TYPE_CHECKING:
    from lowmed.rewards.check import RewardsReport
    from lowmed.rewards.search import SearchReport

SHOWN_CHARACTERS = 160

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, describe, check, calibrate and trust rewards.",
)


@app.command("list")
def list_rewards(as_json: options.Json = False) -> None:
    """List the rewards, one line each.

    \b
    lowmed rewards list
    """
    from lowmed.api import rewards

    infos = rewards.list_rewards()
    if as_json:
        print(json.dumps({"format": 1, "rewards": [info.as_json() for info in infos]}, indent=2, ensure_ascii=False))
        return
    for info in infos:
        print(f"{info.name:<17} {info.summary}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A reward of `lowmed rewards list`.")],
    as_json: options.Json = False,
) -> None:
    """Show what a reward pays, its source, its needs and its options.

    \b
    lowmed rewards show consistency
    """
    from lowmed.api import rewards

    info = rewards.describe_reward(name)
    if as_json:
        print(json.dumps(info.as_json(), indent=2, ensure_ascii=False))
        return
    print(f"{name}\n\n{info.description}\n")
    if info.needs:
        print(f"  needs: {', '.join(info.needs)}")
    for option in info.options:
        print(f"  {option.name}: {option.takes}; default {json.dumps(option.default)}")


@app.command()
def check(
    overrides: options.Overrides = None,
    recipe_name: options.Recipe = None,
    nano: options.Nano = False,
    as_json: options.Json = False,
) -> None:
    """Check a recipe's rewards on gold answers, hacks and a search.

    \b
    lowmed rewards check --recipe rarl --nano
    lowmed rewards check --recipe mine.yaml data.path=~/vqa-rad

    Exit 1: a gold answer earns less than it should, a hack earns more than an honest wrong answer, a text written
    without the image earns more than half of an honest completion, or the search finds a wrong answer that earns as
    much as a right one.
    """
    from lowmed.api.rewards import check_rewards
    from lowmed.recipe.io import load_recipe

    report = check_rewards(load_recipe(options.require_recipe(recipe_name), overrides or [], nano=nano))
    if as_json:
        print(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    else:
        print("\n".join([*check_lines(report), *(f"fails    {failure}" for failure in report.failures)]))
        held = "the rewards hold, except that they pay length" if report.pay_length else "the rewards hold"
        print(held if report.passed else "the rewards do not hold")
    if not report.passed:
        raise typer.Exit(1)


Model = Annotated[str, typer.Option("--model", help="Folder or hub id of a sentence-transformers model.")]
Out = Annotated[Path, typer.Option("--out", help="File to write; the option `calibration` of a reward names it.")]


@app.command()
def calibrate(
    model: Model,
    out: Out,
    overrides: options.Overrides = None,
    recipe_name: options.Recipe = None,
    nano: options.Nano = False,
    as_json: options.Json = False,
) -> None:
    """Calibrate an embedding model on a recipe's gold answers.

    \b
    lowmed rewards calibrate --recipe mine.yaml --model ./MedEmbed-large --out medembed.json

    Exit 1: the model does not separate different answers well enough.
    """
    from lowmed.api.rewards import calibrate_embedding
    from lowmed.recipe.io import load_recipe

    result = calibrate_embedding(
        load_recipe(options.require_recipe(recipe_name), overrides or [], nano=nano), model, out
    )
    if as_json:
        print(json.dumps(result.as_json(), indent=2))
    else:
        print(
            f"pairs      {result.pairs} of different gold answers, {result.pairs_of_one_question} to the same question"
        )
        print(f"unrelated  cosine {result.unrelated:.3f}, the median of the pairs")
        print(f"threshold  cosine {result.threshold:.3f}, the 99 % quantile of the pairs")
        print(f"accepted   {result.accepted:.0%} of rephrased gold answers reach the threshold")
        print(f"written to {out}" + ("" if result.usable else ", although the model is not usable as a reward"))
    if not result.usable:
        raise typer.Exit(1)


@app.command()
def trust(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Python file with rewards, FILE.py.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Allow a Python file to run as a reward on this machine.

    \b
    lowmed rewards trust mine.py
    lowmed rewards trust mine.py --yes

    Read the file first: it runs with all of your rights. The modules of its folder that it imports are listed and
    allowed too. Every command refuses a file that was not allowed, or that has changed since. Digests and paths are
    stored in ~/.config/lowmed/trusted_rewards.jsonl.
    """
    from lowmed.api import rewards
    from lowmed.errors import SetupError

    code = rewards.reward_code(file)
    paths = [
        "".join(character if character.isprintable() else "?" for character in str(one.path.resolve()))
        for one in code.files
    ]
    for read, path, label in zip(code.files, paths, ["file", *["imports"] * len(code.modules)], strict=True):
        typer.echo(f"{label:7} {path}\nsize    {len(read.content):,} bytes\nSHA-256 {read.digest}", err=True)
    them, they = ("these files", "they") if code.modules else ("the file", "it")
    if not yes and not sys.stdin.isatty():
        raise SetupError("nothing was allowed: there is no terminal to ask on", paths[0], "add --yes")
    if not yes:
        typer.confirm(f"Did you read {them}, and may {they} run on this machine?", abort=True, err=True)
    rewards.trust_reward(code)
    typer.echo("trusted until the content changes", err=True)


def _search_lines(report: "SearchReport") -> Iterable[str]:
    yield f"search   {report.tried} texts tried"
    if wrong := report.wrong_answer:
        yield (
            f"         the best wrong answer earns {wrong.paid:.2f}; an honest wrong one {wrong.honest_wrong:.2f}, the"
            f" right one {wrong.honest_right:.2f} ({', '.join(wrong.changes)})"
        )
        yield f"         {_shortened(wrong.text)}"
    for mutated in report.mutated:
        paid = ", ".join(f"{name} {value:.2f}" for name, value in mutated.paid.items())
        yield f"         `{mutated.reward}` of the gold reasoning {mutated.gold:.2f}; {paid}"
    for constant in report.constants:
        if constant.result.paid:
            yield (
                f"         one reasoning for all rows earns {constant.result.paid:.2f} of `{constant.reward}`, an"
                f" honest one {constant.result.honest:.2f}"
            )
            yield f"         {_shortened(constant.text)}"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}..."


def check_lines(report: "RewardsReport") -> list[str]:
    """The report of `lowmed rewards check` as lines, without its failures."""
    lines = []
    for result in report.gold:
        full = f"{result.completions - result.abstained - result.below_full} of {result.completions}"
        abstained = f", {result.abstained} abstained" if result.abstained else ""
        gate = ", gate" if result.gate else ""
        lines.append(f"reward   {result.reward} x {result.weight:g}{gate}: {full} gold completions earn 1{abstained}")
        if not result.pays_length:
            lines += [f"         {sample}: {why}" for sample, why in result.examples]
    for blind in report.blind:
        blind_pay = ", ".join(f"{name} {one.paid:.2f} of {one.honest:.2f}" for name, one in blind.texts.items())
        lines.append(f"blind    {blind.reward}: {blind_pay}")
    names = {result.hack for result in report.hacks}
    kinds = list(dict.fromkeys(result.kind for result in report.hacks))
    winning = {result.hack for result in report.hacks if result.wins}
    outcome = f"{len(winning)} earn" if winning else "none earns"
    lines.append(
        f"hacks    {len(names)} tried on {', '.join(kinds)} questions: {outcome} more than an honest wrong answer"
    )
    if report.pay_length:
        paid = sorted({result.hack for result in report.hacks if result.wins_with_length and not result.wins})
        rewards = ", ".join(f"`{name}`" for name in report.pay_length)
        lines.append(f"known    {rewards} pays length by design, so these hacks pay too: {', '.join(paid) or 'none'}")
    if report.in_group:
        assumed = ", ".join(f"`{name}`" for name in report.in_group)
        lines.append(f"assumed  {assumed}: each text among 7 right completions, with the best possible measurement")
    if report.search:
        lines += _search_lines(report.search)
    return lines
