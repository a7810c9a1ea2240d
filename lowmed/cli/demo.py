"""`lowmed demo`: train and evaluate the embedded model, without a GPU and without a download."""

from pathlib import Path
from typing import Annotated

import typer

from lowmed.cli import evaluate, options, train

Out = Annotated[Path, typer.Option("--out", help="Run directory; an interrupted demo in it resumes.")]


def demo(out: Out = Path("runs/demo")) -> None:
    """Train and evaluate the embedded model: no GPU, no download.

    Trains nano on generated images by GRPO, then compares base and tuned model on held-out questions. Takes some
    minutes on two cores. The same command resumes an interrupted demo.

    \b
    lowmed demo
    lowmed demo --out runs/my-demo
    """
    from lowmed.errors import RunError
    from lowmed.run import open_run

    if not (out / "run.json").exists():
        train.command("grpo")(recipe_name="rarl", nano=True, out=str(out))
    elif (run := open_run(str(out))).record.name != options.run_name("rarl", nano=True):
        raise RunError("the folder holds another run than a demo", str(out), "give another folder: --out runs/my-demo")
    elif run.record.status != "finished":
        train.command("grpo")(resume=str(out))
    evaluate.evaluate(str(out), base=True)
