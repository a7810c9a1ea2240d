"""The tab Data: import a data set, and see its audit."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from lowmed.api.audit import audit_file
from lowmed.data.ingest.prepared_folder import SAMPLES
from lowmed.data.sources import KNOWN
from lowmed.errors import DataError, LowmedError
from lowmed.studio import markup
from lowmed.studio.jobs import Jobs
from lowmed.studio.train_tab import job_output

KINDS = ("A known data set", "On this machine", "Upload")
TABLES = (".csv", ".tsv", ".xlsx", ".jsonl", ".json", ".parquet", ".arrow", ".zip")
LARGEST_PAGE = 32 * 2**20


def build(gradio: Any, jobs: Jobs) -> Any:
    """The components of the tab.

    Args:
        gradio: the module.
        jobs: the commands that were started.

    Returns:
        Two components, the output of the last import and its audit, and the functions that renew them.
    """
    with gradio.Row():
        with gradio.Column(scale=2, min_width=300):
            kind = gradio.Radio(KINDS, value=KINDS[0], label="Data", elem_id="data-kind")
            source = gradio.Dropdown(
                [(f"{name} - {one.about}", name) for name, one in KNOWN.items()],
                value="phantom", label="Data set", elem_id="source",
            )  # fmt: skip
            path = gradio.Textbox("", label="Local copy", placeholder="folder; empty: a generated set, or a download")
            place = gradio.Textbox(
                "", label="Folder or table", placeholder="~/data/answers.csv", visible=False, elem_id="place"
            )
            uploaded = gradio.File(
                label="A table with its images, a .zip, or DICOM files", file_count="multiple", visible=False,
                elem_id="uploaded",
            )  # fmt: skip
            out = gradio.Textbox("data/phantom", label="Folder to build", elem_id="data-out")
            with gradio.Row():
                button = gradio.Button("Import and audit", variant="primary", elem_id="import")
                stop_button = gradio.Button("Stop", variant="stop")
        with gradio.Column(scale=3, min_width=300):
            about = gradio.HTML(_about("phantom"), elem_classes="lm-html")
            message = gradio.HTML(elem_classes="lm-html", elem_id="data-message")
            output = gradio.HTML(elem_classes="lm-html", elem_id="data-output")
    audit = gradio.HTML(elem_classes="lm-html", elem_id="audit")

    def choose(chosen: str, name: str) -> tuple[Any, ...]:
        number = KINDS.index(chosen)
        shown = [gradio.update(visible=wanted) for wanted in (number == 0, number == 0, number == 1, number == 2)]
        return *shown, _about(name) if number == 0 else ""

    def start(chosen: str, name: str, copy: str, folder: str, files: list[str] | None, target: str) -> tuple[str, Any]:
        try:
            number = KINDS.index(chosen)
            built = str(Path(_required(target, "Folder to build", "data/mine")).expanduser())
            extra = ["--path", copy.strip()] if number == 0 and copy.strip() else []
            if number == 0:
                words = [name]
            elif number == 1:
                words = [str(Path(_required(folder, "Folder or table", "~/data/answers.csv")).expanduser())]
            else:
                words = [str(_together(files or []))]
            if number == 1 and _is_data_set(Path(words[0])):
                job = jobs.start("data", words[0], ["data", "audit", "--", words[0]])
            else:
                prepare = ["data", "prepare", *extra, "--out", built, "--", *words]
                job = jobs.start("data", built, prepare, ["data", "audit", "--", built])
        except LowmedError as error:
            return markup.error(error), gradio.skip()
        return "", job_output(job)

    def stop() -> str:
        job = jobs.latest(["data"])
        return markup.note("The import is being stopped." if job and job.stop() else "No import is running.")

    kind.change(choose, [kind, source], [source, path, place, uploaded, about], api_visibility="private")
    source.change(
        lambda name: (_about(name), f"data/{name}"),
        source,
        [about, out],
        api_visibility="private",
        show_progress="hidden",
    )
    fields = [kind, source, path, place, uploaded, out]
    button.click(start, fields, [message, output], api_visibility="private", concurrency_limit=1)
    stop_button.click(stop, None, message, api_visibility="private")

    def audited() -> str:
        job = jobs.latest(["data"])
        return "" if job is None or job.is_running else audit_frame(Path(job.record.about))

    return output, lambda: job_output(jobs.latest(["data"])), audit, audited


def audit_frame(folder: Path) -> str:
    """The page of an audit in a frame; "" if there is none."""
    page = audit_file(folder).with_suffix(".html")
    try:
        if page.stat().st_size > LARGEST_PAGE:
            return markup.note(f"The page of the audit is large: open {page} in a browser.")
        return markup.frame(page.read_text(encoding="utf-8"), "Audit of the data set")
    except OSError:
        return ""


def _about(name: str) -> str:
    one = KNOWN[name]
    return markup.facts(
        [
            ("size", f"{one.size}; {one.kinds}"),
            ("license", one.license),
            ("accept first", one.terms),
            ("cite", one.citation),
            ("files", one.files),
            ("local copy", one.available),
            ("page", one.url),
        ]
    )


def _required(text: str, where: str, example: str) -> str:
    if not text.strip():
        raise DataError("this is empty", where, f"e.g. {example}")
    return text.strip()


def _is_data_set(path: Path) -> bool:
    return (path / SAMPLES).is_file()


def _together(files: list[str]) -> Path:
    """Uploaded files in one folder, under their own names: the one table among them, or the folder.

    Raises:
        DataError: there are none, or two have one name.
    """
    if not files:
        raise DataError("no file is uploaded", "Upload", "choose a table with its images, a .zip, or DICOM files")
    folder = Path(tempfile.mkdtemp(dir=Path(files[0]).parent.parent))
    for file in map(Path, files):
        if (folder / file.name).exists():
            raise DataError("two uploaded files have one name", file.name, "put them into folders of a .zip")
        shutil.copyfile(file, folder / file.name)
    tables = [file for file in folder.iterdir() if file.suffix.lower() in TABLES]
    return tables[0] if len(tables) == 1 else folder
