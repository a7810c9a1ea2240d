"""`lowmed runs`: list, show, compare, prune and remove runs, without a model."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from predictors import division, evaluated, question_only
from typer.testing import CliRunner, Result

from lowmed.cli import app
from lowmed.errors import LowmedError
from lowmed.evaluation.records import EvalReport
from lowmed.evaluation.report import write_report
from lowmed.nano import phantom
from lowmed.recipe.io import load_recipe
from lowmed.report.run_evaluations import _Report
from lowmed.run import Run, create_run, open_run

TEST = phantom.samples("test", 30)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(name: str, status: str = "finished", *overrides: str, steps: int = 4, recipe: str = "rarl") -> Run:
    """A run with checkpoints and the files of an adapter, made without training."""
    run = create_run(load_recipe(recipe, overrides, nano=True), f"{recipe}-nano", out=f"runs/{name}")
    run.update(status=status, steps=steps, data_digest="d" * 64, seconds=2.0, peak_gib=1.0, card="CPU")
    run.append("metrics.jsonl", [{"step": step, "loss": 0.5, "reward": step / 4} for step in range(1, steps + 1)])
    for step in (2, 4):
        folder = run.checkpoints / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "optimizer.pt").write_bytes(b"x" * 2_000_000)
        (folder / "complete.json").write_text(json.dumps({"step": step}))
    if status == "finished":
        run.adapter.mkdir()
        (run.adapter / "adapter_config.json").write_text("{}")
        (run.adapter / "adapter_model.safetensors").write_bytes(b"weights")
    return run


def evaluate(run: Run, questions: int = 30, source: str = "phantom") -> dict[str, Any]:
    folder = run.folder / "evals" / source
    evaluated(folder, division(TEST[:questions]), question_only, controls=0, system="tuned")
    return write_report(folder).model_dump(mode="json")


def runs(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["runs", *arguments])


def listed(*arguments: str) -> dict[str, dict[str, Any]]:
    result = runs("list", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return {row["folder"]: row for row in json.loads(result.stdout)["runs"]}


def refusal(*arguments: str) -> LowmedError:
    error = runs(*arguments).exception
    assert isinstance(error, LowmedError), error
    return error


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


# list


def test_no_runs_is_not_an_error() -> None:
    assert "no runs in runs; e.g. lowmed grpo" in runs().stdout
    Path("runs").mkdir()
    assert "no runs in runs" in runs("list").stdout
    assert listed() == {}
    assert refusal("list", "none").where == "none"


def test_a_row_shows_recipe_steps_accuracy_and_size() -> None:
    run = made("b", "finished", "method.max_steps=4")
    report = evaluate(run)
    made("a", "stopped", "method.max_steps=9").update(started="2001-01-01T00:00:00+00:00", reason="time")
    rows = listed()
    assert list(rows) == ["runs/b", "runs/a"], "newest first"
    row = rows["runs/b"]
    strict = report["splits"]["test"]["results"]["tuned"]["strict"]
    assert row["accuracy"] == {
        "source": "phantom",
        "split": "test",
        "questions": 30,
        "strict": {"accuracy": strict["accuracy"], "by_image": strict["by_image"]},
    }
    assert 0 < strict["accuracy"] < 1
    figures = (row["status"], row["recipe"], row["method"], row["source"], row["steps"], row["max_steps"])
    assert figures == ("finished", "rarl-nano", "grpo", "phantom", 4, 4)
    assert row["bytes"] == sum(len(content) for _, content in everything(run.folder).values())
    shown = runs().stdout
    assert f"{strict['accuracy']:.3f} [" in shown
    assert "4 of 9" in shown
    assert "runs/a: stopped, time" in shown
    assert rows["runs/a"]["accuracy"] is None


def test_the_newest_evaluation_of_the_tuned_model_counts() -> None:
    run = made("a")
    evaluate(run, 30, "older")
    evaluate(run, 10, "newer")
    base = run.folder / "evals" / "base-only"
    evaluated(base, division(TEST), question_only, controls=0, system="base")
    write_report(base)
    for at, name in enumerate(("older", "newer", "base-only")):
        os.utime(run.folder / "evals" / name / "report.json", (1e9 + at, 1e9 + at))
    assert listed()["runs/a"]["accuracy"]["questions"] == 10


def test_running_needs_a_held_lock() -> None:
    run = made("a", "running")
    assert listed()["runs/a"]["status"] == "interrupted"
    with run.lock():
        row = listed()["runs/a"]
        assert row["status"] == "running"
        assert row["reason"].startswith(f"process {os.getpid()}, since")
        assert refusal("rm", "runs/a", "--yes").what == "the run is running"
    assert listed()["runs/a"]["status"] == "interrupted"
    run.update(status="stopped")  # resumed, and still loading the model
    with run.lock():
        assert listed()["runs/a"]["status"] == "running"


def test_an_interrupted_run_shows_the_steps_it_did() -> None:
    run = made("a", "running", steps=3)
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "los')
    assert listed()["runs/a"]["steps"] == 3


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("run.json", "{", "not JSON"),
        ("run.json", "[" * 100_000, "not JSON"),
        ("run.json", "\xff\x00", "not JSON"),
        ("run.json", "[]", "not a valid RunRecord"),
        ("run.json", '{"format": 9, "news": 1}', "newer version of lowmed"),
        ("recipe.yaml", "a: [", "not valid YAML"),
        ("recipe.yaml", "- 1", "not a recipe"),
    ],
)
def test_a_damaged_run_is_listed_with_the_reason_and_left_alone(file: str, text: str, reason: str) -> None:
    made("good")
    bad = made("bad")
    (bad.folder / file).write_text(text, encoding="latin-1")
    before = everything(bad.folder)
    row = listed()["runs/bad"]
    assert row["status"] == "damaged"
    assert reason in row["reason"]
    assert listed()["runs/good"]["status"] == "finished"
    assert reason in runs().stdout.replace("\n", "")
    for command in (["show"], ["compare", "runs/good"], ["prune", "--yes"], ["rm", "--yes"]):
        error = refusal(command[0], "runs/bad", *command[1:])
        assert reason in error.what
        assert error.where == "runs/bad"
    assert runs("prune", "--all", "--yes").exit_code == 0
    assert everything(bad.folder) == before
    assert runs("rm", "runs/bad", "--force", "--yes").exit_code == 0
    assert not bad.folder.exists()


@pytest.mark.parametrize("recipe", ["method: 3\ndata: []", "method: {max_steps: many}", "{}"])
def test_a_recipe_of_another_version_is_no_traceback(recipe: str) -> None:
    run = made("a")
    (run.folder / "recipe.yaml").write_text(recipe)
    assert listed()["runs/a"]["max_steps"] is None
    assert runs("show", "runs/a").exit_code == 0


@pytest.mark.parametrize("text", ["{", "{}", '{"format": 9}', "[" * 100_000])
def test_a_damaged_report_is_a_warning(text: str) -> None:
    run = made("a")
    evaluate(run)
    (run.folder / "evals/phantom/report.json").write_text(text)
    assert listed()["runs/a"]["accuracy"] is None
    assert "warning    evals/phantom: " in runs("show", "runs/a").stdout


@pytest.mark.parametrize("text", ["5\n", "[]\n", "{\n", '{"step": "x", "reward": "y"}\n', "\xff\n", ""])
def test_damaged_metrics_are_no_traceback(text: str) -> None:
    for name in ("a", "b"):
        (made(name, "stopped").folder / "metrics.jsonl").write_text(text, encoding="latin-1")
    for command in (["list"], ["show", "runs/a"], ["compare", "runs/a", "runs/b"]):
        assert runs(*command).exit_code == 0, command


def test_other_folders_are_listed_with_the_reason() -> None:
    Path("runs/notes").mkdir(parents=True)
    Path("runs/bridge").mkdir()
    Path("runs/bridge/bridge.json").write_text("{}")
    Path("runs/judge.sqlite").touch()
    Path("runs/.hidden").mkdir()
    rows = listed()
    assert {name: row["status"] for name, row in rows.items()} == {"runs/bridge": "other", "runs/notes": "other"}
    assert rows["runs/bridge"]["reason"] == "a bridge; lowmed runs list runs/bridge"
    assert refusal("show", "runs/notes").what == "not a run directory"
    assert refusal("rm", "runs/notes", "--yes", "--force").what == "not a run directory"
    assert refusal("rm", "runs/judge.sqlite", "--yes").what == "not a run directory"
    assert refusal("rm", "runs", "--yes").what == "not a run directory"
    assert Path("runs/notes").is_dir()
    made("a")
    assert refusal("list", "runs/a").fix == "lowmed runs show runs/a"


def test_the_fields_that_are_read_from_a_report_are_those_that_eval_writes() -> None:
    assert _Report.model_fields["format"].default == EvalReport.model_fields["format"].default
    assert _Report.model_fields.keys() <= EvalReport.model_fields.keys()


# show and compare


def test_show_prints_the_changed_keys_the_accuracies_and_the_next_command() -> None:
    run = made("a", "finished", "lora.rank=16")
    (run.folder / "split.json").write_text(json.dumps({"train": ["1", "2"], "test": ["3"]}))
    result = json.loads(runs("show", "runs/a", "--json").stdout)
    assert result["shipped_recipe"] == "rarl"
    assert result["recipe_changes"] == {"lora.rank": [8, 16]}
    assert result["parts"] == {"train": 2, "test": 1}
    assert [checkpoint["name"] for checkpoint in result["checkpoints"]] == ["checkpoint-4", "checkpoint-2"]
    assert result["next"] == "lowmed eval runs/a --with-base"
    assert result["warnings"] == []
    evaluate(run)
    (run.folder / "earlier_data_rows.jsonl").touch()
    shown = runs("show", "runs/a").stdout
    assert "changed    lora.rank=16 (shipped: 8)\n" in shown
    assert "test, n=30, tuned: strict 0." in shown
    assert "warning    the data changed during training" in shown
    assert "next       lowmed report runs/a\n" in shown


@pytest.mark.parametrize(("status", "recipe", "method"), [("stopped", "rarl", "grpo"), ("running", "rarl-sft", "sft")])
def test_the_next_command_of_an_unfinished_run_resumes_it(status: str, recipe: str, method: str) -> None:
    run = made("a", status, recipe=recipe)
    assert json.loads(runs("show", "runs/a", "--json").stdout)["next"] == f"lowmed {method} --resume runs/a"
    with run.lock():
        assert json.loads(runs("show", "runs/a", "--json").stdout)["next"] == ""


def test_compare_shows_only_the_keys_that_differ() -> None:
    for name, rank in (("a", 8), ("b", 16), ("c", 16)):
        evaluate(made(name, "finished", f"lora.rank={rank}"))
    result = json.loads(runs("compare", "runs/a", "runs/b", "runs/c", "--json").stdout)
    assert [column["settings"] for column in result["runs"]] == [{"lora.rank": rank} for rank in (8, 16, 16)]
    assert result["runs"][0]["final"] == {"reward": pytest.approx(0.625), "loss": pytest.approx(0.5)}
    assert result["warnings"] == []
    shown = runs("compare", "runs/a", "runs/b", "runs/c").stdout
    assert "lora.alpha" not in shown
    assert shown.count("n=30") == 3
    assert "lowmed compare A B" in shown
    assert refusal("compare", "runs/a").fix == "name another run"


def test_compare_warns_of_other_questions_and_of_other_settings() -> None:
    first, second, third = (made(name) for name in "abc")
    for run, questions in ((first, 30), (second, 20), (third, 30)):
        evaluate(run, questions)

    def change(run: Run, **values: Any) -> None:
        file = run.folder / "evals/phantom/report.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    assert "phantom: NOT THE SAME QUESTIONS (questions differ)" in runs("compare", "runs/a", "runs/b").stdout
    assert "NOT THE SAME" not in runs("compare", "runs/a", "runs/c").stdout
    change(third, data_digest="e" * 64)
    assert "phantom: NOT THE SAME QUESTIONS (data_digest differ)" in runs("compare", "runs/a", "runs/c").stdout
    change(third, data_digest="d" * 64, max_new_tokens=8)
    assert "phantom: EVALUATED DIFFERENTLY (max_new_tokens differ)" in runs("compare", "runs/a", "runs/c").stdout


# prune


def test_prune_removes_checkpoints_and_nothing_else() -> None:
    run = made("a")
    evaluate(run)
    before = everything(run.folder)
    listing = runs("prune", "runs/a")
    assert isinstance(listing.exception, LowmedError)
    assert listing.exception.fix == "add --yes"
    assert "remove  runs/a/checkpoints, 3.8 MiB" in listing.stderr
    assert everything(run.folder) == before
    assert runs("prune", "runs/a", "--yes").exit_code == 0
    after = everything(run.folder)
    after.pop("runs/a/lock")
    assert after == {name: file for name, file in before.items() if "/checkpoints/" not in name}
    assert not run.checkpoints.exists()
    assert "nothing to remove" in runs("prune", "runs/a", "--yes").stderr


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
def test_prune_keeps_the_checkpoints_of_unfinished_runs(status: str) -> None:
    made("done")
    run = made("a", status)
    before = everything(run.folder)
    assert "the run is not finished" in refusal("prune", "runs/done", "runs/a", "--yes").what
    assert Path("runs/done/checkpoints").is_dir(), "nothing is removed if a named run is refused"
    with run.lock():
        assert refusal("prune", "runs/a", "--yes").what == "the run is not finished, it is running"
        assert "kept    runs/a: it is running" in runs("prune", "--all", "--yes").stderr
    assert not Path("runs/done/checkpoints").exists()
    (run.folder / "lock").unlink()
    assert everything(run.folder) == before


def test_prune_takes_either_names_or_all() -> None:
    assert "give run directories, or --all" in refusal("prune").fix
    made("a")
    assert "give run directories, or --all" in refusal("prune", "runs/a", "--all").fix


def test_prune_follows_no_link_out_of_the_run() -> None:
    outside = Path("outside/checkpoint-2")
    outside.mkdir(parents=True)
    (outside / "thesis.txt").write_text("years of work")
    inner = made("inner")
    (inner.checkpoints / "checkpoint-1").symlink_to(outside.absolute())
    linked = made("linked")
    linked.checkpoints.rename("elsewhere")
    linked.checkpoints.symlink_to(Path("elsewhere").absolute())
    before = everything(Path("elsewhere"))
    assert "is a symbolic link" in refusal("prune", "runs/linked", "--yes").what
    Path("runs/link").symlink_to(inner.folder.absolute())
    assert "symbolic link, not the run itself" in refusal("prune", "runs/link", "--yes").what
    assert "symbolic link, not the run itself" in refusal("rm", "runs/link", "--yes").what
    assert runs("prune", "--all", "--yes").exit_code == 0
    assert everything(Path("elsewhere")) == before
    assert not inner.checkpoints.exists()
    assert (outside / "thesis.txt").read_text() == "years of work"
    assert runs("rm", "runs/linked", "--yes").exit_code == 0
    assert everything(Path("elsewhere")) == before


def test_prune_keeps_the_only_copy_of_the_weights() -> None:
    run = made("a")
    (run.adapter / "adapter_model.safetensors").rename(run.checkpoints / "checkpoint-4/adapter_model.safetensors")
    assert "adapter is missing" in refusal("prune", "runs/a", "--yes").what
    link = run.adapter / "adapter_model.safetensors"
    link.symlink_to("../checkpoints/checkpoint-4/adapter_model.safetensors")
    assert "adapter is missing" in refusal("prune", "runs/a", "--yes").what
    assert "kept    runs/a" in runs("prune", "--all", "--yes").stderr
    assert link.read_bytes() == b"weights"


def test_prune_keeps_a_checkpoint_that_another_run_starts_from() -> None:
    made("a")
    made("b", "stopped", "lora.start=runs/a/checkpoints/checkpoint-2")
    assert "another run starts from a checkpoint" in refusal("prune", "runs/a", "--yes").what
    assert Path("runs/a/checkpoints/checkpoint-2").is_dir()


# rm


def test_rm_removes_runs_and_lists_them_first() -> None:
    made("a")
    made("b", "stopped")
    listing = runs("rm", "runs/a", "runs/b")
    assert isinstance(listing.exception, LowmedError)
    assert "remove  runs/b, 3.8 MiB, stopped" in listing.stderr
    assert listing.exception.where.startswith("2 folders")
    assert {row["status"] for row in listed().values()} == {"finished", "stopped"}
    assert runs("rm", "runs/a/", "runs/b", "runs/a", "--yes").exit_code == 0
    assert list(Path("runs").iterdir()) == []


def test_rm_works_inside_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made("a").folder.absolute()
    monkeypatch.chdir(folder)
    assert runs("rm", ".", "--yes").exit_code == 0
    assert not folder.exists()


def test_rm_does_not_take_auto_for_the_newest_run() -> None:
    made("a", "stopped")
    assert refusal("rm", "auto", "--yes").what == "the run does not exist"
    assert Path("runs/a").is_dir()


@pytest.mark.parametrize("start", ["runs/a", "runs/a/adapter", "ABSOLUTE", "/elsewhere/a/adapter"])
def test_rm_keeps_a_run_that_another_one_starts_from(start: str) -> None:
    run = made("a")
    start = str(run.folder.absolute()) if start == "ABSOLUTE" else start
    made("b", "stopped", f"lora.start={start}")
    error = refusal("rm", "runs/a", "--yes")
    assert error.what == "another run starts from this run's adapter"
    assert "b starts from it" in error.where
    assert run.folder.is_dir()
    assert runs("rm", "runs/a", "runs/b", "--yes").exit_code == 0
    assert not run.folder.exists()


def test_a_run_of_another_name_or_place_does_not_keep_a_run() -> None:
    run = made("a")
    Path("other/a").mkdir(parents=True)
    made("b", "stopped", "lora.start=other/a")
    made("c", "stopped", "lora.start=runs/ab")
    assert runs("rm", "runs/a", "--yes").exit_code == 0
    assert not run.folder.exists()


def test_force_removes_a_run_that_another_one_starts_from_but_not_a_running_one() -> None:
    run = made("a")
    made("b", "stopped", "lora.start=runs/a")
    with run.lock():
        assert refusal("rm", "runs/a", "--yes", "--force").what == "another process is using this run"
    assert run.folder.is_dir()
    assert runs("rm", "runs/a", "--force", "--yes").exit_code == 0
    assert not run.folder.exists()


def test_rm_keeps_a_run_that_contains_another() -> None:
    made("a")
    made("a/inner", "stopped")
    assert "contains another run" in refusal("rm", "runs/a", "--yes", "--force").what


def test_a_removal_that_is_killed_never_leaves_half_a_run_under_its_name() -> None:
    run = made("a", "stopped")
    for number in range(20_000):
        (run.checkpoints / f"{number}").touch()
    aside = Path("runs/.a.removed")
    command = [sys.executable, "-m", "lowmed", "runs", "rm", "runs/a", "--yes"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and (run.folder.exists() or (aside / "run.json").exists()):
            pass
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "the removal ended before it was killed: add files"
    [(name, row)] = listed().items()
    assert (name, row["status"]) == (str(aside), "leftover")
    assert aside.joinpath("checkpoints").is_dir(), "the removal was not killed in the middle: add files"
    with pytest.raises(LowmedError, match="no unfinished run"):
        open_run("auto")
    made("a", "stopped")  # a new run may take the name, and be removed too
    assert runs("rm", "runs/a", "--yes").exit_code == 0
    assert runs("rm", name, "--yes").exit_code == 0
    assert list(Path("runs").iterdir()) == []


def test_a_removal_that_is_killed_right_after_the_renaming_leaves_no_run() -> None:
    made("a", "stopped").folder.rename("runs/.a.removed")
    with pytest.raises(LowmedError, match="no unfinished run"):
        open_run("auto")
    assert listed()["runs/.a.removed"]["status"] == "leftover"
    made("a")
    assert runs("rm", "runs/a", "--yes").exit_code == 0
    assert runs("rm", "runs/.a.removed", "--yes").exit_code == 0
    assert list(Path("runs").iterdir()) == []


@pytest.mark.parametrize("name", ["a.removed", ".removed", ".b.removed"])
def test_a_folder_that_only_looks_like_a_leftover_is_not_removed(name: str) -> None:
    Path(name).mkdir()
    (Path(name) / "thesis.txt").write_text("years of work")
    assert refusal("rm", name, "--yes", "--force").what == "not a run directory"
    assert (Path(name) / "thesis.txt").exists()


# on a terminal


@pytest.mark.parametrize(("answer", "code", "left"), [("n\n", 130, True), ("\n", 130, True), ("y\n", 0, False)])
def test_a_terminal_gets_a_question(answer: str, code: int, left: bool) -> None:
    run = made("a")
    shown, ended = on_a_terminal(["runs", "prune", "runs/a"], answer)
    assert "remove  runs/a/checkpoints, 3.8 MiB" in shown
    assert "Remove this, 3.8 MiB in all? [y/N]" in shown
    assert ended == code
    assert run.checkpoints.exists() == left


def on_a_terminal(arguments: list[str], answer: str) -> tuple[str, int]:
    """Run the command on a pseudo-terminal, and answer its question."""
    main, other = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "lowmed", *arguments], stdin=other, stdout=other, stderr=other) as run:
        os.close(other)
        shown = ""
        for part in _output(main):
            shown += part
            if answer and "[y/N]" in shown:
                os.write(main, answer.encode())
                answer = ""
    os.close(main)
    return shown, run.returncode


def _output(terminal: int) -> Iterator[str]:
    deadline = time.monotonic() + 60
    while select.select([terminal], [], [], max(deadline - time.monotonic(), 0))[0]:
        try:
            yield os.read(terminal, 10_000).decode()
        except OSError:  # the other end is closed
            return
    raise AssertionError("no output in a minute")
