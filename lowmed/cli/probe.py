"""`lowmed probe`: is RL worth it, SFT first, or neither; before a GPU is paid for."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lowmed.cli import options
from lowmed.cli.progress import progress, say
from lowmed.evaluate.probe import SUPPORT

Target = Annotated[str, typer.Argument(metavar="RUN_OR_MODEL", help="A run, `nano`, a hub id or a model folder.")]
On = Annotated[str | None, typer.Option("--on", help="Data source whose training questions are probed.")]
PathTo = Annotated[str | None, typer.Option("--path", help="Local copy of the source.")]
Questions = Annotated[int, typer.Option("--questions", min=1, help="The first so many training questions.")]
Samples = Annotated[int, typer.Option("--samples", min=2, max=64, help="Replies per question, with and without image.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0.01, help="Of the sampled replies.")]
Support = Annotated[float, typer.Option("--support", min=0, max=1, help="Share of questions that RL needs supported.")]
Out = Annotated[str | None, typer.Option("--out", help="Folder for replies, probe.json and difficulty.jsonl.")]


def probe(
    target: Target,
    on: On = None,
    path: PathTo = None,
    questions: Questions = 200,
    samples: Samples = 16,
    temperature: Temperature = 1.0,
    support: Support = SUPPORT,
    out: Out = None,
    as_json: options.Json = False,
) -> None:
    """Decide before RL is paid for: can the model already reach right answers, by looking, in several tries?

    \b
    lowmed probe nano --on phantom
    lowmed probe Qwen/Qwen2-VL-2B-Instruct --on vqa-rad --path ~/vqa-rad --questions 500
    lowmed probe runs/20260101-rarl-sft                        an SFT run, on the questions it was trained on

    Asks training questions, so that no test question decides anything. A question counts as supported where more of its
    replies are right than guessing and the model without the image explain. difficulty.jsonl holds the pass counts.
    Ends with 0 where the verdict is RL, with 1 where it is not.
    """
    from lowmed.cli.evaluate import ready
    from lowmed.evaluate import collect, difficulty, store
    from lowmed.evaluate.controls import REAL, SAMPLED, SAMPLED_BLIND, Condition
    from lowmed.evaluate.measure import scored
    from lowmed.evaluate.probe import probe as judge
    from lowmed.evaluate.report import settings
    from lowmed.evaluate.subject import SEEN, subject, training_questions
    from lowmed.run import FOLDER, write_json

    who = subject(target)
    division, seen = training_questions(who, on, path, questions)
    [(name, adapter)] = who.adapters.items()
    asked = settings(
        who.model,
        who.family,
        division,
        max_new_tokens=who.eval.max_new_tokens,
        seen=SEEN if seen else "",
    )
    default = who.run.folder / "probes" if who.run else Path(FOLDER) / f"probe-{Path(target).name}"
    folder = Path(out) if out else Path(f"{default}-{division.source}")
    store.open_folder(folder, {**asked, "temperature": temperature})
    real = Condition(REAL, "train", division.held_out["train"], division.open_image)
    tries = Condition(SAMPLED, "train", real.samples, real.open_image, samples, temperature)
    work = [real, tries, collect.sampled_blind(real, samples, temperature)]
    with progress("probe", collect.total(work)) as advance:
        made = partial(ready, who, adapter, who.eval.max_new_tokens, None)
        collect.collect(folder, name, work, made, train=(), advance=advance)
    rows = {each: scored(store.read(store.path(folder, name, each))) for each in (REAL, SAMPLED, SAMPLED_BLIND)}
    found = {**asked, "temperature": temperature, **judge(*rows.values(), support=support)}
    write_json(folder / "probe.json", found)
    difficulty.write(folder / difficulty.FILE, rows[SAMPLED])
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        from lowmed.report import probe_table

        probe_table.show(found)
        say(f"\nprobe.json and {difficulty.FILE}  {folder}")
    raise typer.Exit(0 if found["all"]["verdict"] == "RL" else 1)
