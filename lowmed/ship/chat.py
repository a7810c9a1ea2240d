"""A local web page to ask a model: images, a question, and the answers of base and tuned model side by side."""

import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lowmed import prompt
from lowmed.data.image.policy import prepare
from lowmed.engine import device, load
from lowmed.engine.generate import complete
from lowmed.errors import LowmedError, SetupError
from lowmed.evaluation.answerer import Answerer, Completion, OpenImage
from lowmed.evaluation.target import EvalTarget
from lowmed.sample import Sample
from lowmed.ship import chat_guard
from lowmed.ship.ask import ask_model, open_images, question_sample, with_boxes
from lowmed.ship.records import AskResult

HOST = "127.0.0.1"
NOTICE = "Research only. Not a diagnostic device, not for clinical use. Nothing leaves this machine."


class ChatModel:
    """One loaded model that answers as the base, and with its adapter enabled as the tuned model.

    Attributes:
        target: the loaded target. A run has a base and a tuned model, any other target a single model.
        systems: names of the models that answer.

    Raises:
        LowmedError: the machine or the model does not allow it.
    """

    def __init__(self, target: EvalTarget) -> None:
        self.target = target
        self.loaded = load.load_base(target.model, device.find_device(target.model))
        adapter = target.adapters.get("tuned")
        if adapter:
            self.loaded = load.with_adapter(self.loaded, adapter)
        self.systems = ("base", "tuned") if adapter else ("base",)

    def answerer(self, system: str, family: prompt.Family) -> Answerer:
        """The answerer of one system with that prompt family."""

        def answer(
            samples: Sequence[Sample], open_image: OpenImage, *, copies: int, temperature: float
        ) -> Iterator[Completion]:
            with ExitStack() as stack:
                if system == "base" and "tuned" in self.systems:
                    stack.enter_context(self.loaded.model.disable_adapter())
                yield from complete(
                    self.loaded,
                    samples,
                    family,
                    open_image,
                    max_new_tokens=self.target.eval.max_new_tokens,
                    copies=copies,
                    temperature=temperature,
                )

        return answer


@dataclass(frozen=True)
class ServedPage:
    """A page that is being served.

    Attributes:
        page: gradio's Blocks.
        url: its address, with the token without which every request is refused.
    """

    page: Any
    url: str


@contextmanager
def serve_page(target: EvalTarget, port: int) -> Iterator[ServedPage]:
    """Serve the page. Uploaded images are kept in a private folder that is removed at the end.

    Requests from other hosts or pages, and requests without the token, are refused.

    Args:
        target: the model.
        port: on this machine; the page is not reachable from others.

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
        from starlette.middleware import Middleware

        page, token = build_page(ChatModel(target), gradio), secrets.token_urlsafe(32)
        try:
            page.launch(
                server_name=HOST,
                server_port=port,
                share=False,
                quiet=True,
                footer_links=[],
                theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                prevent_thread_lock=True,
                app_kwargs={"middleware": [Middleware(chat_guard.Guard, token=token)]},
                ssr_mode=False,  # a second server, in Node, would be outside of the guard
            )
        except OSError as error:
            raise SetupError(
                f"the page cannot be served: {error}", f"http://{HOST}:{port}", "choose another --port"
            ) from error
        try:
            yield ServedPage(page, f"http://{HOST}:{port}/?token={token}")
        finally:
            page.close(verbose=False)


def build_page(chat: ChatModel, gradio: Any) -> Any:
    """The page: question on the left, the answers of each system on the right."""
    policy = chat.loaded.policy
    default = chat.target.family
    families = {default.name: default} | {
        name: shipped for name, shipped in prompt.FAMILIES.items() if name != default.name
    }

    def show_images(files: list[str] | None) -> list[Image.Image]:
        try:
            open_image = open_images(files or [], policy)
            return [prepare(open_image(path), policy, path) for path in files or []]
        except LowmedError as error:
            raise gradio.Error(str(error)) from error

    def ask(files: list[str] | None, question: str, family: str, samples: float) -> list[Any]:
        values: list[Any] = []
        try:
            open_image = open_images(files or [], policy)
            sample = question_sample(question, files or [], families[family], chat.target.model, open_image)
            for system in chat.systems:
                answerer = chat.answerer(system, families[family])
                result = ask_model(answerer, system, sample, families[family], open_image, int(samples))
                drawn = with_boxes(result, sample, open_image) if sample.kind == "boxes" else None
                values += [*_output_values(result), gradio.Image(drawn, visible=drawn is not None)]
        except LowmedError as error:
            raise gradio.Error(str(error)) from error
        return values

    with gradio.Blocks(title="lowmed", analytics_enabled=False) as page:
        gradio.Markdown(f"## {Path(chat.target.model.name).name}\n{NOTICE}")
        with gradio.Row():
            with gradio.Column():
                files = gradio.File(label="Image or DICOM files", file_count="multiple", type="filepath")
                gallery = gradio.Gallery(label="As the model sees them", height=240, columns=4, object_fit="contain")
                question = gradio.Textbox(label="Question")
                family = gradio.Dropdown(list(families), value=default.name, label="Prompt family")
                samples = gradio.Slider(0, 16, value=8, step=1, label="Sampled completions")
                button = gradio.Button("Ask", variant="primary")
            outputs = []
            for system in chat.systems:
                with gradio.Column():
                    gradio.Markdown(f"### {system}")
                    outputs += [
                        gradio.Textbox(label="Answer"),
                        gradio.Textbox(label="Reasoning", lines=4),
                        gradio.Label(label="Share of the sampled completions"),
                        gradio.Image(label="Boxes of the answer", visible=False),
                    ]
        files.change(show_images, files, gallery, api_name="images")
        button.click(ask, [files, question, family, samples], outputs, api_name="ask")
    return page


def _output_values(result: AskResult) -> list[Any]:
    text = f"unread: {', '.join(result.flags)}" if result.answer is None else result.answer
    if result.samples is None:
        return [text, result.reasoning, None]
    shares = {vote.answer: vote.share for vote in result.samples.votes}
    if result.samples.unread:
        shares["(unread)"] = result.samples.unread / result.samples.drawn
    return [text, result.reasoning, shares]
