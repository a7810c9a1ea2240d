"""Every command that writes refuses what lowmed did not write: devices, links, and files and folders of others."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from ship import finished
from typer.testing import CliRunner

from lowmed.api.audit import audit
from lowmed.api.prepare import prepare
from lowmed.api.report import report
from lowmed.cli import app
from lowmed.errors import DataError, LowmedError, RunError, SetupError
from lowmed.files import append_jsonl, require_absent, require_own, require_own_folder, write_text

# Command -> its arguments. A command that has `--out` and is not here fails a test.
WRITES = {
    "probe": "probe run --out {out}",
    "sft": "sft --recipe rarl-sft --nano --out {out}",
    "grpo": "grpo --recipe rarl --nano --out {out}",
    "kto": "kto --recipe kto --nano data.unpaired=unpaired.jsonl --out {out}",
    "dpo": "dpo --recipe dpo --nano data.pairs=pairs.jsonl --out {out}",
    "grpo, resumed": "grpo --recipe rarl --nano --resume auto --out {out}",
    "grpo, longer": "grpo --resume run method.max_steps=900 --out {out}",
    "bridge": "bridge --recipe medbridge --nano --out {out}",
    "eval": "eval run --out {out}",
    "eval, endpoint": "eval --endpoint http://127.0.0.1:9/v1 --model m --on phantom --out {out}",
    "study": "study study.yaml --out {out}",
    "score": "score predictions.jsonl --out {out}",
    "report": "report run --out {out}",
    "merge": "merge run --out {out}",
    "export, merged": "export run --to merged --out {out}",
    "export, vllm": "export run --to vllm --out {out}",
    "export, gguf": "export run --to gguf --out {out}",
    "export, ollama": "export run --to ollama --out {out}",
    "export, hub": "export run --to hub --repo a/b --out {out}",
    "report, several": "report run run --out {out}",
    "demo": "demo --out {out}",
    "recipes copy": "recipes copy rarl {out}",
    "rewards calibrate": "rewards calibrate --recipe rarl --nano --model missing --out {out}",
    "data prepare": "data prepare predictions.jsonl --out {out}",
    "data pairs": "data pairs probe --out {out}",
    "data distil": "data distil phantom --by run --out {out}",
    "judge calibrate": "judge calibrate predictions.jsonl --judge-url http://localhost:9 --judge-model m --out {out}",
    "runs rm": "runs rm {out} --yes",
    "runs prune": "runs prune {out} --yes",
}
# Commands that take no path to write to. `data audit` and `data show` write next to the data that they read.
WRITES_NOTHING = {
    "check", "inspect", "plan", "verify", "compare", "ask", "chat", "serve", "studio", "doctor", "recipes list",
    "recipes show", "recipes schema", "rewards list", "rewards show", "rewards check", "rewards trust",
    "data audit", "data show", "data sources", "runs list", "runs show", "runs compare",
}  # fmt: skip
OF_OTHERS = (
    "/dev/full", "/dev/null", "letter.txt", "dangling", "link-to-letter", "link-to-folder", "link-to-nothing/new",
    ".", "..", "/", "runs", "folder", "letter.txt/new", "letter.txt/new/newer", "new/..",
)  # fmt: skip
REFUSED = "exists|did not write|no folder can be created|not a run|does not exist"


def commands(command: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """Every command of the command line with its options."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*names, name))
    if not hasattr(command, "commands"):
        yield " ".join(names), [option for parameter in command.params for option in parameter.opts]


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder by digest, and every link by its target."""
    paths = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            paths[str(path)] = str(path.readlink())
        else:
            paths[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return paths


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run whose adapter cannot be loaded, and files of others."""
    folder = tmp_path_factory.mktemp("home") / "place"
    run = finished.run(folder / "run")
    (run.adapter / "adapter_model.safetensors").write_bytes(b"no weights")
    row = {"question": "Is there a mass?", "answer": "no", "completion": "<answer>no</answer>", "correct": True}
    (folder / "predictions.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "study.yaml").write_text("about: a test\nnano: true\nseeds: [0]\narms: {sft: {recipe: rarl-sft}}\n")
    (folder / "letter.txt").write_text("Dear colleague")
    for name in ("folder", "runs/other", "elsewhere"):
        (folder / name).mkdir(parents=True)
    (folder / "folder/letter.txt").write_text("Dear colleague")
    (folder / "dangling").symlink_to(folder / "nothing")
    (folder / "link-to-letter").symlink_to(folder / "letter.txt")
    (folder / "link-to-folder").symlink_to(folder / "elsewhere")
    (folder / "link-to-nothing").symlink_to(folder / "nothing")
    return folder


def test_every_command_is_known_to_write_or_not() -> None:
    root = typer.main.get_command(app)
    with_out = {name for name, options in commands(root) if "--out" in options}
    known = {name.partition(",")[0] for name in WRITES}
    assert with_out <= known
    assert {name for name, _ in commands(root)} == known | WRITES_NOTHING


@pytest.mark.parametrize("command", WRITES)
def test_a_command_refuses_what_others_wrote_before_it_loads_a_model(
    command: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    before = content(place.parent)
    for out in OF_OTHERS:
        arguments = [part.format(out=out) for part in WRITES[command].split()]
        error = CliRunner().invoke(app, arguments).exception
        assert isinstance(error, LowmedError), (out, error)
        assert len(str(error).splitlines()) == 3, (out, error)
        assert out in error.where or os.path.realpath(out) in error.where, (out, error)
        assert any(words in error.what for words in REFUSED.split("|")), (out, error)
        assert content(place.parent) == before, out
    assert Path("/dev/full").is_char_device()
    assert Path("/dev/null").is_char_device()


def test_only_an_own_file_is_replaced(tmp_path: Path) -> None:
    own, other, link, dangling, of_own = (tmp_path / name for name in ("own", "other", "link", "dangling", "of_own"))
    own.write_text("<title>a - lowmed report</title>")
    other.write_text("a letter")
    link.symlink_to(other)
    dangling.symlink_to(tmp_path / "nothing")
    of_own.symlink_to(own)
    require_own(own, "lowmed report")
    require_own(tmp_path / "new", "lowmed report")
    for path in (other, link, dangling, of_own, tmp_path, Path("/dev/full"), Path("/dev/null")):
        with pytest.raises(RunError, match="lowmed did not write it"):
            require_own(path, "lowmed report")


def test_only_an_own_or_empty_folder_is_written_to(tmp_path: Path) -> None:
    for name in ("own", "empty", "killed", "hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "own/settings.json").touch()
    (tmp_path / "killed/.settings.json.tmp").touch()
    (tmp_path / "hidden/.bashrc").touch()
    (tmp_path / "link").symlink_to(tmp_path / "own")
    for name in ("own", "empty", "killed", "new", "new/newer"):
        require_own_folder(tmp_path / name, "settings.json")
    for name in ("hidden", "link", ".", "..", "link/.."):
        with pytest.raises(RunError, match="lowmed did not write it"):
            require_own_folder(tmp_path / name, "settings.json")


def test_a_report_does_not_replace_another_file(tmp_path: Path) -> None:
    run = tmp_path / "run"
    finished.run(run)
    page = tmp_path / "page.html"
    for _ in range(2):
        report(run, out=page)
    assert "lowmed report" in page.read_text()
    (run / "adapter/README.md").write_text("# My notes\n")
    with pytest.raises(RunError, match="lowmed did not write it"):
        report(run)
    assert (run / "adapter/README.md").read_text() == "# My notes\n"


def test_a_link_in_a_received_run_is_not_followed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in (".bashrc", "README.md"):
        (home / name).write_text("- lowmed\nmine")
    run = finished.run(tmp_path / "run")
    (run.folder / ".report.html.tmp").symlink_to(home / ".bashrc")
    (run.folder / "metrics.jsonl").symlink_to(home / ".bashrc")
    run.adapter.rename(tmp_path / "adapter")
    run.adapter.symlink_to(home)
    with pytest.raises(SetupError, match="this is a link"):
        append_jsonl(run.folder / "metrics.jsonl", [{"step": 1}])
    (run.folder / "metrics.jsonl").unlink()
    report(run)
    write_text(run.folder / "metrics.jsonl", "")
    assert {path.read_text() for path in home.iterdir()} == {"- lowmed\nmine"}


def test_an_export_does_not_replace_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(RunError, match="exists"):
        require_absent(tmp_path / "link")
    require_absent(tmp_path / "new")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of lowmed."""
    row = {"question": "Is there a mass?", "answer": "no"}
    (tmp_path / "table.jsonl").write_text("".join(json.dumps({**row, "id": str(one)}) + "\n" for one in range(4)))
    prepare(str(tmp_path / "table.jsonl"), tmp_path / "data", images=False)
    return tmp_path / "data"


def test_a_data_set_with_files_of_others_is_not_replaced(data: Path) -> None:
    audit(data)
    CliRunner().invoke(app, ["data", "show", str(data)])
    assert (data / "show.html").is_file()
    table = str(data.parent / "table.jsonl")
    prepare(table, data, images=False)  # with everything that lowmed writes there
    (data / ".git").mkdir()
    with pytest.raises(DataError, match=r"would be lost: \.git"):
        prepare(table, data, images=False)
    assert (data / ".git").is_dir()


@pytest.mark.parametrize(("command", "name"), [("audit", "audit.html"), ("audit", "audit.json"), ("show", "show.html")])
def test_a_page_next_to_the_data_does_not_replace_another_file(command: str, name: str, data: Path) -> None:
    (data / name).write_text("Dear colleague")
    result = CliRunner().invoke(app, ["data", command, str(data)])
    assert isinstance(result.exception, RunError)
    assert (data / name).read_text() == "Dear colleague"
    (data / name).unlink()
    for _ in range(2):
        assert CliRunner().invoke(app, ["data", command, str(data)]).exception is None
