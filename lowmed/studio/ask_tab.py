"""The tab Ask, which is also the page of `lowmed chat`: a conversation with base and tuned model, side by side."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lowmed import prompt
from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.errors import LowmedError, RunError
from lowmed.studio import markup
from lowmed.studio.asking import Answered, Asking, systems

ALONE = (
    "Each question is put to the model alone, with the images above. Earlier questions and answers stay on this page, "
    "but the model does not see them. Nothing is stored: a reload of the page removes them."
)
SYSTEMS = ("base", "tuned")
Messages = list[dict[str, Any]]


def title_of(name: str) -> str:
    """The name of a run, or of a model."""
    return Path(name).name or name


def build(
    gradio: Any,
    asking: Asking,
    *,
    target: str | None = None,
    choices: Callable[[], list[str]] = list,
    require: Callable[[], None] = lambda: None,
) -> Any:
    """The components of the tab.

    Args:
        gradio: the module.
        asking: the model.
        target: the run or model of the page; None lets the user choose.
        choices: runs to choose from.
        require: raises an error if a model must not be loaded now.

    Returns:
        The component that holds the target.
    """
    families = list(prompt.FAMILIES)
    names = systems(asking.target(target)) if target else SYSTEMS
    with gradio.Row():
        with gradio.Column(scale=2, min_width=300):
            chosen = gradio.Dropdown(
                [target] if target else [*choices(), "nano"],
                value=target,
                label="Run or model",
                info="a finished run, `nano`, a model folder or a hub id",
                allow_custom_value=True,
                visible=target is None,
            )
            files = gradio.File(
                label="Images or DICOM files", file_count="multiple", type="filepath", height=130, elem_id="ask-files"
            )
            gallery = gradio.HTML(elem_classes="lm-html", elem_id="images")
        with gradio.Column(scale=3, min_width=300):
            heading = gradio.HTML(_heading(target), elem_classes="lm-html", elem_id="ask-title")
            with gradio.Row():
                options: dict[str, Any] = {"height": 460, "render_markdown": False, "allow_tags": False}
                options |= {"feedback_options": None, "buttons": [], "layout": "panel"}
                chats = [
                    gradio.Chatbot(
                        label=system, elem_id=f"chat-{system}", min_width=280, visible=system in names, **options
                    )
                    for system in SYSTEMS
                ]
            question = gradio.Textbox(label="Question", lines=2, max_lines=6, elem_id="question")
            with gradio.Row():
                ask_button = gradio.Button("Ask", variant="primary", elem_id="ask")
                stop_button = gradio.Button("Stop", variant="stop", elem_id="stop-asking")
                clear_button = gradio.Button("Clear the page")
            with gradio.Row():
                family = gradio.Dropdown(
                    [("the run's own", ""), *families], value="", label="Prompt family", min_width=200
                )
                samples = gradio.Slider(0, 16, value=0, step=1, label="Sampled completions", min_width=200)
            message = gradio.HTML(elem_classes="lm-html", elem_id="ask-message")
            gradio.HTML(markup.note(ALONE), elem_classes="lm-html")

    def as_shown(name: str, paths: list[str] | None) -> list[Any]:
        from lowmed.ship.ask import open_images

        policy = PixelPolicy(asking.target(name).model.max_image_tokens)
        open_image = open_images(paths or [], policy)
        return [prepare(open_image(path), policy, path) for path in paths or []]

    def show_images(name: str | None, paths: list[str] | None) -> tuple[str, str]:
        try:
            return markup.images(as_shown(name or "nano", paths)), ""
        except LowmedError as error:
            return "", markup.error(error)

    def ask(
        name: str | None, paths: list[str] | None, text: str, family_name: str, count: float, *before: Messages
    ) -> Iterator[tuple[Any, ...]]:
        shown = [list(messages or []) for messages in before]
        try:
            if not name:
                raise RunError("no run or model is chosen", "Run or model", "choose one, e.g. nano")
            require()
            opened = asking.target(name)
            names = systems(opened)
            wanted = prompt.family(family_name) if family_name else opened.family
            images = as_shown(name, paths)
            yield markup.note(f"{names[0]}: the model is being loaded, or is generating."), text, *shown
            for number, answered in enumerate(asking.ask(name, paths or [], text, wanted, int(count))):
                column = SYSTEMS.index(answered.system)
                shown[column] += [*_question(text, images), *_answer(answered)]
                left = names[number + 1 :]
                yield markup.note(f"{left[0]}: generating." if left else ""), "" if not left else text, *shown
        except LowmedError as error:
            yield markup.error(error), text, *shown

    def stop() -> str:
        asking.stop()
        return markup.note("It ends at the next token.")

    def choose(name: str | None) -> tuple[Any, ...]:
        try:
            names = systems(asking.target(name)) if name else SYSTEMS
        except LowmedError:
            names = SYSTEMS
        return _heading(name), *(gradio.Chatbot(visible=system in names) for system in SYSTEMS)

    inputs = [chosen, files, question, family, samples, *chats]
    outputs = [message, question, *chats]
    gradio.on(
        [ask_button.click, question.submit],
        ask,
        inputs,
        outputs,
        show_progress="hidden",
        concurrency_id="model",
        api_name="ask",
    )
    stop_button.click(stop, None, message, queue=False, api_visibility="private")
    clear_button.click(lambda: [[], []], None, chats, queue=False, api_visibility="private")
    files.change(show_images, [chosen, files], [gallery, message], api_name="images")
    chosen.change(choose, chosen, [heading, *chats], api_visibility="private")
    return chosen


def _heading(name: str | None) -> str:
    return f'<div class="lm-title"><h1>{markup.escape(title_of(name) if name else "No model is chosen")}</h1></div>'


def _question(text: str, images: list[Any]) -> Messages:
    return [{"role": "user", "content": f"{''.join(map(_image, images))}{markup.escape(text)}"}]


def _answer(answered: Answered) -> Messages:
    result = answered.result
    if result is None:
        return [_says("stopped: no answer")]
    read = f"Answer: {result.answer}" if result.answer is not None else f"unread: {', '.join(result.flags)}"
    lines = [read, "", result.reasoning or (result.completion if result.answer is None else "")]
    if drawn := result.samples:
        shares = [f"{vote.answer} {vote.share:.0%}" for vote in drawn.votes]
        shares += [f"(unread) {drawn.unread / drawn.drawn:.0%}"] if drawn.unread else []
        lines += ["", f"{drawn.drawn} sampled completions: {', '.join(shares)}"]
    drawing = f"<br>{_image(answered.drawn, 'boxes')}" if answered.drawn else ""
    return [_says("\n".join(lines).strip(), drawing)]


def _says(text: str, drawing: str = "") -> dict[str, Any]:
    """A message of the model. The component shows HTML, also without Markdown."""
    return {"role": "assistant", "content": markup.escape(text) + drawing}


def _image(image: Any, what: str = "image") -> str:
    """An image inside a message: one as a component would get a button that shares it on the internet."""
    return f'<img src="{markup.url(image)}" alt="{what}"><br>'
