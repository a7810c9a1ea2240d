import errno
import json
from pathlib import Path

import pytest

from lowmed.errors import RunError, SetupError
from lowmed.files import disk_errors, read_json, write_json
from lowmed.recipe.io import load_recipe
from lowmed.run import Run, create_run, open_run


def fresh(folder: Path) -> Run:
    return create_run(load_recipe("rarl", nano=True), "rarl-nano", out=str(folder))


def test_a_run_can_be_read_back(tmp_path: Path) -> None:
    run = fresh(tmp_path / "run")
    assert run.recipe == load_recipe("rarl", nano=True)
    run.update(status="finished", seconds=3.0)
    assert run.record["status"] == "finished"
    assert run.record["recipe_digest"] == run.recipe.digest


def test_an_existing_folder_is_never_written_into(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep")
    with pytest.raises(RunError, match="exists"):
        fresh(folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_a_folder_name_is_made_from_time_and_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = create_run(load_recipe("rarl"), "rarl")
    assert run.folder.parent == Path("runs")
    assert run.folder.name.endswith("-rarl")


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path) -> None:
    """The temporary file is a link to the device that is always full: a true ENOSPC."""
    target = tmp_path / "run.json"
    write_json(target, {"status": "running"})
    (tmp_path / ".run.json.tmp").symlink_to("/dev/full")
    with pytest.raises(SetupError, match="disk is full"):
        write_json(target, {"status": "finished"})
    assert read_json(target) == {"status": "running"}
    assert not (tmp_path / ".run.json.tmp").is_symlink()


def test_a_full_disk_while_rollouts_are_added_says_so(tmp_path: Path) -> None:
    run = fresh(tmp_path / "run")
    (run.folder / "rollouts.jsonl").symlink_to("/dev/full")
    with pytest.raises(SetupError, match="disk is full"):
        run.append("rollouts.jsonl", [{"step": 1}])


def test_other_errors_of_the_disk_are_not_swallowed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="other") as caught, disk_errors(tmp_path):
        raise OSError(errno.EIO, "other")
    assert caught.value.errno == errno.EIO


def test_rewinding_drops_what_came_after_the_checkpoint_and_a_cut_line(tmp_path: Path) -> None:
    run = fresh(tmp_path / "run")
    run.append("metrics.jsonl", [{"step": number} for number in range(1, 6)])
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "los')
    run.rewind("metrics.jsonl", 3)
    assert [row["step"] for row in run.rows("metrics.jsonl")] == [1, 2, 3]


def test_only_checkpoints_written_to_their_end_count(tmp_path: Path) -> None:
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


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        open_run(str(tmp_path))


def test_nothing_in_a_new_run_names_this_machine(tmp_path: Path) -> None:
    run = fresh(tmp_path / "run")
    text = "".join(path.read_text() for path in run.folder.iterdir())
    assert str(tmp_path) not in text
    assert json.loads((run.folder / "run.json").read_text())["status"] == "running"
