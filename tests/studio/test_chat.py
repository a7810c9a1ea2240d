"""The page of `lowmed chat` in a browser: Stop ends a completion, errors are shown as text."""

from pathlib import Path

import pytest
from studio_pages import Serve, Visit, fill, press, seen

pytest.importorskip("gradio", reason="the extra `ui` is not installed")


@pytest.mark.slow
def test_stop_ends_the_completions_and_the_next_question_is_answered(
    serve: Serve, visit: Visit, tmp_path: Path
) -> None:
    page = visit(serve("chat", "nano"))
    seen(page, "ask-title", "nano")
    assert page.locator("#chat-tuned").count() == 0  # a model without a run is a single one
    fill(page, "question", "Is there a lesion?")
    page.get_by_label("number input for Sampled completions").fill("16")
    page.get_by_label("Prompt family").click()
    page.get_by_role("option", name="reasoning", exact=True).click()
    press(page, "ask")
    press(page, "stop-asking")
    seen(page, "chat-base", "stopped: no answer")
    (tmp_path / "text.png").write_text("<b>no image</b>")
    page.locator("#ask-files input[type=file]").set_input_files(tmp_path / "text.png")
    seen(page, "ask-message", "fix")
    assert "Traceback" not in page.content()
    assert page.get_by_text("Each question is put to the model alone").count() == 1
