"""The page of `lowmed studio`: tabs in the order of the work. All that it shows comes from files."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lowmed.errors import LowmedError
from lowmed.studio import ask_tab, data_tab, export_tab, markup, run_view, runs_tab, train_tab
from lowmed.studio.asking import Asking
from lowmed.studio.jobs import Jobs
from lowmed.studio.running import require_free_gpu
from lowmed.studio.server import NOTICE

SECONDS = 2.0  # between two renewals


def build_studio(folder: Path, gradio: Any) -> Any:
    """The page of a folder of runs."""
    jobs, asking = Jobs(folder), Asking()
    with gradio.Blocks(title="lowmed studio", analytics_enabled=False) as page:
        _title(gradio, "lowmed studio", f"Runs in {folder}. {NOTICE}")
        with gradio.Tabs():
            with gradio.Tab("Data"):
                imported, show_imported, audit, show_audit = data_tab.build(gradio, jobs)
            with gradio.Tab("Train"):
                loads, trained, show_trained = train_tab.build(gradio, folder, jobs, asking)
            with gradio.Tab("Runs"):
                inputs, renew, outputs = runs_tab.build(gradio, folder, jobs, asking.free)
            with gradio.Tab("Ask"):
                target = ask_tab.build(
                    gradio, asking, choices=lambda: _finished(folder), require=lambda: require_free_gpu(folder, jobs)
                )
            with gradio.Tab("Export"):
                exported, export_output, show_exported = export_tab.build(gradio, folder, jobs, asking.free)
        timer = gradio.Timer(SECONDS)
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        texts = [
            (imported, show_imported),
            (audit, show_audit),
            (trained, show_trained),
            (export_output, show_exported),
        ]
        shown = gradio.State([None] * len(texts))

        def renew_texts(before: list[Any]) -> list[Any]:
            now = [show() for _, show in texts]
            return [gradio.skip() if old == new else new for old, new in zip(before, now, strict=True)] + [now]

        renewals: list[tuple[Any, Callable[..., Any], Any]] = [
            (inputs, renew, outputs),
            ([shown], renew_texts, [*(component for component, _ in texts), shown]),
        ]
        for given, function, changed in renewals:
            timer.tick(function, given, changed, **quiet)
            page.load(function, given, changed, **quiet)
        for given, function, changed in loads:
            page.load(function, given, changed, **quiet)

        def finished(now: str | None, name: str | None) -> tuple[Any, Any]:
            names = _finished(folder)
            exportable = [Path(one).name for one in names]
            return (
                gradio.Dropdown(choices=[*names, "nano"], value=now or next(iter(names), "nano")),
                gradio.Dropdown(choices=exportable, value=name if name in exportable else next(iter(exportable), None)),
            )

        page.load(finished, [target, exported], [target, exported], **quiet)
        outputs[1].change(finished, [target, exported], [target, exported], **quiet)
    return page


def build_chat(target: str, gradio: Any) -> Any:
    """The page of `lowmed chat`: the tab Ask for one run or model, which is loaded before it is served."""
    asking = Asking()
    asking.load(target)
    with gradio.Blocks(title="lowmed chat", analytics_enabled=False) as page:
        _title(gradio, "lowmed chat", NOTICE)
        ask_tab.build(gradio, asking, target=target)
    return page


def studio(folder: Path) -> Callable[[Any], Any]:
    """Builds the page of a folder of runs."""
    return partial(build_studio, folder)


def chat(target: str) -> Callable[[Any], Any]:
    """Builds the page of one run or model."""
    return partial(build_chat, target)


def _title(gradio: Any, name: str, text: str) -> None:
    heading = f'<div class="lm-title"><p><b>{markup.escape(name)}</b>. {markup.escape(text)}</p></div>'
    gradio.HTML(heading, elem_classes="lm-html")


def _finished(folder: Path) -> list[str]:
    try:
        return [row.folder for row in run_view.runs_in(folder) if row.status == "finished"]
    except LowmedError:
        return []
