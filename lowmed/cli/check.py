"""`lowmed check`: everything about a run that can be checked before GPU time is spent."""

import json
from typing import TYPE_CHECKING

import typer

from lowmed.cli import options
from lowmed.cli.progress import progress

if TYPE_CHECKING:
    from lowmed.api.check import CheckReport


def check(
    overrides: options.Overrides = None,
    recipe_name: options.Recipe = None,
    nano: options.Nano = False,
    processes: options.Processes = 1,
    as_json: options.Json = False,
) -> None:
    """Check a recipe, its data and its rewards, without a GPU.

    \b
    lowmed check --recipe rarl --nano
    lowmed check --recipe rl-plain data.source=vqa-rad data.path=~/vqa-rad

    Exit 2: training would refuse the recipe or its data. Exit 1: the rewards do not hold.
    """
    from lowmed.api import check as api
    from lowmed.recipe.io import load_recipe

    name = options.require_recipe(recipe_name)
    report = api.check(load_recipe(name, overrides or [], nano=nano), processes=processes, progress=progress)
    if as_json:
        print(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    else:
        _print(name, report)
    if not report.passed:
        raise typer.Exit(1)


def _print(name: str, report: "CheckReport") -> None:
    from lowmed.cli.rewards import check_lines

    print(f"recipe   {name}: valid, digest {report.recipe_digest}")
    _print_lines("data", report.data)
    _print_lines("split", report.split)
    _print_lines("draws", report.draws)
    _print_lines("WARNING", report.start)
    _print_lines("dev", report.dev)
    _print_lines("allowed", tuple(map(str, report.abstaining)))
    _print_lines("filter", report.difficulty)
    _print_lines("trained", report.preferences)
    _print_lines("SFT", report.explanations)
    _print_lines("too long", report.lengths)
    images = report.images
    print(f"images   {images.opened} opened, at most {images.most_tokens} tokens of {images.budget} each")
    _print_lines("memory", report.memory)
    if report.rewards:
        if report.gold_drawn_from:
            drawn = report.rewards.gold[0].completions
            print(f"gold     {drawn:,} of {report.gold_drawn_from:,} training questions, drawn at random")
        print("\n".join(check_lines(report.rewards)))
        allowed = {abstention.reward for abstention in report.abstaining}
        for gold in report.rewards.gold:
            if gold.abstained == gold.completions > 0 and gold.reward not in allowed:
                print(f"note     `{gold.reward}` applies here; it scores what only sampled completions have")
        _print_lines("fails", report.rewards.failures)
    print("not checked: " + "; ".join(report.not_checked))
    print(report.verdict)


def _print_lines(label: str, lines: "list[str] | tuple[str, ...]") -> None:
    if lines:
        print(f"{label:<9}" + "\n         ".join(lines))
