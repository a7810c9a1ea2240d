"""The page of `lowmed chat` in a browser."""

from pathlib import Path

import pytest
from studio_pages import Serve, Visit, fill, press, seen

pytest.importorskip("gradio", reason="the extra `ui` is not installed")


@pytest.mark.slow
def test_the_page_of_a_model_answers_and_shows_errors_as_text(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    page = visit(serve("chat", "nano"))
    seen(page, "ask-title", "nano")
    assert page.locator("#chat-tuned").count() == 0  # a model without a run is a single one
    fill(page, "question", "Is there a lesion?")
    press(page, "ask")
    seen(page, "chat-base", "Is there a lesion?")
    (tmp_path / "text.png").write_text("<b>not an image</b>")
    page.locator("#ask-files input[type=file]").set_input_files(tmp_path / "text.png")
    seen(page, "ask-message", "fix")
    assert "Traceback" not in page.content()
    assert page.get_by_text("Each question is put to the model alone").count() == 1
