"""The tab Export: merge a run, or convert it for another program, and see how the result was verified."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lowmed.errors import LowmedError, RecipeError, RunError
from lowmed.run import RECORD
from lowmed.studio import markup
from lowmed.studio.jobs import Jobs
from lowmed.studio.running import require_free_gpu
from lowmed.studio.train_tab import job_output

# No upload: the studio sends nothing to the hub.
TARGETS = {
    "merged": "a folder that transformers loads",
    "vllm": "a merged folder and an adapter for vLLM",
    "gguf": "GGUF files for llama.cpp",
    "ollama": "GGUF files with a Modelfile",
}


def build(gradio: Any, folder: Path, jobs: Jobs, free: Callable[[], Any]) -> Any:
    """The components of the tab; arguments as of `runs_tab.build`.

    Returns:
        The list of runs, a component with the output of the last export, and the function that renews it.
    """
    with gradio.Row():
        with gradio.Column(scale=2, min_width=300):
            chosen = gradio.Dropdown([], label="Finished run", elem_id="export-run")
            target = gradio.Dropdown(
                [(f"{name} - {text}", name) for name, text in TARGETS.items()], value="merged", label="To",
                elem_id="export-to",
            )  # fmt: skip
            out = gradio.Textbox("", label="Folder to create", placeholder="exports/name", elem_id="export-out")
            base = gradio.Textbox("", label="Folder of the 16-bit base", placeholder="empty: where it was")
            questions = gradio.Slider(
                0, 128, value=32, step=1, label="Held-out questions that compare adapter and merged model"
            )
            with gradio.Row():
                button = gradio.Button("Export", variant="primary", elem_id="export")
                stop_button = gradio.Button("Stop", variant="stop")
        with gradio.Column(scale=3, min_width=300):
            message = gradio.HTML(elem_classes="lm-html", elem_id="export-message")
            output = gradio.HTML(elem_classes="lm-html", elem_id="export-output")

    def start(name: str | None, to: str, place: str, base_folder: str, count: float) -> tuple[str, Any]:
        try:
            if not name or Path(name).name != name or not (folder / name / RECORD).is_file():
                raise RunError("no run is chosen", str(folder), "choose a finished run")
            if not place.strip():
                raise RecipeError("there is no output folder", "Folder to create", "name one that does not exist yet")
            extra = ["--base", base_folder.strip()] if base_folder.strip() else []
            built = str(Path(place.strip()).expanduser())
            words = ["export", str(folder / name), "--to", to, "--out", built, "--questions", str(int(count)), *extra]
            require_free_gpu(folder, jobs)
            with free():
                job = jobs.start("export", str(folder / name), words, require=lambda: require_free_gpu(folder, jobs))
        except LowmedError as error:
            return markup.error(error), gradio.skip()
        return "", job_output(job)

    def stop() -> str:
        job = jobs.latest(["export"])
        return markup.note("The export is being stopped." if job and job.stop() else "No export is running.")

    button.click(start, [chosen, target, out, base, questions], [message, output], api_visibility="private")
    stop_button.click(stop, None, message, api_visibility="private")
    return chosen, output, lambda: job_output(jobs.latest(["export"]))
