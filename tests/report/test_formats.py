"""docs/formats.md describes the formats that the code reads and writes."""

from pathlib import Path

from lowmed.report import formats

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def test_the_page_of_file_formats_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == formats.markdown(), (
        "run `python -m lowmed.report.formats > docs/formats.md`"
    )


def test_every_field_and_object_is_described() -> None:
    page = formats.markdown()
    for name in ("RunRecord", "EvalReport", "ControlEffect", "RubricCalibration", "JudgeUsage"):
        assert f" {name}\n" in page
    assert "| `status` | `running`, `stopped`, `failed`, `finished` |" in page
    assert "| `by_image` | interval |" in page
    report = page.partition("## EvalReport\n")[2].partition("\n## ")[0]
    assert "`splits`" in report
    assert "folder" not in report  # excluded from the files
