"""The run directory: written atomically, read back typed, never overwritten."""

import errno
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from lowmed.errors import RunError, SetupError
from lowmed.files import append_jsonl, disk_errors, read_json, write_json
from lowmed.recipe.io import load_recipe
from lowmed.records import RunRecord, read_record
from lowmed.run import Run, create_run, open_run


def fresh(folder: Path) -> Run:
    return create_run(load_recipe("rarl", nano=True), "rarl-nano", out=str(folder))


def test_a_run_can_be_read_back(tmp_path: Path) -> None:
    run = fresh(tmp_path / "run")
    assert run.recipe == load_recipe("rarl", nano=True)
    run.update(status="finished", seconds=3.0)
    assert run.record.status == "finished"
    assert run.record.recipe_digest == run.recipe.digest
    run.update(steps=7)
    assert (run.record.seconds, run.record.steps, run.record.peak_gib) == (3.0, 7, None)


def test_a_process_killed_while_it_creates_a_run_leaves_its_name_free(tmp_path: Path) -> None:
    """Killed at each file operation in turn: afterwards there is no run, or a whole one that can be resumed."""
    statuses = set()
    for count in range(1, 20):
        folder = tmp_path / str(count) / "run"
        pid = os.fork()
        if pid == 0:
            _kill_at(count, tmp_path / str(count))
            fresh(folder)
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        if folder.exists():
            assert open_run(str(folder)).record.status == "running"
        else:
            assert killed
            assert fresh(folder).recipe.method.kind == "grpo"
        statuses.add(killed)
    assert statuses == {True, False}


