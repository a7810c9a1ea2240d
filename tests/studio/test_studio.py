"""The page of `lowmed studio` in a browser, with real commands: data, training, report, questions, stop and resume."""

import json
from pathlib import Path

import pytest
from conftest import Start
from studio_pages import Serve, Visit, fill, press, seen, tab

from lowmed.nano import phantom

pytest.importorskip("gradio", reason="the extra `ui` is not installed")
EVIL = "<b>bold</b> **bold** ${1+1} {{2}} [link](http://evil.example) <img src=x onerror=alert(1)>"
FEW = "method.max_steps=2\nmethod.num_generations=4\nmethod.prompts_per_step=2"


def table(folder: Path, rows: int = 12) -> None:
    """A small table with images, whose texts try to act."""
    lines = ["image,question,answer"]
    for number, sample in enumerate(phantom.samples("train", rows)):
        phantom.open_image(sample.images[0]).save(folder / f"{number}.png")
        lines.append(f'{number}.png,"Is {EVIL} here, {number}?",{"yes" if number % 2 else "no"}')
    (folder / "table.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_from_a_table_to_an_answer(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    table(tmp_path)
    page = visit(serve("studio"))
    page.get_by_label("On this machine").check()
    fill(page, "place", "table.csv")
    fill(page, "data-out", "data/own")
    press(page, "import")
    audit = page.frame_locator("#audit iframe")
    audit.get_by_text("Audit of a data set").wait_for()
    assert page.locator("#audit iframe").get_attribute("sandbox") == "allow-scripts"
    assert (tmp_path / "data" / "own" / "audit.json").is_file()

    tab(page, "Train")
    page.locator("#nano input").check()
    fill(page, "overrides", FEW)
    seen(page, "meaning", "method.max_steps")
    press(page, "plan")
    seen(page, "costs", "verdict")
    fill(page, "run-name", "first")
    press(page, "start")
    seen(page, "train-message", "Training started")
    tab(page, "Runs")
    seen(page, "overview", "2 of 2")
    seen(page, "curves", "Reward")
    page.locator("#completions img").first.wait_for()

    page.reload()
    tab(page, "Runs")
    seen(page, "status", "finished")
    press(page, "report")
    page.frame_locator("#report-page iframe").get_by_text("rarl-nano").first.wait_for()

    tab(page, "Ask")
    seen(page, "ask-title", "first")
    page.locator("#ask-files input[type=file]").set_input_files(tmp_path / "1.png")
    page.locator("#images img").wait_for()
    for question in (f"What is it? {EVIL}", "Is there a lesion?"):
        fill(page, "question", question)
        press(page, "ask")
        page.locator("#chat-tuned").get_by_text(question).first.wait_for()
    for system in ("base", "tuned"):
        chat = page.locator(f"#chat-{system}")
        assert chat.get_by_text(f"What is it? {EVIL}").count() == 1  # as it was written
        assert chat.get_by_text("Answer:").count() + chat.get_by_text("unread:").count() == 2
        assert chat.locator("a, b, [onerror]").count() == 0
    assert json.loads((tmp_path / "runs/first/run.json").read_text())["status"] == "finished"


@pytest.mark.slow
def test_a_run_of_a_terminal_is_shown_after_a_reload_stopped_and_resumed(
    serve: Serve, visit: Visit, start: Start, tmp_path: Path
) -> None:
    many = ["method.max_steps=2000", "method.num_generations=4", "method.prompts_per_step=2"]
    training = start("grpo", "--recipe", "rarl", "--nano", *many, "--out", "runs/long")
    page = visit(serve("studio"))
    tab(page, "Runs")
    seen(page, "overview", "running")
    page.reload()
    tab(page, "Runs")
    seen(page, "status", "running")
    seen(page, "status", "time left")
    seen(page, "curves", "Reward")

    tab(page, "Train")
    page.locator("#nano input").check()
    press(page, "start")
    seen(page, "train-message", "another training is running")
    tab(page, "Runs")
    press(page, "remove")
    seen(page, "runs-message", "the run is running")
    press(page, "stop")
    seen(page, "runs-message", "got the signal")
    assert training.wait() == 130
    seen(page, "status", "stopped")
    stopped = json.loads((tmp_path / "runs/long/run.json").read_text())
    assert stopped["reason"] == "SIGINT"
    assert (tmp_path / f"runs/long/checkpoints/checkpoint-{stopped['steps']}/complete.json").is_file()

    press(page, "resume")
    seen(page, "runs-message", "Started: lowmed grpo --resume runs/long")
    seen(page, "status", "running")
    press(page, "stop")
    seen(page, "runs-message", "got the signal")
    seen(page, "status", "stopped: SIGINT")
    press(page, "remove")
    seen(page, "runs-message", "Remove the run?")
    assert (tmp_path / "runs/long").is_dir()
    press(page, "confirm")
    seen(page, "overview", "There are no runs yet")
    assert not (tmp_path / "runs/long").exists()
