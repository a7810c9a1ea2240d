"""What a tracker gets from the files of a run, read back with the tools' own readers."""

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lowmed.errors import SetupError
from lowmed.recipe.io import load_recipe
from lowmed.run import Run, create_run
from lowmed.tracking.follower import Follower
from lowmed.tracking.parameters import LOCAL, parameters

DIGEST = "5" * 64
GREY = Image.new("RGB", (1024, 64), "grey")


def make_run(folder: Path, *overrides: str) -> Run:
    run = create_run(load_recipe("rarl", overrides, nano=True), "rarl-nano", out=str(folder / "my-run"))
    run.update(data_digest=DIGEST)
    return run


def add_step(run: Run, step: int, reward: float) -> None:
    run.append("metrics.jsonl", [{"step": step, "reward": reward, "kl": None, "rewards//home/a/mine.py:f": 0.5}])
    scores = {"accuracy": {"value": 1.0, "why": ""}, "format": {"value": 1.0, "why": "", "paid": 0.0}}
    row = {"step": step, "id": "MRN-123", "scores": scores}
    run.append(
        "rollouts.jsonl", [{**row, "row": number, "completion": f"{step}: text {number}"} for number in range(8)]
    )
    if step % 2 == 0:
        run.append("canaries.jsonl", [{"step": step, "canary/refused": step / 8}])


def follow(run: Run, kept_step: int = 0) -> Follower:
    return Follower(run, kept_step, lambda row: [GREY.copy()])


def rewind(run: Run, step: int) -> None:
    for name in ("metrics.jsonl", "rollouts.jsonl", "canaries.jsonl"):
        run.rewind(name, step)


def events(run: Run) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(
        str(run.folder / "tensorboard" / "my-run"), size_guidance={"tensors": 0, "images": 0}
    ).Reload()


def tensorboard_series(run: Run, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(run).Scalars(name)]


def mlflow_client(run: Run) -> Any:
    return pytest.importorskip("mlflow").MlflowClient(f"sqlite:///{run.folder}/mlflow/mlflow.db")


def mlflow_run(run: Run) -> Any:
    client = mlflow_client(run)
    [stored] = client.search_runs([client.get_experiment_by_name("lowmed").experiment_id])
    return stored


def mlflow_series(run: Run, name: str) -> list[tuple[int, float]]:
    history = mlflow_client(run).get_metric_history(mlflow_run(run).info.run_id, name)
    return sorted((metric.step, metric.value) for metric in history)


def trackio_series(run: Run, name: str) -> list[tuple[int, float]]:
    import trackio  # with the folder of the run that was tracked last

    logs = trackio.SQLiteStorage.get_logs("lowmed", run.folder.name)
    return sorted((row["step"], row[name]) for row in logs if name in row)


SERIES: dict[str, Callable[[Run, str], list[tuple[int, float]]]] = {
    "tensorboard": tensorboard_series, "mlflow": mlflow_series, "trackio": trackio_series,
}  # fmt: skip
TOOLS = sorted(SERIES)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let every write beyond that size of a file fail."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("tool", TOOLS)
def test_metrics_and_canaries_arrive_by_name_and_step(tool: str, tmp_path: Path) -> None:
    pytest.importorskip(tool)
    run = make_run(tmp_path, f"track.to={tool}")
    follower = follow(run)
    for step in (1, 2):
        add_step(run, step, step / 4)
        follower.step(step)
    follower.checkpoint(2)
    follower.close("finished")
    assert SERIES[tool](run, "reward") == [(1, 0.25), (2, 0.5)]
    assert SERIES[tool](run, "canary/refused") == [(2, 0.25)]
    assert SERIES[tool](run, "rewards/mine.py:f") == [(1, 0.5), (2, 0.5)]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_resumed_run_neither_repeats_nor_contradicts_a_step(tool: str, tmp_path: Path) -> None:
    pytest.importorskip(tool)
    run = make_run(tmp_path, f"track.to={tool}")
    follower = follow(run)
    for step, reward in ((1, 0.25), (2, 0.5), (3, 99.0), (4, 99.0)):
        add_step(run, step, reward)
        follower.step(step)
        if step == 2:
            follower.checkpoint(step)
    # Killed here; the last checkpoint is that of step 2.
    rewind(run, 2)
    resumed = follow(run, 2)
    assert resumed.tracker.run_id == follower.tracker.run_id
    for step, reward in ((3, 0.75), (4, 1.0)):
        add_step(run, step, reward)
        resumed.step(step)
    resumed.checkpoint(4)
    resumed.close("finished")
    assert SERIES[tool](run, "reward") == [(1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0)]
    assert SERIES[tool](run, "canary/refused") == [(2, 0.25), (4, 0.5)]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_run_that_is_tracked_from_a_resume_on_is_tracked_in_full(tool: str, tmp_path: Path) -> None:
    pytest.importorskip(tool)
    run = make_run(tmp_path)
    for step in (1, 2):
        add_step(run, step, 0.5)
    digest = run.recipe.digest
    run.track_by(load_recipe("rarl", [f"track.to={tool}"], nano=True).track)
    assert run.recipe.digest == digest
    follow(run, 2).close("stopped")
    assert SERIES[tool](run, "reward") == [(1, 0.5), (2, 0.5)]


