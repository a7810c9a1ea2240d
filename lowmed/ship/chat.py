"""A local page to ask a model: images, a question, and base beside tuned; bound to this machine alone."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from lowmed import prompt
from lowmed.data.image.policy import prepare
from lowmed.engine import device, load
from lowmed.engine.generate import complete
from lowmed.errors import LowmedError, SetupError
from lowmed.evaluate.answerer import Answerer, Completion, OpenImage
from lowmed.evaluate.target import EvalTarget
from lowmed.sample import Sample
from lowmed.ship import ask as asking

HOST = "127.0.0.1"
NOTICE = "Research only. Not a diagnostic device, not for clinical use. Nothing leaves this machine."


class Speakers:
    """One loaded model that answers as its base and, with the adapter on, as tuned.

    Args:
        who: what is asked; a run has a base and a tuned form, any other model only itself.

    Raises:
        LowmedError: the machine or the model does not allow it.
    """

    def __init__(self, who: EvalTarget) -> None:
        self.who = who
        self.loaded = load.load_base(who.model, device.find_device(who.model))
        adapter = who.adapters.get("tuned")
        if adapter:
            self.loaded = load.with_adapter(self.loaded, adapter)
        self.names = ("base", "tuned") if adapter else ("base",)

    def answerer(self, name: str, family: prompt.Family) -> Answerer:
        """Who answers under that name, asked by that family."""

        def answer(
            samples: Sequence[Sample], open_image: OpenImage, *, copies: int, temperature: float
        ) -> Iterator[Completion]:
            with ExitStack() as stack:
                if name == "base" and "tuned" in self.names:
                    stack.enter_context(self.loaded.model.disable_adapter())
                yield from complete(
                    self.loaded,
                    samples,
                    family,
                    open_image,
                    max_new_tokens=self.who.eval.max_new_tokens,
                    copies=copies,
                    temperature=temperature,
                )

        return answer


@contextmanager
def serving(who: EvalTarget, port: int) -> Iterator[Any]:
    """The page while it is served; what is dropped on it lies in a private folder that is removed afterwards.

    Args:
        who: what is asked.
        port: of this machine; nothing else can reach it.

    Raises:
        SetupError: gradio is not installed, or the port is taken.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with tempfile.TemporaryDirectory(prefix="lowmed-chat-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            import gradio
        except ImportError as error:
            raise SetupError("the page needs gradio", "lowmed chat", "pip install 'lowmed[ui]'") from error
        built = page(Speakers(who), gradio)
        try:
            built.launch(
                server_name=HOST,
                server_port=port,
                share=False,
                quiet=True,
                footer_links=[],
                theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                prevent_thread_lock=True,
            )
        except OSError as error:
            raise SetupError(
                f"the page can not be served: {error}", f"http://{HOST}:{port}", "choose another --port"
            ) from error
        try:
            yield built
        finally:
            built.close(verbose=False)


def page(speakers: Speakers, gradio: Any) -> Any:
    """The page: what is asked on the left, what each speaker says on the right."""
    policy = speakers.loaded.policy
    asked_by = speakers.who.family.name
    families = {speakers.who.family.name: speakers.who.family, **prompt.FAMILIES}

    def seen(files: list[str] | None) -> list[Image.Image]:
        try:
            open_image = asking.opened(files or [], policy)
            return [prepare(open_image(path), policy, path) for path in files or []]
        except LowmedError as error:
            raise gradio.Error(str(error)) from error

    def ask(files: list[str] | None, question: str, family: str, samples: float) -> list[Any]:
        shown: list[Any] = []
        try:
            asked = asking.sample(question, files or [])
            open_image = asking.opened(files or [], policy)
            for name in speakers.names:
                answerer = speakers.answerer(name, families[family])
                shown += _shown(asking.ask(answerer, asked, families[family], open_image, int(samples)))
        except LowmedError as error:
            raise gradio.Error(str(error)) from error
        return shown

    with gradio.Blocks(title="lowmed", analytics_enabled=False) as built:
        gradio.Markdown(f"## {Path(speakers.who.model.name).name}\n{NOTICE}")
        with gradio.Row():
            with gradio.Column():
                files = gradio.File(label="Pictures or DICOM files", file_count="multiple", type="filepath")
                gallery = gradio.Gallery(label="As the model sees them", height=240, columns=4, object_fit="contain")
                question = gradio.Textbox(label="Question")
                family = gradio.Dropdown(list(families), value=asked_by, label="Prompt family")
                samples = gradio.Slider(0, 16, value=8, step=1, label="Sampled replies, to see how stable it is")
                button = gradio.Button("Ask", variant="primary")
            outputs = []
            for name in speakers.names:
                with gradio.Column():
                    gradio.Markdown(f"### {name}")
                    outputs += [
                        gradio.Textbox(label="Answer"),
                        gradio.Textbox(label="Reasoning", lines=4),
                        gradio.Label(label="Share of the sampled replies"),
                    ]
        files.change(seen, files, gallery, api_name="seen")
        button.click(ask, [files, question, family, samples], outputs, api_name="ask")
    return built


def _shown(result: dict[str, Any]) -> list[Any]:
    said = f"unread: {', '.join(result['flags'])}" if result["answer"] is None else result["answer"]
    if "samples" not in result:
        return [said, result["reasoning"], None]
    drawn = result["samples"]
    shares = {vote["answer"]: vote["share"] for vote in drawn["votes"]}
    if drawn["unread"]:
        shares["(unread)"] = drawn["unread"] / drawn["drawn"]
    return [said, result["reasoning"], shares]
