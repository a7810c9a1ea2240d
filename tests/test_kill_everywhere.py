"""A command that is killed at any file operation, and again when it is repeated, ends as if it had never been killed.

A test kills at some of the operations; `LOWMED_KILL_ALL=1` kills at every one of them.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import Commands
from data.made import jsonl, row, save_images
from ship import finished

from lowmed import prompt
from lowmed.api.prepare import prepare
from lowmed.distillation.data import open_data
from lowmed.evaluation import results_folder
from lowmed.evaluation.controls import SAMPLED
from lowmed.evaluation.metrics import prediction
from lowmed.evaluation.report import eval_settings
from lowmed.recipe import ModelSpec

pytestmark = pytest.mark.slow
POINTS = 2  # operations at which a test kills, at equal distances
ALL = bool(os.environ.get("LOWMED_KILL_ALL"))

# Reads cases from a file. For each one it runs a command undisturbed, and then again and again in child processes that
# are killed at their N-th file operation inside a folder. The imports are shared: they take longer than the commands.
RUNNER = """
import contextlib, io, json, os, shutil, signal, sys
from lowmed.api import bridge  # noqa: F401
from lowmed.cli import main
from lowmed.engine import dev_evaluation, evaluator, grpo, sft, train  # noqa: F401
from lowmed.ship import merge_job, verify  # noqa: F401
from lowmed.ship.gguf import export  # noqa: F401
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "shutil.copyfile"}

def child(arguments, folder, within, kill_at, report):
    count = 0
    def watch(event, details):
        nonlocal count
        if event in EVENTS and isinstance(details[0], (str, os.PathLike)):
            writes = event != "open" or (isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR))
            path = os.path.abspath(os.fspath(details[0])) if writes else ""
            if path.startswith(folder) and within in path:
                count += 1
                if count == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    sys.argv = ["lowmed", *arguments]
    code = 0
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
            main()
    except SystemExit as end:
        code = end.code or 0
    with open(report, "w") as file:
        json.dump([count, code, out.getvalue()[-2000:]], file)
    os._exit(0)

def run(arguments, folder, within, kill_at=0):
    report = f"{sys.argv[1]}.report"
    pid = os.fork()
    if pid == 0:
        child(arguments, folder, within, kill_at, report)
    os.waitpid(pid, 0)
    if not os.path.exists(report):
        return None  # killed
    with open(report) as file:
        result = json.load(file)
    os.remove(report)
    return result

