"""The first measurements on a GPU, as far as a machine without one can test them."""

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from commands import Commands

from lowmed import nano

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))  # the benchmarks import each other by name
import gpu_first  # noqa: E402
import gpu_first_table  # noqa: E402
from gpu_first import LIMITS, MAX_BYTES, SKIPPED, Series, Step  # noqa: E402

SCRIPT, SITE_SCRIPT = BENCHMARKS / "gpu_first.sh", BENCHMARKS / "gpu_site.sh"
WAIT = "import signal; signal.pause()"  # until it is killed


def bash(script: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | variables)


def step(name: str, code: str, limit_s: int = 60, least_s: int = 0) -> Step:
    return Step(name, limit_s, least_s, (sys.executable, "-c", code))


def write_figures(figures: str) -> str:
    return f"import os; open(os.environ['FIGURES'], 'w').write({figures!r})\n"


def run(tmp_path: Path, *steps: Step, budget_s: float = 60) -> dict[str, Any]:
    """The stored document of a series of steps."""
    (tmp_path / "work").mkdir()
    Series(tmp_path / "out", tmp_path / "work", budget_s).run(steps)
    return stored(tmp_path)


def stored(tmp_path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((tmp_path / "out" / "gpu_first.json").read_text())
    return document


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with nano's architecture and no weights."""
    folder = tmp_path / "models" / "nano-arch"
    folder.mkdir(parents=True)
    for file in nano.folder().iterdir():
        if file.suffix in (".json", ".jinja"):
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def site(tmp_path: Path, model: Path) -> Path:
    """The folder that gpu_site.sh would build, with no package."""
    folder = tmp_path / "site"
    folder.mkdir()
    with tarfile.open(folder / "site.tar.gz", "w:gz") as archive:
        archive.add(model, "models/nano-arch")
    return folder


@pytest.mark.parametrize("arguments", [(), ("site", "unsloth"), ("--help",)])
def test_unknown_arguments_are_refused_before_anything_is_written(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    refused = bash(SCRIPT, *arguments, OUT=str(tmp_path / "out"))
    assert refused.returncode == 2
    assert "usage: OUT=FOLDER" in refused.stdout or "gpu_site.sh builds it" in refused.stdout
    assert not (tmp_path / "out").exists()


def test_a_site_without_packages_a_damaged_one_and_a_bad_budget_are_refused(tmp_path: Path, site: Path) -> None:
    out = str(tmp_path / "out")
    assert "usage" in bash(SCRIPT, str(site), OUT="").stdout
    assert "not a number of seconds: soon" in bash(SCRIPT, str(site), OUT=out, BUDGET_S="soon").stdout
    assert "has no site.tar.gz" in bash(SCRIPT, str(tmp_path), OUT=out).stdout
    (site / "site.tar.gz").write_bytes(b"not an archive")
    damaged = bash(SCRIPT, str(site), OUT=out)
    assert (damaged.returncode, "is damaged" in damaged.stdout) == (2, True)
    assert not (tmp_path / "out").exists()


def test_the_steps_are_in_the_order_of_their_limits() -> None:
    from gpu_first_steps import STEPS

    assert list(STEPS) == list(LIMITS)
    assert [one.name for one in gpu_first.steps_for("model")] == list(LIMITS)
    assert list(LIMITS)[:4] == ["doctor", "nano", "weights", "decode"]


def test_the_page_has_every_step_and_its_limit() -> None:
    page = (BENCHMARKS.parent / "docs" / "performance.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    shown = [(row[0].removeprefix("| "), row[2].removesuffix(" |")) for row in rows if len(row) == 3]
    assert [row for row in shown if row[0] in LIMITS] == [(name, str(limit)) for name, (limit, _) in LIMITS.items()]


def test_a_failing_step_does_not_stop_the_next_and_leaves_its_error(tmp_path: Path) -> None:
    noise = "print(*range(100), sep='\\n')\n"
    failing = step("first", write_figures('{"part": 1}') + noise + "raise ValueError('it broke')")
    document = run(tmp_path, failing, step("second", write_figures('{"made": 2}')))
    first, second = document["steps"]["first"], document["steps"]["second"]
    assert first["state"] == "failed"
    assert first["error"][-1] == "ValueError: it broke"
    assert len(first["error"]) == gpu_first.ERROR_LINES
    assert first["figures"] == {"part": 1}
    assert (second["state"], second["figures"]) == ("done", {"made": 2})
    assert "it broke" in (tmp_path / "out" / "gpu_first.log").read_text()


def test_a_program_that_does_not_exist_is_a_failed_step(tmp_path: Path) -> None:
    missing = Step("missing", 9, 0, ("/no/such/program",))
    document = run(tmp_path, missing, step("next", ""))
    assert [record["state"] for record in document["steps"].values()] == ["failed", "done"]
    assert "no/such/program" in document["steps"]["missing"]["error"][0]


def test_a_killed_step_keeps_its_figures_and_takes_its_children_along(tmp_path: Path) -> None:
    child = f"import subprocess, sys; one = subprocess.Popen([sys.executable, '-c', {WAIT!r}])\n"
    code = child + "import json, os; open(os.environ['FIGURES'], 'w').write(json.dumps({'pid': one.pid}))\n" + WAIT
    document = run(tmp_path, step("slow", code, limit_s=2), step("next", ""))
    assert document["steps"]["slow"]["state"] == "killed"
    assert document["steps"]["next"]["state"] == "done"
    status = Path(f"/proc/{document['steps']['slow']['figures']['pid']}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"


def test_a_killed_series_keeps_the_figures_so_far(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    code = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\nimport gpu_first\nfrom pathlib import Path\n"
        f"gpu_first.POLL_S = 0.05\nmarked = {write_figures('{}')!r} + 'print(1)'\n"
        f"waiting = {write_figures(json.dumps({'half': 1}))!r} + {WAIT!r}\n"
        "steps = [gpu_first.Step('a', 9, 0, (sys.executable, '-c', marked)),\n"
        "         gpu_first.Step('b', 99, 0, (sys.executable, '-c', waiting))]\n"
        "gpu_first.steps_for = lambda model: steps\n"
        "gpu_first.main()\n"
    )
    command = [sys.executable, "-c", code, "model", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            while (not (tmp_path / "out" / "gpu_first.json").exists()) or (
                stored(tmp_path)["steps"].get("b", {}).get("figures") is None
            ):
                assert process.poll() is None
            assert stored(tmp_path)["steps"]["b"]["state"] == "running"
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 143
    assert {name: record["state"] for name, record in stored(tmp_path)["steps"].items()} == {"a": "done", "b": "killed"}
    assert stored(tmp_path)["steps"]["b"]["figures"] == {"half": 1}
    assert output.splitlines()[-1].split()[:2] == ["b", "killed"]


def test_a_step_that_does_not_apply_gives_its_reason(tmp_path: Path) -> None:
    document = run(tmp_path, step("one", f"print('needs a friend'); raise SystemExit({SKIPPED})"))
    assert document["steps"]["one"] | {"seconds": 0} == {
        "state": "skipped", "limit_s": 60, "seconds": 0, "error": ["needs a friend"],
    }  # fmt: skip


def test_a_step_is_skipped_if_too_little_time_is_left_and_a_shorter_one_still_runs(tmp_path: Path) -> None:
    document = run(tmp_path, step("long", "", least_s=30), step("short", ""), budget_s=20)
    assert document["steps"]["long"]["state"] == "skipped"
    assert document["steps"]["long"]["error"][0].endswith("s left")
    assert document["steps"]["short"]["state"] == "done"


def test_the_file_stays_below_its_limit_whatever_a_step_writes(tmp_path: Path) -> None:
    large = "import os, json; open(os.environ['FIGURES'], 'w').write(json.dumps({'rows': 'x' * 2_000_000}))"
    noisy = "print(('y' * 999 + '\\n') * 5000); raise SystemExit(1)"
    document = run(tmp_path, step("large", large), step("noisy", noisy), step("small", write_figures('{"kept": 1}')))
    assert (tmp_path / "out" / "gpu_first.json").stat().st_size < MAX_BYTES
    assert (tmp_path / "out" / "gpu_first.log").stat().st_size < MAX_BYTES
    assert document["steps"]["large"]["left_out"] == "the figures are too large"
    assert document["steps"]["small"]["figures"] == {"kept": 1}


def test_the_printed_table_has_a_line_for_every_step_even_with_partial_figures() -> None:
    steps = {name: {"state": "killed", "seconds": 3.2, "figures": {"cells": [{}]}, "error": ["cut"]} for name in LIMITS}
    lines = gpu_first_table.table({"started": "2030-01-02 03:04", "steps": steps}).splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [[name, "killed", "3"] for name in LIMITS]
    assert all(line.endswith("cut") for line in lines[1:])


RUNS = {  # on a CPU -> words of the printed line
    "doctor": "problems",
    "nano": "all finite, log-probabilities",
    "weights": "GiB",
    "attention": "cuDNN on",
    "decode": "nano-arch 4bit equal: transformers 100 %",
    "update": "trl ",
    "dry-run": "peak",
    "precision": "nano-arch: loss",
    "unsloth": "unsloth",
    "dry-run-sft": "peak",
    "tests": "need a CUDA GPU",
    "test-runs": "need a CUDA GPU",
}

# The others repeat what these and other tests run; LOWMED_GPU_FIRST_ALL=1 runs them too.
FEW = ("doctor", "nano", "decode", "update", "dry-run", "tests")


@pytest.mark.slow
@pytest.mark.skipif(gpu_first.has_gpu(), reason="with a GPU the steps have their full form")
@pytest.mark.parametrize("name", RUNS if os.environ.get("LOWMED_GPU_FIRST_ALL") else FEW)
def test_every_step_runs_in_its_tiny_form(tmp_path: Path, model: Path, name: str, commands: Commands) -> None:
    [one] = [each for each in gpu_first.steps_for(str(model)) if each.name == name]
    document = run(tmp_path, Step(name, 300, 0, (str(commands.python), *one.command[1:])), budget_s=300)
    record = document["steps"][name]
    assert record["state"] == ("skipped" if name in ("unsloth", "tests", "test-runs") else "done"), record.get("error")
    assert RUNS[name] in gpu_first_table.brief(name, record)


@pytest.mark.slow
@pytest.mark.skipif(gpu_first.has_gpu(), reason="with a GPU the steps have their full form")
def test_the_script_runs_the_steps_with_the_site_and_prints_one_table(tmp_path: Path, site: Path) -> None:
    out = tmp_path / "out"
    ended = bash(SCRIPT, str(site), OUT=str(out), BUDGET_S="20", PYTHON=sys.executable)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert sorted(path.name for path in out.iterdir()) == ["gpu_first.json", "gpu_first.log"]
    assert list(stored(tmp_path)["steps"]) == list(LIMITS)
    assert stored(tmp_path)["steps"]["doctor"]["figures"]["card"] == "CPU"
    assert [line.split()[0] for line in ended.stdout.splitlines()[-len(LIMITS) :]] == list(LIMITS)


def fake_pip(tmp_path: Path) -> Path:
    """A Python whose pip writes one small wheel, for a machine without network."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/bash\nif [ "$2" != pip ]; then exec {sys.executable} "$@"; fi\n'
        "while [ $# -gt 0 ]; do\n"
        '  [ "$1" = --dest ] && dest=$2; [ "$1" = --requirement ] && cp "$2" "$PINS"; shift\n'
        "done\n"
        'mkdir -p "$dest/bitsandbytes" && cd "$dest" && touch bitsandbytes/libbitsandbytes_{cpu,cuda129,cuda130}.so\n'
        f"{sys.executable} -m zipfile -c one.whl bitsandbytes && rm -r bitsandbytes\n"
    )
    python.chmod(0o755)
    return python


def test_the_site_has_pinned_packages_metadata_and_the_model_without_weights(tmp_path: Path, model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "model.safetensors.index.json").write_text("{}")
    (model / "notes.md").write_text("private")
    pins, site = tmp_path / "pins", tmp_path / "new-site"
    variables = {"MODEL": str(model), "PYTHON": str(fake_pip(tmp_path)), "PINS": str(pins)}
    built = bash(SITE_SCRIPT, str(site), "unsloth", **variables)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "unpacked" in built.stdout
    with tarfile.open(site / "site.tar.gz") as archive:
        names = archive.getnames()
    assert "models/nano-arch/config.json" in names
    assert not [name for name in names if "safetensors" in name or name.endswith(".md") or "cuda129" in name]
    assert "packages/bitsandbytes/libbitsandbytes_cuda130.so" in names
    assert any(name.startswith("packages/lowmed-") and name.endswith("METADATA") for name in names)
    constraints = (BENCHMARKS.parent / "constraints.txt").read_text().splitlines()
    assert set(pins.read_text().splitlines()) <= set(constraints)
    assert any(line.startswith("unsloth==") for line in pins.read_text().splitlines())
    assert bash(SITE_SCRIPT, str(site), **variables).returncode == 0  # an earlier one is replaced
    assert not any(line.startswith("unsloth==") for line in pins.read_text().splitlines())


def test_a_site_that_is_too_large_is_not_kept(tmp_path: Path, model: Path) -> None:
    site = tmp_path / "new-site"
    variables = {"MODEL": str(model), "PYTHON": str(fake_pip(tmp_path)), "PINS": "/dev/null", "LIMIT_MIB": "1"}
    built = bash(SITE_SCRIPT, str(site), **variables)
    assert built.returncode == 1
    assert "larger than 1 MiB together" in built.stdout
    assert list(site.iterdir()) == []


def test_the_site_refuses_unknown_words_other_folders_and_models_without_config(tmp_path: Path, model: Path) -> None:
    assert "usage" in bash(SITE_SCRIPT, str(tmp_path / "new"), "vllm", MODEL=str(model)).stdout
    assert "usage" in bash(SITE_SCRIPT, MODEL=str(model)).stderr
    assert "no config.json" in bash(SITE_SCRIPT, str(tmp_path / "new"), MODEL=str(tmp_path)).stdout
    kept = tmp_path / "mine"
    kept.mkdir()
    assert "not a folder of this script" in bash(SITE_SCRIPT, str(kept), MODEL=str(model)).stdout
    assert not (tmp_path / "new").exists()


def test_the_table_says_which_graphs_failed() -> None:
    seconds = {"4bit first token": 0.1, "4bit": 0.5, "4bit graph": 0.2, "16bit first token": 0.1, "16bit": 0.3}
    cell = {"settings": {"group": 64, "new_tokens": 10}, "seconds": seconds, "equal": {}}
    way = {"equal": 1.0, "first_different": None, "captured": False}
    figures = {
        "cells": [cell | {"captured": {"4bit graph": False}}, cell | {"captured": {}, "equal": {"4bit graph": False}}],
        "agreement": [{"model": "2b", "load_in": "4bit", "ways": {"graph": way}}],
    }
    assert gpu_first_table.brief("decode", {"figures": figures}).split("; ") == [
        "64 rows 4bit 40.0, 16bit 20.0 ms, not captured: 4bit graph",
        "64 rows 4bit 40.0 / 10.0, 16bit 20.0 ms, other tokens: 4bit graph",
        "2b 4bit equal: graph not captured",
    ]
