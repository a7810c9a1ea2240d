"""The series of GPU measurements, as far as a machine without a GPU can test it."""

import re
import subprocess
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SCRIPT = BENCHMARKS / "gpu_all.sh"


def bash(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", *arguments], capture_output=True, text=True, check=False)


def pieces() -> list[str]:
    return bash(str(SCRIPT), "list").stdout.split()


def test_the_script_is_valid_bash() -> None:
    assert bash("-n", str(SCRIPT)).returncode == 0


def test_an_unknown_piece_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    refused = bash(str(SCRIPT), "warp", str(tmp_path / "out"))
    assert refused.returncode == 2
    assert "no such piece: warp" in refused.stdout
    assert not (tmp_path / "out").exists()


def test_without_a_piece_or_a_folder_the_usage_is_printed() -> None:
    for arguments in ([], ["doctor"]):
        refused = bash(str(SCRIPT), *arguments)
        assert refused.returncode != 0
        assert "usage: gpu_all.sh" in refused.stderr


def test_every_piece_runs_something_and_pieces_that_need_a_model_are_skipped_without_one(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho called "$@"\n')
    python.chmod(0o755)
    model = tmp_path / "model"
    model.mkdir()
    for piece in pieces():
        command = ["env", f"PYTHON={python}", "bash", str(SCRIPT), piece, str(tmp_path / "out")]
        with_model = subprocess.run([*command, str(model)], capture_output=True, text=True, check=False)
        assert with_model.returncode == 0, with_model.stderr
        assert re.search("^called (-m |/)", with_model.stdout, re.MULTILINE)  # a module or a script, not only `-c`
        without = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ("skipped" in without.stdout) == (piece not in ("doctor", "tests", "agreement"))


def test_pieces_of_cells_name_existing_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import parts

    names = {name.split("/")[0] for name in parts.cells("/models/2b")}
    assert names == {piece.removeprefix("parts-") for piece in pieces() if piece.startswith("parts-")}
    assert all(name.split("/")[1] == "2b" for name in parts.cells("/models/2b"))


def test_tables_of_parts_have_every_cell_and_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import parts

    machine = {"date": "2030-01-02", "processor": "abacus", "cores": 2, "versions": {"torch": "9.9"}}
    common = {"machine": machine, "card": "CPU", "precision": "fp32", "images": 2}
    settings = {"model": "nano", "tokens": 64, "group": 4, "new_tokens": 10}
    cells = {
        "train": common | {"settings": settings | {"part": "train"}, "seconds": {"once": 0.1, "each": 0.25}},
        "tower": common
        | {
            "settings": settings | {"part": "tower"},
            "seconds": {"stock": 0.4, "encoded": 0.2, "memory": 0.002, "disk": 0.004},
        },
        "decode": common
        | {
            "settings": settings | {"part": "decode"},
            "seconds": {
                "16bit first token": 0.1, "16bit": 0.3, "16bit graph": 0.2, "4bit first token": 0.2, "4bit": 0.6,
            },
        },
    }  # fmt: skip
    lines = parts.tables(cells).splitlines()
    assert "| nano | 64 | 4 | 100 | 250 | 2.50 |" in lines
    assert "| nano | 64 | 200 | 100 | 1 | 2 |" in lines
    assert "| nano | 4 | fp32 | 20 | 10 | 40 |  |" in lines
    assert lines[-1] == "Measured 2030-01-02 on abacus, 2 cores; torch 9.9."
    assert parts.tables({}) == "Not yet measured."