@pytest.mark.parametrize("tool", ["tensorboard", "trackio"])  # mlflow keeps its database open within a process
def test_after_its_files_were_deleted_a_run_is_tracked_again_in_full(tool: str, tmp_path: Path) -> None:
    pytest.importorskip(tool)
    run = make_run(tmp_path, f"track.to={tool}")
    add_step(run, 1, 0.5)
    follow(run, 1).close("stopped")
    shutil.rmtree(run.folder / tool)
    follow(run, 1).close("stopped")
    assert SERIES[tool](run, "reward") == [(1, 0.5)]


def test_a_later_file_of_metrics_is_tracked_too(tmp_path: Path) -> None:
    run = make_run(tmp_path, "track.to=tensorboard")
    follower = follow(run)
    add_step(run, 1, 0.5)
    follower.checkpoint(1)
    run.append("dev.jsonl", [{"step": 1, "source": "x", "lenient": {"accuracy": 0.25}}])
    follower.step(1)
    assert tensorboard_series(run, "dev/lenient/accuracy") == [(1, 0.25)]


def test_an_incomplete_line_is_tracked_once_it_is_complete(tmp_path: Path) -> None:
    run = make_run(tmp_path, "track.to=tensorboard")
    follower = follow(run)
    line = json.dumps({"step": 1, "reward": 0.5}) + "\n"
    (run.folder / "metrics.jsonl").write_text(line[:9])
    follower.step(1)
    (run.folder / "metrics.jsonl").write_text(line)
    follower.step(1)
    assert tensorboard_series(run, "reward") == [(1, 0.5)]


def test_tensorboard_shows_settings_digests_and_samples(tmp_path: Path) -> None:
    run = make_run(tmp_path, "track.to=tensorboard", "track.completions=2", "track.images=true")
    follower = follow(run)
    add_step(run, 1, 0.5)
    follower.checkpoint(1)
    follower.checkpoint(1)
    read = events(run)
    [recipe] = read.Tensors("recipe")
    text = recipe.tensor_proto.string_val[0].decode()
    assert f"| recipe_digest | {run.record.recipe_digest} |" in text
    assert f"| data_digest | {DIGEST} |" in text
    assert "| lora.rank | 8 |" in text
    [shown] = read.Tensors("completions")
    text = shown.tensor_proto.string_val[0].decode()
    assert shown.step == 1
    assert text == "row 0, reward 1.000\n\n    1: text 0\n\nrow 4, reward 1.000\n\n    1: text 4"
    assert read.Tags()["images"] == ["completions/0", "completions/1"]
    assert [read.Images(tag)[0].width for tag in read.Tags()["images"]] == [512, 512]


def test_without_permission_no_image_is_opened_and_no_id_is_tracked(tmp_path: Path) -> None:
    run = make_run(tmp_path, "track.to=tensorboard", "track.completions=2")

    def refuse(row: int) -> Any:
        raise AssertionError(row)

    follower = Follower(run, 0, refuse)
    add_step(run, 1, 0.5)
    follower.checkpoint(1)
    assert not follower.warned
    for file in (run.folder / "tensorboard").rglob("events*"):
        assert b"MRN-123" not in file.read_bytes()


def test_mlflow_shows_settings_status_and_samples(tmp_path: Path) -> None:
    run = make_run(tmp_path, "track.to=mlflow", "track.completions=2", "track.images=true")
    pytest.importorskip("mlflow")
    follower = follow(run)
    add_step(run, 1, 0.5)
    follower.checkpoint(1)
    follower.close("stopped")
    assert mlflow_run(run).info.status == "KILLED"
    follow(run, 1).close("finished")
    stored = mlflow_run(run)
    assert (stored.info.run_name, stored.info.status, stored.info.user_id) == ("my-run", "FINISHED", "unknown")
    assert stored.data.params["recipe_digest"] == run.record.recipe_digest
    assert stored.data.params["data_digest"] == DIGEST
    assert stored.data.tags == {"mlflow.runName": "my-run"}
    assert stored.info.artifact_uri == f"mlflow-artifacts:/1/{stored.info.run_id}/artifacts"
    folder = run.folder / "mlflow" / "artifacts" / "1" / stored.info.run_id / "artifacts" / "completions"
    assert (folder / "step-000001.md").read_text().startswith("row 0, reward 1.000\n\n    1: text 0")
    assert Image.open(folder / "step-000001-1.png").size == (512, 32)


