"""What a notebook shows: the report in a frame, and samples with their images."""

import json
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser
from predictors import constant, division, evaluated

import lowmed
from lowmed.api.show import show_curves, show_report, show_samples
from lowmed.nano import phantom
from lowmed.recipe.io import load_recipe
from lowmed.run import Run, create_run

ATTACK = "</div><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


def a_run(tmp_path: Path, about: str = "a test") -> Run:
    recipe = load_recipe("rl-plain", nano=True)
    run = create_run(recipe.model_copy(update={"about": about}), "test", out=str(tmp_path / "run"))
    run.update(status="finished", steps=0, seconds=1.0)
    test = division(phantom.samples("test", 12))
    evaluated(run.folder / "evals" / "phantom", test, constant("<answer>yes</answer>"), controls=0, system="tuned")
    return run


def own_folder(tmp_path: Path, question: str) -> Path:
    """A data folder: two questions about a.png, one about b.png, one about an image that does not open."""
    folder = tmp_path / "own"
    folder.mkdir()
    for name, gray in (("a", 40), ("b", 200)):
        Image.new("L", (64, 48), gray).save(folder / f"{name}.png")
    (folder / "c.png").write_bytes(b"not an image")
    rows = [
        {"id": str(number), "images": [f"{name}.png"], "question": question, "answer": "no", "kind": "closed"}
        for number, name in enumerate("aabc")
    ]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_report_is_in_the_output_and_cannot_reach_the_notebook(tmp_path: Path, browser: Browser) -> None:
    run = a_run(tmp_path, about='x" onload="document.title=\'taken\'"' + ATTACK)
    html = show_report(run).data
    assert (run.folder / "report.html").read_text(encoding="utf-8") in unescape(html)
    page = browser.new_page()
    page.set_content(f"<title>notebook</title>{html}")
    [frame] = [frame for frame in page.frames if frame is not page.main_frame]
    frame.wait_for_selector("h1")
    assert "lowmed report" in frame.title()
    assert page.title() == "notebook"
    assert frame.evaluate("() => { try { return parent.document.title } catch (error) { return error.name } }") == (
        "SecurityError"
    )
    page.close()


def test_samples_have_image_question_and_answer(browser: Browser) -> None:
    html = show_samples("phantom", 5, split="train").data
    page = browser.new_page()
    page.set_content(html)
    assert page.locator("img").count() == 5
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 30)")
    assert page.locator("text=gold answer").count() == 5
    assert page.locator("text=train · ").count() == 5
    page.close()


def test_text_of_data_is_shown_and_does_not_act(tmp_path: Path, browser: Browser) -> None:
    html = show_samples(own_folder(tmp_path, f"Is it {ATTACK}?"), 3).data
    page = browser.new_page()
    page.set_content(f"<title>notebook</title>{html}")
    assert page.locator(f"text={ATTACK[:12]}").count() == 3
    assert page.title() == "notebook"
    page.close()


def test_each_image_comes_before_a_second_question_about_one(tmp_path: Path) -> None:
    html = show_samples(own_folder(tmp_path, "Is it?"), 3).data
    assert html.count("data:image") == 2
    assert html.count("image does not open") == 1
    assert show_samples(tmp_path / "own", 9).data.count("gold answer") == 4


def test_the_gold_boxes_are_on_the_image() -> None:
    from lowmed.data.load import load
    from lowmed.report import in_notebook
    from lowmed.report.gallery import data_url

    data = load("phantom-boxes")
    [(split, sample)] = [each for each in in_notebook.draw(data, 30, 0, "test") if each[1].answer != "none"][:1]
    without = data_url(phantom.open_image(sample.images[0]).convert("RGB"))
    assert without not in in_notebook.sample_cards(data, [(split, sample)])


@pytest.mark.parametrize(
    ("data", "arguments", "expected"),
    [
        ("phantum", {}, "did you mean `phantom`"),
        ("no/folder", {}, "does not exist"),
        ("phantom", {"split": "dev"}, "use one of train, test"),
        ("phantom", {"count": 0}, "nothing to show"),
    ],
)
def test_mistakes_are_named(data: str, arguments: dict[str, object], expected: str) -> None:
    with pytest.raises(lowmed.LowmedError, match=expected):
        show_samples(data, **arguments)  # type: ignore[arg-type]


def test_only_a_call_needs_ipython(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, lowmed; lowmed.show_report, lowmed.show_samples; print('IPython' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(lowmed.LowmedError, match="IPython is not installed"):
        show_samples("phantom")


def test_the_curves_of_a_run_that_still_trains_are_in_the_output(tmp_path: Path, browser: Browser) -> None:
    run = a_run(tmp_path)
    run.update(status="running")
    assert "There are no steps yet" in unescape(show_curves(run).data)
    run.append("metrics.jsonl", [{"step": at, "loss": 1 / at} for at in (1, 2, 3)])
    page = browser.new_page()
    page.set_content(show_curves(run).data)
    [frame] = [frame for frame in page.frames if frame is not page.main_frame]
    frame.wait_for_selector(".chart svg")
    assert frame.locator(".chart").count() == 1
    page.close()
