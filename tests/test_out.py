"""`--out` replaces only what lowmed wrote."""

from pathlib import Path

import pytest
from ship import finished

from lowmed.api.report import report
from lowmed.errors import RunError
from lowmed.files import require_own
from lowmed.ship.export import require_absent


def test_only_an_own_file_is_replaced(tmp_path: Path) -> None:
    own, other, link, dangling = (tmp_path / name for name in ("own", "other", "link", "dangling"))
    own.write_text("<title>a - lowmed report</title>")
    other.write_text("a letter")
    link.symlink_to(other)
    dangling.symlink_to(tmp_path / "nothing")
    require_own(own, "lowmed report")
    require_own(tmp_path / "new", "lowmed report")
    for path in (other, link, dangling, tmp_path, Path("/dev/full"), Path("/dev/null")):
        with pytest.raises(RunError, match="lowmed did not write it"):
            require_own(path, "lowmed report")


def test_a_report_does_not_replace_another_file(tmp_path: Path) -> None:
    run = tmp_path / "run"
    finished.run(run)
    letter = tmp_path / "letter.html"
    letter.write_text("Dear colleague")
    for path in (letter, tmp_path, Path("/dev/full")):
        with pytest.raises(RunError, match="lowmed did not write it"):
            report(run, out=path)
    assert letter.read_text() == "Dear colleague"
    assert Path("/dev/full").is_char_device()
    page = tmp_path / "page.html"
    for _ in range(2):
        report(run, out=page)
    assert "lowmed report" in page.read_text()


def test_an_export_does_not_replace_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(RunError, match="exists"):
        require_absent(tmp_path / "link")
    require_absent(tmp_path / "new")