def kill(case):
    first, out, within, points = case["first"], case["out"], case["within"], case["points"]
    folder = os.path.dirname(out)
    reports = [run(first, folder, within)]
    if not os.path.exists(out):
        sys.exit(f"{first} made no {out}: {reports}")
    shutil.copytree(out, f"{out}.0")
    total = reports[0][0]
    step = -(-total // points) if points else 1
    for point in range(max(1, step // 2), total + 1, step):
        shutil.rmtree(out)
        run(first, folder, within, point)
        def again(kill_at):
            return run(case["again"] if os.path.exists(out) else first, folder, within, kill_at)
        reports.append([point, again(max(1, point // 2)), again(0)])
        shutil.copytree(out, f"{out}.{point}")
    return reports

with open(sys.argv[1]) as file:
    results = [kill(case) for case in json.load(file)]
with open(sys.argv[1], "w") as file:
    json.dump(results, file)
"""


@dataclass(frozen=True)
class Case:
    """A command, how to repeat it once `out` exists, what has to be equal then, its exit code, and where it is killed.

    It is killed at this number of points. Only operations on paths that contain the text `within` count.
    """

    out: Path
    first: list[str]
    again: list[str]
    content: Callable[[Path], Any]
    code: int = 0
    within: str = ""
    points: int = POINTS


def killed_everywhere(commands: Commands, place: Path, *cases: Case) -> int:
    """Kill `first`, then `again`, at the same operations; repeat `again`; compare with an undisturbed run.

    Returns:
        The number of operations of all undisturbed runs.
    """
    job = place / "job.json"
    described = [
        {"out": str(case.out), "first": case.first, "again": case.again, "within": case.within,
         "points": 0 if ALL else case.points}
        for case in cases
    ]  # fmt: skip
    job.write_text(json.dumps(described))
    runner = commands.start(place, str(job), code=RUNNER, OMP_NUM_THREADS="1")
    _out, errors = runner.communicate()
    assert runner.wait() == 0, errors
    operations = 0
    for case, ((total, code, output), *killed) in zip(cases, json.loads(job.read_text()), strict=True):
        assert code == case.code, output
        print(f"{case.first[:2]}: {total} operations")
        operations += total
        expected = case.content(Path(f"{case.out}.0"))
        for point, second, third in killed:
            where = f"killed at {point} of {total}: {third}"
            if not (second and second[1] == code and "exists" in third[2]):  # nothing was left to do
                assert third[1] == code, where
            assert case.content(Path(f"{case.out}.{point}")) == expected, where
    return operations


def every_byte(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def without_times(folder: Path, name: str) -> list[dict[str, Any]]:
    lines = (folder / name).read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def test_prepare_and_distil_killed_anywhere_give_the_same_folder(commands: Commands, tmp_path: Path) -> None:
    save_images(tmp_path / "in", *(f"{number}.png" for number in range(4)))
    jsonl(tmp_path / "in/t.jsonl", *(row(number, f"{number}.png") for number in range(4)))
    out = tmp_path / "work/out"
    out.parent.mkdir()
    command = ["data", "prepare", str(tmp_path / "in/t.jsonl"), "--out", str(out)]
    prepare(str(tmp_path / "in/t.jsonl"), tmp_path / "data")
    distilled = tmp_path / "distilled/out"
    distilled.parent.mkdir()
    probe = ["--probe", str(probed(tmp_path / "probe", tmp_path / "data"))]
    distil = ["data", "distil", str(tmp_path / "data"), *probe, "--out", str(distilled)]
    cases = (Case(out, command, command, every_byte), Case(distilled, distil, distil, every_byte))
    assert killed_everywhere(commands, tmp_path, *cases) > 30


def probed(folder: Path, source: Path) -> Path:
    """A folder of `lowmed probe` with one right completion of each training question."""
    data = open_data(str(source), None, None, ModelSpec().max_image_tokens)
    family = prompt.family("reasoning")
    settings = eval_settings(ModelSpec(), family, data.questions, max_new_tokens=64, seen="", temperature=1.0)
    results_folder.open_folder(folder, settings)
    for sample in data.train:
        text = f"<think>{sample.id} shows a thin sharp contour.</think><answer>{sample.answer}</answer>"
        rows = [prediction(sample, "train", text, 9, "stop")]
        results_folder.append_rows(results_folder.completions_file(folder, "base", SAMPLED), rows)
    return folder


def trained(folder: Path) -> Any:
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "finished"
    weights = (folder / "adapter/adapter_model.safetensors").read_bytes()
    return weights, without_times(folder, "metrics.jsonl")


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            ["sft", "--recipe", "rarl-sft", "method.prompts_per_step=2"],
            marks=pytest.mark.skipif(not ALL, reason="test_dev_evaluation.py kills SFT"),
        ),
        ["grpo", "--recipe", "rl-plain", "method.prompts_per_step=2", "method.num_generations=2",
         "method.max_completion_length=8"],
    ],
)  # fmt: skip
def test_training_killed_anywhere_gives_the_same_adapter(
    commands: Commands, tmp_path: Path, settings: list[str]
) -> None:
    out = tmp_path / "work/run"
    out.parent.mkdir()
    command = [*settings, "--nano", "method.max_steps=3", "method.save_steps=1", "--out", str(out), "--resume", "auto"]
    assert killed_everywhere(commands, tmp_path, Case(out, command, command, trained)) > 20


def shipped(folder: Path) -> dict[str, bytes]:
    """All files but the measured memory and time. Nothing hidden may stay next to them."""
    assert list(folder.parent.glob(f".{folder.stem}*")) == []
    files = every_byte(folder)
    parity = json.loads(files.pop("parity.json"))
    del parity["peak_memory_gib"], parity["requirements"]
    return files | {"parity.json": json.dumps(parity).encode()}


def test_eval_merge_and_export_killed_anywhere_give_the_same_files(commands: Commands, tmp_path: Path) -> None:
    run = finished.run(tmp_path / "work/run", "eval.max_new_tokens=8")
    evaluation, merged, gguf = run.folder / "evals/phantom", tmp_path / "merge/merged", tmp_path / "export/gguf"
    for out in (merged, gguf):
        out.parent.mkdir()
    evaluate = ["eval", str(run), "--questions", "2", "--controls", "2"]
    merge = ["merge", str(run), "--out", str(merged), "--questions", "2"]
    export = ["export", str(run), "--to", "gguf", "--out", str(gguf), "--questions", "0"]
    cases = (
        Case(evaluation, evaluate, evaluate, every_byte, points=1),
        Case(merged, merge, merge, shipped, points=1),
        Case(gguf, export, export, shipped, points=1),
    )
    assert killed_everywhere(commands, tmp_path, *cases) > 30


BRIDGE = [
    "bridge", "--recipe", "medbridge", "--nano", "prompts.train=reasoning", "bridge.questions=2", "bridge.samples=2",
    "bridge.rounds=1", "bridge.sft.max_steps=1", "bridge.sft.prompts_per_step=2", "method.num_generations=2",
    "method.rewards=[{name: accuracy}, {name: format}]",
]  # fmt: skip


def bridged(folder: Path) -> Any:
    """The stages, and the questions of each probe. Sampled completions differ after a kill."""
    record = json.loads((folder / "bridge.json").read_text())
    probes = {
        str(file.relative_to(folder)): sorted(json.loads(line).get("id") for line in file.read_text().splitlines())
        for file in sorted(folder.glob("*-probe/*.jsonl"))
    }
    # A run that is killed while it is created may leave a hidden folder.
    runs = [json.loads(file.read_text())["status"] for file in sorted(folder.glob("[!.]*/run.json"))]
    adapters = [file.parent.parent.name for file in sorted(folder.glob("[!.]*/adapter/adapter_model.safetensors"))]
    return record["status"], [stage["stage"] for stage in record["stages"]], probes, runs, adapters


RL = ["bridge.support=0", "bridge.questions=4", "eval.max_new_tokens=32", "method.prompts_per_step=2",
      "method.max_steps=2", "method.save_steps=1", "method.max_completion_length=8"]  # fmt: skip


def reinforced(folder: Path) -> Any:
    """What `bridged` compares, and the whole result of the RL stage: it does not depend on the probe's completions."""
    return bridged(folder), trained(folder / "2-grpo"), (folder / "2-grpo/rollouts.jsonl").read_bytes()


def test_a_bridge_killed_anywhere_ends_with_the_same_stages_and_the_same_adapter(
    commands: Commands, tmp_path: Path
) -> None:
    refused, ready = tmp_path / "work/bridge", tmp_path / "rl/bridge"

    def case(out: Path, settings: list[str], content: Callable[[Path], Any], **options: Any) -> Case:
        out.parent.mkdir()
        return Case(out, [*BRIDGE, *settings, "--out", str(out)], ["bridge", "--resume", str(out)], content, **options)

    cases = (
        case(refused, ["eval.max_new_tokens=8"], bridged, code=1, points=1),
        case(ready, RL, reinforced, within="2-grpo"),
    )
    assert killed_everywhere(commands, tmp_path, *cases) > 150
