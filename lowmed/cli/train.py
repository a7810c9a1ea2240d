"""`lowmed sft`, `lowmed grpo`, `lowmed dpo`, `lowmed kto`: one command per training method."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from lowmed.cli import launch, options
from lowmed.cli.progress import be_quiet, info, progress

if TYPE_CHECKING:
    from lowmed.run import Run

Out = Annotated[str | None, typer.Option("--out", help="Run directory; default runs/<time>-<recipe>.")]
Resume = Annotated[
    str | None,
    typer.Option("--resume", help="Resume this run; `auto` = the newest unfinished one, or the one in --out."),
]
MaxMinutes = Annotated[
    float | None, typer.Option("--max-minutes", min=0.0, help="Stop with a checkpoint this many minutes from now.")
]
AllowChangedData = Annotated[
    bool,
    typer.Option("--allow-changed-data", help="Resume although the data have changed; every later table states it."),
]

# Method -> help text of its command. The first line is the summary in `lowmed --help`.
HELP = {
    "sft": """Train an adapter on reference completions.

    \b
    lowmed sft --recipe rarl-sft                               on a CUDA GPU
    lowmed sft --recipe rarl-sft --nano                        no GPU, no download, minutes
    lowmed sft --recipe rarl-sft data.source=folder data.path=~/my-data
    """,
    "grpo": """Train an adapter by reinforcement learning on rewards.

    GRPO samples completions, scores them with the recipe's rewards, and makes the better ones of a group more likely.

    \b
    lowmed grpo --recipe rarl                                  on a CUDA GPU
    lowmed grpo --recipe rarl --nano                           no GPU, no download, minutes
    lowmed grpo --recipe rarl lora.start=runs/20260101-rarl-sft method.max_steps=300
    lowmed grpo --recipe rl-plain data.source=vqa-rad data.path=~/vqa-rad
    lowmed grpo --resume auto --max-minutes 500                resume; stop before a session limit
    lowmed grpo --recipe rarl --out runs/r --resume auto       start it, or resume it
    lowmed grpo --recipe rarl --processes 2                    share the work between two GPUs
    lowmed grpo --resume runs/r method.max_steps=240 --out runs/r240   more steps, as a new run
    """,
    "dpo": """Train an adapter on pairs of completions: DPO, mDPO or SimPO.

    Makes the chosen completion of each pair more likely than the rejected one. mDPO also asks that the chosen one
    depends on the image.

    \b
    lowmed probe nano --on phantom --out probe                 sampled completions of training questions
    lowmed data pairs probe --out pairs.jsonl                  right and wrong ones as pairs
    lowmed dpo --recipe mdpo --nano data.pairs=pairs.jsonl     no GPU, no download, minutes
    lowmed dpo --recipe mdpo data.pairs=pairs.csv lora.start=runs/20260101-rarl-sft
    lowmed dpo --resume auto                                   resume the newest unfinished run
    """,
    "kto": """Train an adapter on completions labeled good or bad.

    For data without pairs, e.g. thumbs up or down of a clinician: each completion has its own label. KTO makes good
    ones more likely, and bad ones less.

    \b
    lowmed probe nano --on phantom --out probe                 sampled completions of training questions
    lowmed data pairs probe --unpaired --out unpaired.jsonl    right ones are good, wrong ones bad
    lowmed kto --recipe kto --nano data.unpaired=unpaired.jsonl
    lowmed kto --recipe kto data.unpaired=verdicts.csv lora.start=runs/20260101-rarl-sft
    lowmed kto --resume auto                                   resume the newest unfinished run
    """,
}


def command(kind: str) -> Callable[..., None]:
    """The command that trains by a method."""

    def train(
        overrides: options.Overrides = None,
        recipe_name: options.Recipe = None,
        nano: options.Nano = False,
        out: Out = None,
        resume: Resume = None,
        max_minutes: MaxMinutes = None,
        allow_changed_data: AllowChangedData = False,
        processes: launch.Processes = 1,
        quiet: options.Quiet = False,
    ) -> None:
        launch.share_work(processes)
        be_quiet(quiet)
        _print(kind, _run(kind, recipe_name, overrides or [], nano, out, resume, max_minutes, allow_changed_data))

    return train


def _run(
    kind: str,
    name: str | None,
    overrides: list[str],
    nano: bool,
    out: str | None,
    resume: str | None,
    max_minutes: float | None,
    allow_changed_data: bool,
) -> "Run":
    from lowmed.api import train as api
    from lowmed.api.extend import extend_training
    from lowmed.errors import RecipeError
    from lowmed.recipe.io import load_recipe
    from lowmed.run import open_run

    if allow_changed_data and not resume:
        raise RecipeError(
            "only a resumed run can have changed data", "--allow-changed-data", "add --resume RUN, or leave it out"
        )
    if resume and not (resume == "auto" and name and out):
        run = open_run(resume)
        if name or bool(overrides) != bool(out) or (nano and run.recipe.model.name != "nano"):
            raise RecipeError(
                "a resumed run keeps its recipe",
                "--resume",
                "give --resume, --max-minutes and --allow-changed-data alone; for more steps add "
                "method.max_steps=N --out NEW_RUN",
            )
        _require(kind, run.recipe.method.kind)
        if out:
            return extend_training(
                run,
                overrides,
                out,
                max_minutes=max_minutes,
                allow_changed_data=allow_changed_data,
                progress=progress,
                log=info,
            )
        return api.resume_training(
            run, max_minutes=max_minutes, allow_changed_data=allow_changed_data, progress=progress, log=info
        )
    name = options.require_recipe(name)
    recipe = load_recipe(name, overrides, nano=nano)
    _require(kind, recipe.method.kind)
    return api.train(
        recipe,
        out,
        resume=bool(resume),
        name=options.run_name(name, nano),
        max_minutes=max_minutes,
        allow_changed_data=allow_changed_data,
        progress=progress,
        log=info,
    )


def _require(kind: str, method: str) -> None:
    from lowmed.errors import RecipeError

    if method != kind:
        raise RecipeError(
            f"the recipe's method is {method}", "method.kind", f"use `lowmed {method}`, or another recipe"
        )


def _print(kind: str, run: "Run") -> None:
    record = run.record
    if record.status == "stopped":
        steps = f"{record.steps} of {run.recipe.method.max_steps}"
        info(f"stopped ({record.reason}) after step {steps}; nothing is lost")
        info(f"next    lowmed {kind} --resume {run.folder}")
        by_signal = (record.reason or "").startswith("SIG")
        raise typer.Exit(0 if record.reason == "time" else 130 if by_signal else 1)
    info(f"done    {record.seconds:.0f} s, peak {record.peak_gib:.2f} GiB, adapter in {run.adapter}")
    info(f"next    lowmed eval {run.folder} --with-base")
