"""The tab Runs: the runs of a folder, one of them live, and what can be done with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lowmed.api import runs as api
from lowmed.api.report import report as write_report
from lowmed.api.report import report_runs
from lowmed.errors import LowmedError, RunError
from lowmed.run import RECORD, Run
from lowmed.studio import markup, run_view
from lowmed.studio import running as processes
from lowmed.studio.jobs import Jobs
from lowmed.studio.train_tab import job_output

REMOVALS = {"prune": "Remove the checkpoints", "rm": "Remove the run"}


def build(gradio: Any, folder: Path, jobs: Jobs, free: Callable[[], Any]) -> Any:
    """The components of the tab.

    Args:
        gradio: the module.
        folder: the folder of the runs.
        jobs: the commands that were started.
        free: frees the model of the tab Ask while a command starts.

    Returns:
        The inputs, the outputs and the function of a renewal; its last output is the state that it compares.
    """
    overview = gradio.HTML(elem_classes="lm-html", elem_id="overview")
    with gradio.Row():
        chosen = gradio.Dropdown([], label="Run", elem_id="run", scale=2, min_width=280)
        other = gradio.Dropdown([], label="Compare with", elem_id="other", scale=2, min_width=280)
    with gradio.Row():
        options: dict[str, Any] = {"min_width": 110, "size": "md"}
        stop_button = gradio.Button("Stop", variant="stop", elem_id="stop", **options)
        resume_button = gradio.Button("Resume", elem_id="resume", **options)
        eval_button = gradio.Button("Evaluate", elem_id="evaluate", **options)
        report_button = gradio.Button("Report", elem_id="report", **options)
        compare_button = gradio.Button("Compare", elem_id="compare", **options)
        prune_button = gradio.Button("Prune", elem_id="prune", **options)
        remove_button = gradio.Button("Remove", elem_id="remove", **options)
    message = gradio.HTML(elem_classes="lm-html", elem_id="runs-message")
    planned = gradio.State(None)
    with gradio.Row(visible=False) as confirmation:
        confirm_button = gradio.Button("Remove this", variant="stop", elem_id="confirm")
        keep_button = gradio.Button("Keep it", elem_id="keep")
    page = gradio.HTML(elem_classes="lm-html", elem_id="report-page")
    status = gradio.HTML(elem_classes="lm-html", elem_id="status")
    drawn = gradio.HTML(elem_classes="lm-html", elem_id="curves")
    output = gradio.HTML(elem_classes="lm-html", elem_id="run-output")
    with gradio.Accordion("Last completions"):
        show_images = gradio.Checkbox(label="show images (they may be patients' images)", elem_id="show-images")
        completions = gradio.HTML(elem_classes="lm-html", elem_id="completions")
    seen = gradio.State(None)

    def renew(name: str | None, second: str | None, images: bool, before: Any) -> tuple[Any, ...]:
        try:
            rows = run_view.runs_in(folder)
        except LowmedError as error:
            return markup.error(error), *(gradio.skip() for _ in range(7))
        names = [Path(row.folder).name for row in rows if row.status not in ("other", "leftover")]
        now = next((Path(row.folder).name for row in rows if row.status == "running"), None)
        started = now and before and now not in before[0]  # a run that appears is the one that the user waits for
        current = name if name in names and not started else now or (names[0] if names else None)
        run = folder / current if current else None
        job = jobs.latest(["eval", "compare", "train"], str(run)) if run else None
        text = job_output(job)
        version = (names, rows, run and run_view.state(run), images)
        listed = gradio.Dropdown(choices=names, value=current)
        seconds = gradio.Dropdown(choices=[one for one in names if one != current], value=second)
        if run is None:
            return run_view.overview(rows, None), listed, seconds, "", "", "", "", version
        if version == before:
            skipped = [gradio.skip() for _ in range(3)]
            return *skipped, _safely(run_view.status, run), gradio.skip(), gradio.skip(), text, gradio.skip()
        return (
            run_view.overview(rows, current),
            listed,
            seconds,
            _safely(run_view.status, run),
            _safely(run_view.drawn_curves, run),
            _safely(lambda place: run_view.completions(place, images), run),
            text,
            version,
        )

    def place(name: str | None) -> Path:
        if not name or not (folder / name / RECORD).is_file() or Path(name).name != name:
            raise RunError("no run is chosen", str(folder), "choose one in the list")
        return folder / name

    def command(name: str | None, kind: Any, words: Callable[[Path], list[str]], **checks: bool) -> str:
        try:
            run = place(name)
            arguments = words(run)
            require = processes.require_no_training if checks.get("alone") else processes.require_free_gpu
            require(folder, jobs)
            with free():
                jobs.start(kind, str(run), arguments, require=lambda: require(folder, jobs))
        except LowmedError as error:
            return markup.error(error)
        return markup.note(f"Started: lowmed {' '.join(arguments)}")

    def stop(name: str | None) -> str:
        try:
            return markup.note(processes.stop(place(name)))
        except LowmedError as error:
            job = jobs.latest(["eval"], str(folder / (name or "-")))
            if job and job.is_running and job.stop():
                return markup.note("The evaluation is being stopped. Started again, it goes on where it was.")
            return markup.error(error)

    def resume(name: str | None) -> str:
        return command(name, "train", _resumed, alone=True)

    def evaluate(name: str | None) -> str:
        return command(name, "eval", lambda run: ["eval", str(run), *(["--with-base"])])

    def report(name: str | None, images: bool) -> tuple[str, str]:
        try:
            written = write_report(place(name), with_images=images)
            html = written.page.read_text(encoding="utf-8")
        except LowmedError as error:
            return markup.error(error), ""
        return markup.note(f"Written: {written.page}"), markup.frame(html, "Report of the run")

    def compare(name: str | None, second: str | None) -> tuple[str, str]:
        try:
            if not second:
                raise RunError("a comparison needs two runs", "Compare with", "choose the second run")
            file = report_runs([place(name), place(second)])
            html = file.read_text(encoding="utf-8")
        except LowmedError as error:
            return markup.error(error), ""
        return markup.note(f"Written: {file}"), markup.frame(html, "Comparison of two runs")

    def ask(name: str | None, what: str) -> tuple[str, Any, Any]:
        try:
            plans = _planned(place(name), what)
        except LowmedError as error:
            return markup.error(error), None, gradio.Row(visible=False)
        if not plans:
            return markup.note("There is nothing to remove."), None, gradio.Row(visible=False)
        lines = "; ".join(f"{plan.path}, {plan.bytes / 2**20:.1f} MiB, {plan.status}" for plan in plans)
        return markup.note(f"{REMOVALS[what]}? {lines}"), (name, what), gradio.Row(visible=True)

    def confirm(about: tuple[str, str] | None) -> tuple[str, Any, Any]:
        hidden = gradio.Row(visible=False)
        if about is None:
            return "", None, hidden
        try:
            removed = api.perform(_planned(place(about[0]), about[1]))
        except LowmedError as error:
            return markup.error(error), None, hidden
        return markup.note("Removed: " + ", ".join(str(plan.path) for plan in removed)), None, hidden

    private: dict[str, Any] = {"api_visibility": "private"}
    stop_button.click(stop, chosen, message, **private)
    resume_button.click(resume, chosen, message, **private)
    eval_button.click(evaluate, chosen, message, **private)
    report_button.click(report, [chosen, show_images], [message, page], **private)
    compare_button.click(compare, [chosen, other], [message, page], **private)
    prune_button.click(lambda name: ask(name, "prune"), chosen, [message, planned, confirmation], **private)
    remove_button.click(lambda name: ask(name, "rm"), chosen, [message, planned, confirmation], **private)
    confirm_button.click(confirm, planned, [message, planned, confirmation], **private)
    keep_button.click(lambda: ("", None, gradio.Row(visible=False)), None, [message, planned, confirmation], **private)
    inputs = [chosen, other, show_images, seen]
    outputs = [overview, chosen, other, status, drawn, completions, output, seen]
    chosen.input(
        lambda: ("", "", None, gradio.Row(visible=False)), None, [message, page, planned, confirmation], **private
    )
    for field in (chosen, show_images):
        field.input(renew, inputs, outputs, show_progress="hidden", **private)
    return inputs, renew, outputs


def _planned(run: Path, what: str) -> Any:
    return api.prunable([run])[0] if what == "prune" else api.removable([run])


def _resumed(run: Path) -> list[str]:
    if Run(run).record.status == "finished":
        raise RunError("the run is finished", str(run), "evaluate it, or start another one")
    return [Run(run).recipe.method.kind, "--resume", str(run)]


def _safely(view: Callable[[Path], str], run: Path) -> str:
    """A part of the view, or the error that takes its place; a run may be removed meanwhile."""
    try:
        return view(run)
    except LowmedError as error:
        return markup.error(error)
