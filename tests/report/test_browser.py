"""Pages in a real browser: width, colors, the pointer on curves, and the viewer of cases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from lowmed.nano import phantom
from lowmed.report import comparison_page, page
from lowmed.report.comparison_page import ComparedRuns
from lowmed.report.run_report import read
from lowmed.run import Run

WIDE, PHONE = 1280, 390


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": WIDE, "height": 900})
    errors: list[object] = []
    opened.on("pageerror", lambda error: errors.append(error))
    opened.on("console", lambda message: errors.append(message.text))
    yield opened
    opened.close()
    assert errors == []


@pytest.fixture
def report_file(finished: Run, tmp_path: Path) -> Path:
    file = tmp_path / "report.html"
    file.write_text(page.render(read(finished), {"phantom": phantom.open_image}, {"missing": "nothing is at hand"}))
    return file


def _overflow(tab: Page) -> int:
    return int(tab.evaluate("document.documentElement.scrollWidth - innerWidth"))


def test_no_page_is_wider_than_a_phone(report_file: Path, finished: Run, tmp_path: Path, tab: Page) -> None:
    several = tmp_path / "comparison.html"
    content = read(finished)
    several.write_text(comparison_page.render(ComparedRuns({"a" * 60: content, "b": content}, {}, {"b": "no reason"})))
    for file in (report_file, several):
        for width in (WIDE, PHONE):
            tab.set_viewport_size({"width": width, "height": 900})
            tab.goto(file.as_uri())
            tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
            assert _overflow(tab) <= 0, (file.name, width)


def test_the_verdict_comes_first_and_is_marked_where_it_has_problems(report_file: Path, tab: Page) -> None:
    tab.goto(report_file.as_uri())
    first = tab.locator("h1 ~ *:not(.soft)").first
    assert "verdict fail" in str(first.get_attribute("class"))
    assert "no readable answer" in first.inner_text()


def test_cases_are_shown_one_at_a_time_with_keys_and_filters(report_file: Path, tab: Page) -> None:
    tab.goto(report_file.as_uri())
    shown = tab.locator(".case:visible")
    assert shown.count() == 1
    first = shown.locator("h3").inner_text() + shown.inner_text()
    tab.keyboard.press("ArrowRight")
    assert shown.count() == 1
    assert shown.locator("h3").inner_text() + shown.inner_text() != first
    tab.keyboard.press("ArrowLeft")
    assert shown.locator("h3").inner_text() + shown.inner_text() == first
    tab.keyboard.press("ArrowLeft")
    assert tab.locator(".count").inner_text().startswith("1 of ")
    tab.select_option("select[name=topic]", "size")
    count = int(tab.locator(".count").inner_text().split()[-1])
    assert 0 < count < tab.locator(".case").count()
    for _ in range(count + 2):
        assert " size " in f" {shown.locator('.small').first.inner_text()} "
        tab.keyboard.press("ArrowRight")
    tab.select_option("select[name=label]", "gained")
    assert shown.count() == 0 or "gained" in shown.inner_text().lower()
    box = tab.locator(".case img").first
    assert box.count() == 1


def test_base_and_tuned_are_side_by_side_without_tags_of_reasoning(report_file: Path, tab: Page) -> None:
    tab.goto(report_file.as_uri())
    sides = tab.locator(".case:visible .side")
    assert sides.count() == 2
    left, right = (sides.nth(at).bounding_box() for at in (0, 1))
    assert left and right
    assert left["y"] == right["y"]
    assert "think>" not in tab.locator(".cases").inner_text()


def test_the_pointer_shows_the_values_of_a_step(report_file: Path, tab: Page) -> None:
    tab.goto(report_file.as_uri())
    chart = tab.locator(".chart").first
    chart.locator("svg").hover(position={"x": 200, "y": 60})
    tip = chart.locator(".tip")
    assert tip.is_visible()
    assert tip.inner_text().startswith("step ")
    assert "reward" in tip.inner_text()
    legend, drawing = chart.locator(".legend").bounding_box(), chart.locator("svg").bounding_box()
    assert legend and drawing
    assert legend["y"] + legend["height"] <= drawing["y"] + 1  # a legend covers no curve


def test_light_and_dark_have_readable_text(report_file: Path, tab: Page) -> None:
    colors = {}
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        tab.goto(report_file.as_uri())
        colors[scheme] = tab.evaluate(
            "['color', 'backgroundColor'].map(name => getComputedStyle(document.body)[name].match(/\\d+/g)"
            ".map(Number).reduce((a, b) => a + b))"
        )
    assert colors["light"][0] + 300 < colors["light"][1]
    assert colors["dark"][1] + 300 < colors["dark"][0]


def test_paper_has_every_case_and_all_figures(report_file: Path, tab: Page) -> None:
    tab.goto(report_file.as_uri())
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.emulate_media(media="print")
    assert tab.locator(".case:visible").count() == tab.locator(".case").count() > 3
    assert not tab.locator(".filters").is_visible()
    assert tab.locator("details:not([open])").count() == 0
    assert tab.pdf().startswith(b"%PDF-")