def test_offline_the_environment_cannot_send_a_run_to_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    run = make_run(tmp_path, "track.to=mlflow")
    follower = follow(run)
    add_step(run, 1, 0.5)
    follower.checkpoint(1)
    assert mlflow_series(run, "reward") == [(1, 0.5)]


def test_wandb_writes_offline_files_and_keeps_the_run_on_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    run = make_run(tmp_path, "track.to=wandb", "track.completions=1", "track.images=true")
    follower = follow(run)
    add_step(run, 1, 0.5)
    follower.checkpoint(1)
    follower.close("stopped")
    resumed = follow(run, 1)
    add_step(run, 2, 0.5)
    resumed.checkpoint(2)
    resumed.close("finished")
    assert not resumed.warned
    assert resumed.tracker.run_id == follower.tracker.run_id
    sessions = list((run.folder / "wandb").glob(f"offline-run-*-{follower.tracker.run_id}"))
    assert len(sessions) in (1, 2)  # one folder a second
    files = [path for path in (run.folder / "wandb").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".wandb", ".html", ".png"}
    assert not [path for path in files if b"k" * 40 in path.read_bytes() or str(tmp_path).encode() in path.read_bytes()]


def test_a_full_disk_warns_once_and_nothing_is_missing_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(tmp_path, "track.to=tensorboard")
    follower = follow(run)
    add_step(run, 1, 0.25)
    follower.step(1)
    [file] = (run.folder / "tensorboard").rglob("events*")
    size = file.stat().st_size + 20  # the next record fits in part
    assert (run.folder / "tracking.json").stat().st_size < size
    for step in (2, 3):
        add_step(run, step, step / 4)
    with full_disk(size):
        follower.step(2)
        follower.step(3)
    follower.step(3)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "tracking to tensorboard failed, and training goes on"
    ]
    assert tensorboard_series(run, "reward") == [(1, 0.25), (2, 0.5), (3, 0.75)]


def test_a_store_that_is_gone_does_not_end_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("mlflow")
    run = make_run(tmp_path, "track.to=mlflow", "track.completions=1")
    follower = follow(run)
    with (run.folder / "mlflow" / "mlflow.db").open("r+b") as file:
        file.write(b"\0" * 4096)
    add_step(run, 1, 0.5)
    follower.checkpoint(1)
    follower.checkpoint(1)
    follower.close("failed")
    assert [record.name for record in caplog.records] == ["lowmed"]


def test_a_tracker_that_cannot_write_is_an_error_at_the_start(tmp_path: Path) -> None:
    run = make_run(tmp_path, "track.to=tensorboard")
    (run.folder / "tensorboard").write_text("")
    with pytest.raises(SetupError, match="the tracker cannot start"):
        follow(run)


def test_no_parameter_names_a_path_or_an_address(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    rewards = [
        {"name": "accuracy"}, {"name": f"{tmp_path}/mine.py:f"},
        {"name": "semantic", "model": f"{tmp_path}/my model", "calibration": "private/scale.json.v1/x"},
    ]  # fmt: skip
    (tmp_path / "mine.py").write_text("")
    run = make_run(
        tmp_path,
        f"data.path={tmp_path}/data", f"data.difficulty={tmp_path}/d.jsonl", f"lora.start={tmp_path}/start",
        f"model.name={tmp_path}/base", "judge.url=http://judge.hospital:1", f"judge.calibration={tmp_path}/j.json",
        f"method.rewards={json.dumps(rewards)}", "about=of Jane Doe",
    )  # fmt: skip
    values = parameters(run)
    text = json.dumps(values)
    for secret in (str(tmp_path), tmp_path.name, "d.jsonl", "judge.hospital", "my model", "scale.json", "Jane"):
        assert secret not in text
    assert values["model.name"] == LOCAL
    assert "mine.py:f" in values["method.rewards"]
    assert "data.path" not in values
    plain = parameters(make_run(tmp_path / "other", "model.name=Qwen/Qwen2-VL-2B-Instruct", "data.source=vqa-rad"))
    assert (plain["model.name"], plain["data.source"]) == ("Qwen/Qwen2-VL-2B-Instruct", "vqa-rad")
