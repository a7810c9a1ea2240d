"""`lowmed inspect` names what needs attention in received files, and executes nothing."""

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import Lowmed

from lowmed.api.inspect import inspect
from lowmed.errors import DataError


def noted(path: Path) -> dict[str, int]:
    return {
        finding.what.split(",")[0].split(";")[0].split(" (")[0]: finding.count for finding in inspect(path).findings
    }


class Planted:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def received(folder: Path, marker: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "owner/base"}))
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "modeling.Mine"}}))
    (folder / "sub/modeling.py").write_text(f"open({str(marker)!r}, 'w')")
    (folder / "weights.bin").write_bytes(b"x")
    (folder / "notes").write_bytes(pickle.dumps(Planted(marker)))
    with zipfile.ZipFile(folder / "model.data", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Planted(marker)))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": "{% for a in range(9**9) %}{% endfor %}"})
    )
    (folder / "recipe.yaml").write_text(
        "about: x\nmethod:\n  rewards: [{name: mine.py:side}]\ndata: {path: /home/anna/data}\n"
    )
    (folder / "samples.jsonl").write_text(json.dumps({"images": ["../../secret.png"]}) + "\n")
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "bomb.yaml").write_text(
        "a: &a [x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True))
    )
    (folder / "out").symlink_to("/etc")
    (folder / "in").symlink_to("config.json")
    os.mkfifo(folder / "pipe")
    return folder


def test_everything_that_needs_attention_is_named_and_nothing_runs(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    folder = received(tmp_path / "received", marker)
    result = inspect(folder)
    assert noted(folder) == {
        "program code or programs": 1,
        "pickles": 3,
        "models that ask to run code of their own": 1,
        "chat templates that are not those of a supported family": 1,
        "custom rewards": 1,
        "paths that lead out of the folder": 2,
        "files that cannot be parsed": 2,
        "links that lead out of the folder": 1,
        "links": 1,
        "devices": 1,
    }
    assert (result.kind, result.bases, result.licenses) == ("an adapter", ("owner/base",), ("cc-by-nc-4.0",))
    assert not marker.exists()


def test_the_command_has_an_exit_code(tmp_path: Path, lowmed: Lowmed) -> None:
    received(tmp_path / "received", tmp_path / "marker")
    ended = lowmed("inspect", "received")
    assert ended.returncode == 1
    assert "look at   3 pickles" in ended.stdout
    assert not (tmp_path / "marker").exists()
    (tmp_path / "fine").mkdir()
    (tmp_path / "fine/adapter_config.json").write_text("{}")
    assert lowmed("inspect", "fine").returncode == 0
    assert json.loads(lowmed("inspect", "fine", "--json").stdout)["findings"] == []
    gone = lowmed("inspect", "gone")
    assert (gone.returncode, gone.stderr.splitlines()[0]) == (2, "error: no such file or folder")


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        inspect(tmp_path / "gone")


def test_the_shipped_recipes_need_no_attention() -> None:
    assert inspect(Path(__file__).parents[2] / "recipes").findings == ()