def _kill_at(count: int, inside: Path) -> None:
    left = count

    def watch(event: str, details: tuple[object, ...]) -> None:
        nonlocal left
        if event in ("open", "os.mkdir", "os.rename") and str(details[0]).startswith(str(inside)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def test_a_damaged_run_does_not_keep_the_others_from_resuming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    good = fresh(Path("runs/20260101-good"))
    damaged = fresh(Path("runs/20260202-damaged"))
    (damaged.folder / "run.json").write_text("{")
    Path("runs/20260303-empty").mkdir()
    assert open_run("auto").folder == good.folder
    assert "skipped runs/20260202-damaged: the file is not JSON" in caplog.text
    good.update(status="finished")
    with pytest.raises(RunError, match="no unfinished run to resume"):
        open_run("auto")


@pytest.mark.parametrize(
    ("field", "value"), [("updates", 3), ("status", "done"), ("steps", "many"), ("image_pixels", [1])]
)
def test_an_unknown_field_or_a_wrong_type_is_not_written(tmp_path: Path, field: str, value: object) -> None:
    run = fresh(tmp_path / "run")
    before = (run.folder / "run.json").read_text()
    with pytest.raises(RunError, match=f"not a valid RunRecord: {field}"):
        run.update(**{field: value})
    assert (run.folder / "run.json").read_text() == before


def test_a_record_of_a_newer_format_asks_for_an_update(tmp_path: Path) -> None:
    run = fresh(tmp_path / "run")
    file = run.folder / "run.json"
    file.write_text(json.dumps({**read_json(file), "format": 2, "unheard_of": True}))
    with pytest.raises(RunError, match=r"newer version of lowmed \(format 2, this version reads 1\)") as raised:
        _ = run.record
    assert raised.value.where == str(file)
    assert raised.value.fix.startswith("update lowmed")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', "[" * 100_000, '{"format": "2"}'])
def test_a_damaged_record_is_reported_with_its_path(tmp_path: Path, text: str) -> None:
    file = tmp_path / "run.json"
    file.write_text(text)
    with pytest.raises(RunError, match=r"not JSON|not a valid RunRecord") as raised:
        read_record(file, RunRecord)
    assert raised.value.where == str(file)
    with pytest.raises(RunError, match="does not exist"):
        read_record(tmp_path / "none.json", RunRecord)


def test_an_existing_directory_is_never_written_into(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep")
    with pytest.raises(RunError, match="exists"):
        fresh(folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_the_default_directory_is_named_by_time_and_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = create_run(load_recipe("rarl"), "rarl")
    assert run.folder.parent == Path("runs")
    assert run.folder.name.endswith("-rarl")


def test_a_planted_link_is_not_written_through(tmp_path: Path) -> None:
    target, letter = tmp_path / "run.json", tmp_path / "letter.txt"
    letter.write_text("Dear colleague")
    (tmp_path / ".run.json.tmp").symlink_to(letter)
    write_json(target, {"status": "finished"})
    assert read_json(target) == {"status": "finished"}
    assert letter.read_text() == "Dear colleague"
    assert not (tmp_path / ".run.json.tmp").is_symlink()


def test_a_full_disk_while_rows_are_appended_raises() -> None:
    with pytest.raises(SetupError, match="disk is full"):
        append_jsonl(Path("/dev/full"), [{"step": 1}])


def test_other_disk_errors_are_not_swallowed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="other") as caught, disk_errors(tmp_path):
        raise OSError(errno.EIO, "other")
    assert caught.value.errno == errno.EIO


def test_rewinding_drops_rows_after_the_checkpoint_and_an_incomplete_line(tmp_path: Path) -> None:
    run = fresh(tmp_path / "run")
    run.append("metrics.jsonl", [{"step": number} for number in range(1, 6)])
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "los')
    run.rewind("metrics.jsonl", 3)
    assert [row["step"] for row in run.rows("metrics.jsonl")] == [1, 2, 3]


def test_a_last_line_that_ends_within_a_character_is_incomplete(tmp_path: Path) -> None:
    run = fresh(tmp_path / "run")
    run.append("dev_completions.jsonl", [{"step": 1, "completion": "größer"}, {"step": 2, "completion": "größer"}])
    file = run.folder / "dev_completions.jsonl"
    content = file.read_bytes()
    file.write_bytes(content[: content.rindex("ö".encode()) + 1])
    assert run.rows("dev_completions.jsonl") == [{"step": 1, "completion": "größer"}]
    run.rewind("dev_completions.jsonl", 1)
    assert run.rows("dev_completions.jsonl") == [{"step": 1, "completion": "größer"}]
    file.write_bytes(file.read_bytes() + b'{"step": "\xff"}\n')
    with pytest.raises(RunError, match="not JSON"):
        run.rows("dev_completions.jsonl")


def test_only_complete_checkpoints_count(tmp_path: Path) -> None:
    run = fresh(tmp_path / "run")
    assert run.last_checkpoint() is None
    for number, complete in ((20, True), (100, True), (120, False)):
        folder = run.checkpoints / f"checkpoint-{number}"
        folder.mkdir(parents=True)
        if complete:
            (folder / "complete.json").write_text("{}")
    last = run.last_checkpoint()
    assert last is not None
    assert last.name == "checkpoint-100"


def test_auto_opens_the_newest_unfinished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no unfinished run"):
        open_run("auto")
    for name, status in (("20260101-a", "stopped"), ("20260102-b", "running"), ("20260103-c", "finished")):
        create_run(load_recipe("rarl"), name, out=f"runs/{name}").update(status=status)
    assert open_run("auto").folder.name == "20260102-b"


def test_a_directory_that_is_not_a_run_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run directory"):
        open_run(str(tmp_path))
    with pytest.raises(RunError, match="the run does not exist"):
        open_run(str(tmp_path / "none"))


def test_a_new_run_contains_no_path_of_this_machine(tmp_path: Path) -> None:
    run = fresh(tmp_path / "run")
    text = "".join(path.read_text() for path in run.folder.iterdir())
    assert str(tmp_path) not in text
    assert json.loads((run.folder / "run.json").read_text())["status"] == "running"


@pytest.mark.parametrize("kind", ["device", "folder", "pipe", "link to a device"])
def test_nothing_but_a_file_is_replaced(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    match kind:
        case "device":
            path = Path("/dev/null")
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case _:
            path.symlink_to("/dev/null")
    mode = path.stat().st_mode
    with pytest.raises(SetupError, match="this is not a file"):
        write_json(path, {})
    assert path.stat().st_mode == mode
    assert not list(tmp_path.glob(".x*"))
