"""What `lowmed doctor --report` writes, and what it leaves out."""

import os
import platform
from pathlib import Path

from commands import in_new_process


def test_a_report_names_neither_folders_nor_user_nor_machine(tmp_path: Path) -> None:
    folder, home = tmp_path / "patient-jane-roe", tmp_path / "home-of-drsmith"
    folder.mkdir()
    home.mkdir()
    shown = {"HOME": str(home), "USER": "drsmith", "LOGNAME": "drsmith", "HOSTNAME": "ward-seven"}
    result = in_new_process(folder, "doctor", "--report", "doctor.txt", **shown)
    assert result.returncode == 0, result.stderr
    text = (folder / "doctor.txt").read_text()
    assert "torch" in text and "problems" in text and "card" in text
    names = ["jane-roe", "drsmith", "ward-seven", platform.node(), platform.release(), os.fspath(tmp_path), "/"]
    assert [name for name in names if name and name in text] == []


def test_a_report_replaces_no_file(tmp_path: Path) -> None:
    (tmp_path / "doctor.txt").write_text("mine")
    result = in_new_process(tmp_path, "doctor", "--report", "doctor.txt")
    assert result.returncode == 2
    assert result.stderr.startswith("error: the file exists")
    assert (tmp_path / "doctor.txt").read_text() == "mine"
