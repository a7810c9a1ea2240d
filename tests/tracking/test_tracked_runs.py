"""Real runs of the embedded model with a tracker: the same training, a resume, and nothing private in the output."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import Commands
from conftest import Lowmed, Start
from data.made import jsonl, save_images
from tracking.test_follower import events, mlflow_run, mlflow_series

from lowmed.run import Run

pytestmark = pytest.mark.slow
SMALL = [
    "--nano", "method.max_steps=5", "method.save_steps=2", "method.num_generations=4", "method.prompts_per_step=2",
    "method.max_completion_length=48", "method.canary_steps=2",
]  # fmt: skip
KEY = "0123456789abcdef" * 2
# Runs the command where the machine has another name, if the system allows that. `platform` may have read the real one.
ELSEWHERE = """
import ctypes, os, platform, sys
libc, name, user, group = ctypes.CDLL(None, use_errno=True), b"hospital-machine", os.getuid(), os.getgid()
if libc.unshare(0x10000000 | 0x04000000) == 0:  # a user and a name of its own
    for file, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{file}", "w") as written:
            written.write(text)
    if libc.sethostname(name, len(name)):
        sys.exit(os.strerror(ctypes.get_errno()))
    platform._uname_cache = None
    assert platform.node() == name.decode()
from lowmed.cli import main
main()
"""


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / name).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    read = events(Run(folder))
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def recorded(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The values of metrics.jsonl and canaries.jsonl by name."""
    result: dict[str, list[tuple[int, Any]]] = {}
    for name in ("metrics.jsonl", "canaries.jsonl"):
        for row in (json.loads(line) for line in (run / name).read_text().splitlines()):
            for key in row.keys() - {"step"}:
                if row[key] is not None:
                    result.setdefault(key, []).append((row["step"], pytest.approx(row[key], rel=1e-6)))
    return result


def test_tracking_changes_nothing_and_tensorboard_shows_every_metric(
    tmp_path: Path, lowmed: Lowmed, reseeded: Lowmed
) -> None:
    plain = reseeded("grpo", "--recipe", "rarl", *SMALL, "--out", "my-run")
    assert plain.returncode == 0, plain.stderr
    (tmp_path / "my-run").rename(tmp_path / "plain")
    tracked = lowmed(
        "grpo", "--recipe", "rarl", *SMALL, "--out", "my-run", "track.to=tensorboard", "track.completions=2",
        "track.images=true",
    )  # fmt: skip
    assert tracked.returncode == 0, tracked.stderr
    for name in ("metrics.jsonl", "canaries.jsonl", "rollouts.jsonl"):
        assert rows(tmp_path / "my-run", name) == rows(tmp_path / "plain", name)
    adapter = "adapter/adapter_model.safetensors"
    assert (tmp_path / "my-run" / adapter).read_bytes() == (tmp_path / "plain" / adapter).read_bytes()
    digests = [json.loads((tmp_path / run / "run.json").read_text())["recipe_digest"] for run in ("my-run", "plain")]
    assert digests[0] == digests[1]
    assert not (tmp_path / "plain" / "tracking.json").exists()

    assert scalars(tmp_path / "my-run") == recorded(tmp_path / "my-run")
    read = events(Run(tmp_path / "my-run"))
    assert [event.step for event in read.Tensors("completions")] == [2, 4, 5]
    assert [event.step for event in read.Images("completions/1")] == [2, 4, 5]


def test_a_killed_run_is_tracked_once_each_step_after_its_resume(tmp_path: Path, lowmed: Lowmed, start: Start) -> None:
    arguments = ["grpo", "--recipe", "rarl", *SMALL, "--out", "my-run", "method.max_steps=12", "method.save_steps=4"]
    arguments.append("track.to=tensorboard")
    process = start(*arguments)
    state = tmp_path / "my-run" / "tracking.json"
    while not state.exists() or json.loads(state.read_text())["rows"].get("metrics.jsonl", 0) < 6:
        assert process.poll() is None
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(scalars(tmp_path / "my-run")["reward"]) >= 6  # beyond the checkpoint of step 4
    resumed = lowmed(*arguments, "--resume", "auto", "track.completions=1")  # tracking may change, the rest may not
    assert resumed.returncode == 0, resumed.stderr
    assert "completions: 1" in (tmp_path / "my-run" / "recipe.yaml").read_text()
    assert [event.step for event in events(Run(tmp_path / "my-run")).Tensors("completions")] == [4, 8, 12]
    assert len(list((tmp_path / "my-run" / "tensorboard" / "my-run").iterdir())) == 2
    assert scalars(tmp_path / "my-run") == recorded(tmp_path / "my-run")
    assert [step for step, _ in scalars(tmp_path / "my-run")["reward"]] == list(range(1, 13))


@pytest.mark.parametrize("tool", ["tensorboard", "mlflow", "wandb", "trackio"])
def test_tracked_files_name_no_path_user_machine_or_key(tool: str, tmp_path: Path, commands: Commands) -> None:
    pytest.importorskip(tool)
    data = tmp_path / "ward-seven"
    save_images(data, *(f"{number}.png" for number in range(30)))
    answers = [("yes" if number % 2 else "no") for number in range(30)]
    samples = [
        {"id": f"MRN-{n}", "images": [f"{n}.png"], "question": "Is it?", "answer": answer, "kind": "closed"}
        for n, answer in enumerate(answers)
    ]
    jsonl(data / "samples.jsonl", *samples)
    names = dict.fromkeys(("LOGNAME", "USER", "USERNAME", "LNAME"), "jane-doe-user")
    keys = dict.fromkeys(("WANDB_API_KEY", "HF_TOKEN", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"), KEY)
    servers = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "TRACKIO_SERVER_URL": "http://127.0.0.1:9"}
    command = [
        "grpo", "--recipe", "rl-plain", *SMALL, "data.source=folder",
        f"data.path={data}", "data.split_by=image", f"track.to={tool}", "track.completions=4", "--out",
        str(tmp_path / "my-run"),
    ]  # fmt: skip
    environment = names | keys | servers | {"WANDB_MODE": "online"}
    started = commands.start(tmp_path, *command, code=ELSEWHERE, **environment)
    _out, errors = started.communicate()
    assert started.wait() == 0, errors
    assert "tracking to" not in errors
    folder = tmp_path / "my-run"
    files = [path for path in (folder / tool).rglob("*") if path.is_file()]
    assert files
    private = (
        "ward-seven",
        "jane-doe-user",
        "hospital-machine",
        KEY,
        str(tmp_path),
        str(Path.home()),
        "MRN-",
        "127.0.0.1",
    )
    for path in [*files, folder / "tracking.json"]:
        content = path.read_bytes() + str(path.relative_to(folder)).encode()
        assert not [text for text in private if text.encode() in content], path
    if tool == "mlflow":
        assert mlflow_run(Run(folder)).info.status == "FINISHED"
        assert mlflow_series(Run(folder), "reward") == recorded(folder)["reward"]
    if tool == "tensorboard":
        assert scalars(folder) == recorded(folder)
