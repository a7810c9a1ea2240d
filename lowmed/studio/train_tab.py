"""The tab Train: choose a recipe, see what it means, costs and needs, and start it."""

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lowmed.api.recipes import list_recipes
from lowmed.errors import LowmedError, RecipeError
from lowmed.recipe.io import load_recipe
from lowmed.report.run_details import flat
from lowmed.run import require_new_run
from lowmed.studio import markup
from lowmed.studio.asking import Asking
from lowmed.studio.jobs import Job, Jobs, command_line
from lowmed.studio.running import require_no_training, running

PLAN_SECONDS = 120
DEFAULT = "rarl"


def build(gradio: Any, folder: Path, jobs: Jobs, asking: Asking) -> Any:
    """The components of the tab.

    Args:
        gradio: the module.
        folder: the folder of the runs.
        jobs: the commands that were started.
        asking: the model of the tab Ask, which is freed before training.

    Returns:
        A component with the output of the last training or check, and the function that renews it.
    """
    shipped = [(f"{name} - {one['method']}: {one['about']}", name) for name, one in list_recipes().items()]
    with gradio.Row():
        with gradio.Column(scale=2, min_width=300):
            recipe = gradio.Dropdown(
                shipped, value=DEFAULT, label="Recipe", info="a shipped one, or the path of a YAML file",
                allow_custom_value=True, elem_id="recipe",
            )  # fmt: skip
            nano = gradio.Checkbox(
                label="nano: the embedded model and generated data, without GPU and download", elem_id="nano"
            )
            data = gradio.Textbox(
                "", label="Data set", placeholder="a folder from the tab Data; empty: the data of the recipe"
            )
            overrides = gradio.Textbox(
                "",
                label="Overrides, one a line", lines=3, max_lines=12, placeholder="method.max_steps=200",
                elem_id="overrides",
            )  # fmt: skip
            name = gradio.Textbox("", label="Name of the run", placeholder="time and recipe", elem_id="run-name")
        with gradio.Column(scale=3, min_width=300):
            meaning = gradio.HTML(elem_classes="lm-html", elem_id="meaning")
            command = gradio.Textbox(
                "",
                label="The same on the command line", interactive=False, lines=2, max_lines=8, buttons=["copy"],
                elem_id="command",
            )  # fmt: skip
            with gradio.Row():
                plan_button = gradio.Button("What does it cost?", elem_id="plan")
                check_button = gradio.Button("Check", elem_id="check")
                start_button = gradio.Button("Start training", variant="primary", elem_id="start")
            message = gradio.HTML(elem_classes="lm-html", elem_id="train-message")
            costs = gradio.HTML(elem_classes="lm-html", elem_id="costs")
            output = gradio.HTML(elem_classes="lm-html", elem_id="train-output")

    def words(recipe_name: str, is_nano: bool, data_folder: str, lines: str) -> list[str]:
        return ["--recipe", (recipe_name or "").strip(), *(["--nano"] if is_nano else []), *_keys(data_folder, lines)]

    def run_folder(recipe_name: str, is_nano: bool, run_name: str) -> Path:
        stem = Path(recipe_name).stem + ("-nano" if is_nano else "")
        return folder / (run_name.strip() or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{stem}")

    def explain(recipe_name: str, is_nano: bool, data_folder: str, lines: str, run_name: str) -> tuple[str, str]:
        try:
            own = load_recipe(recipe_name, nano=is_nano)
            changed = load_recipe(recipe_name, _keys(data_folder, lines), nano=is_nano)
        except LowmedError as error:
            return markup.error(error), ""
        first, second = (flat(one.model_dump(mode="json")) for one in (own, changed))
        keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
        differing = [(key, f"{second.get(key)} (the recipe has {first.get(key)})") for key in keys]
        steps = changed.method.max_steps if changed.steps_are_known else "as many as its epochs have"
        about = [("about", changed.about), ("method", f"{changed.method.kind}, steps: {steps}")]
        about += [("model", changed.model.name), ("data", changed.data.location)]
        title = "<h4>Changed keys</h4>" if differing else ""
        out = run_folder(recipe_name, is_nano, run_name) if run_name.strip() else folder / "NAME"
        line = command_line([changed.method.kind, *words(recipe_name, is_nano, data_folder, lines), "--out", str(out)])
        return markup.facts(about) + title + markup.facts(differing), line

    def plan(recipe_name: str, is_nano: bool, data_folder: str, lines: str) -> str:
        arguments = ["plan", *words(recipe_name, is_nano, data_folder, lines)]
        return markup.block(_output(arguments), title="What it costs: lowmed plan", scroll=False)

    def check(recipe_name: str, is_nano: bool, data_folder: str, lines: str) -> tuple[str, str]:
        try:
            job = jobs.start("check", recipe_name, ["check", *words(recipe_name, is_nano, data_folder, lines)])
        except LowmedError as error:
            return markup.error(error), gradio.skip()
        return "", shown(job)

    def start(recipe_name: str, is_nano: bool, data_folder: str, lines: str, run_name: str) -> tuple[str, Any, Any]:
        try:
            recipe = load_recipe(recipe_name, _keys(data_folder, lines), nano=is_nano)
            out = run_folder(recipe_name, is_nano, run_name)
            if out.parent != folder or out.name.startswith("."):
                raise RecipeError(
                    "the name of a run is not a path", run_name, "name it without / and without a dot first"
                )
            require_new_run(out)
            arguments = [recipe.method.kind, *words(recipe_name, is_nano, data_folder, lines), "--out", str(out)]
            require_no_training(folder, jobs)  # before the model of another tab is freed
            with asking.free():
                job = jobs.start("train", str(out), arguments, require=lambda: require_no_training(folder, jobs))
        except LowmedError as error:
            return markup.error(error), gradio.skip(), gradio.skip()
        return markup.note(f"Training started: {out}. The tab Runs shows it."), shown(job), ""

    def shown(job: Job | None = None) -> str:
        return job_output(job or jobs.latest(["train", "check"]))

    fields = [recipe, nano, data, overrides]
    explained: dict[str, Any] = {"outputs": [meaning, command], "show_progress": "hidden", "api_visibility": "private"}
    for field in (*fields, name):
        field.change(explain, [*fields, name], trigger_mode="always_last", **explained)
    plan_button.click(plan, fields, costs, api_visibility="private")
    check_button.click(check, fields, [message, output], api_visibility="private")
    start_button.click(start, [*fields, name], [message, output, name], api_visibility="private", concurrency_limit=1)

    def warn() -> str:
        now = running(folder, jobs)
        return markup.note(f"A training is running: {now}. Only one runs at a time.") if now else ""

    meaning.value, command.value = explain(DEFAULT, False, "", "", "")  # what a page that has just been loaded shows
    return [([], warn, [message])], output, shown


def job_output(job: Job | None) -> str:
    """What a job has printed, and whether it still runs; "" without a job."""
    if job is None:
        return ""
    code = job.exit_code
    state = "running" if job.is_running else "ended" if code is None else "done" if code == 0 else f"exit code {code}"
    return markup.block(f"$ {job.record.command}\n{job.output()}", title=f"{job.record.about}: {state}")


def _keys(data_folder: str, lines: str) -> list[str]:
    """The overrides, with those of a data set first."""
    own = [line.strip() for line in (lines or "").splitlines() if line.strip()]
    for line in own:
        if line.startswith("-"):
            raise RecipeError("an override is not an option", line, "write key=value, one a line")
    place = (data_folder or "").strip()
    return [*(["data.source=folder", f"data.path={place}"] if place else []), *own]


def _output(arguments: Sequence[str]) -> str:
    """What a short command prints. It is a process of its own, so that the GPU's driver is not loaded in this one."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "lowmed", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=PLAN_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no result within {PLAN_SECONDS} s"
    return done.stdout.decode(errors="replace")
