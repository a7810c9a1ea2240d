"""Behavior of the benchmark scripts: a failed part of a series, and the tables of a comparison."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from commands import Commands

from lowmed import prompt

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
# A side that is ready at once, reports every step, and dies at its second step if the group has 8 completions.
DYING = """
import json, sys
cell = json.loads(sys.argv[1])
print(json.dumps({"card": "CPU", "parameters": 1, "rest_gib": 1.0}), flush=True)
for number, _ in enumerate(sys.stdin):
    if cell["group"] == 8 and number == 1:
        sys.exit(3)
    phases = dict.fromkeys(("generate", "score", "train", "all"), 1.0)
    print(json.dumps({"completion_tokens": 5, "seconds": phases, "peak_gib": phases}), flush=True)
"""


@pytest.fixture
def update(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import update

    return update


@pytest.fixture
def curve(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import curve

    return curve


def test_a_cell_that_dies_is_named_and_the_others_are_kept(
    update: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    side = tmp_path / "side.py"
    side.write_text(DYING)
    monkeypatch.setattr(update, "SIDE", side)
    monkeypatch.setattr(sys, "argv", ["update.py", "--cells", "grpo/nano/64/", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"not measured: grpo/nano/64/8$"):
        update.main()
    assert set(json.loads((tmp_path / "update-cpu.json").read_text())["cells"]) == {"grpo/nano/64/4", "grpo/nano/64/16"}


def test_sft_trains_on_every_sample_of_a_cell(update: ModuleType) -> None:
    from update_cell import data_of

    samples = data_of(update.cells(None, "trl")["sft/nano/64"]).train
    completions = [prompt.training_completion(prompt.family("reasoning"), sample) for sample in samples]
    assert len(completions) == 32
    assert None not in completions


def test_the_figures_so_far_are_reported_even_if_another_side_dies(
    update: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    side = tmp_path / "side.py"
    side.write_text(DYING.replace('cell["group"] == 8', 'sys.argv[2] == "trl"'))
    monkeypatch.setattr(update, "SIDE", side)
    reported: list[dict[str, Any]] = []
    with pytest.raises(update.SideEndedError, match="trl ended with 3"):
        update.measure(update.cells(None, "trl")["grpo/mid/1024/4"] | {"updates": 3}, reported.append)
    assert [sorted(result["sides"]) for result in reported] == [["lowmed"], ["lowmed", "trl"], ["lowmed", "trl"]]


def _side(name: str, completions: list[list[int]], norms: list[float], correct: list[bool]) -> dict[str, Any]:
    rows = [{"reward": norm, "loss": 0.0, "grad_norm": norm} for norm in norms]
    return {"side": name, "machine": {}, "updates": rows, "completions": completions, "correct": correct}


def test_a_pair_reports_the_shares_of_equal_completions_and_the_differences(curve: ModuleType) -> None:
    ours = _side("lowmed", [[1, 2], [3, 4], [5, 6]], [1.0, 1.0, 2.0], [True, True])
    other = _side("trl", [[1, 2], [3, 9], [5, 6]], [1.001, 4.0, 1.5], [True, False])
    comparison = curve.pair("16bit-0", ours, other)
    assert comparison["same_completions"] == [1.0, 0.5, 1.0]
    [row] = [line for line in curve.table([comparison]).splitlines() if line.startswith("| 16bit | 0 |")]
    assert row == (
        "| 16bit | 0 | 2 of 3 | 0.50000 | 1.000 to 2.000 | 1.001 to 1.500 | +0.500 | 1.000 | 0.500 | +0.500 |"
    )


@pytest.mark.slow
def test_the_first_steps_equal_those_of_plain_trl_completion_for_completion(commands: Commands, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import curve\n"
        "curve.HELD_OUT = 40  # questions\ncurve.main()"
    )
    options = [str(tmp_path), "--here", "--pairs", "16bit-0", "--updates", "2", "--side"]
    started = commands.start(tmp_path, *options, "lowmed", code=code)
    subprocess.run([sys.executable, "-c", code, *options, "trl"], check=True)  # where lowmed has changed nothing
    _out, errors = started.communicate()
    assert started.wait() == 0, errors
    ours, other = (json.loads((tmp_path / f"16bit-0-{side}.json").read_text()) for side in ("lowmed", "trl"))
    assert len(ours["correct"]) == 40
    assert ours["completions"] == other["completions"]
    assert [row["grad_norm"] for row in ours["updates"]] == pytest.approx(
        [row["grad_norm"] for row in other["updates"]], rel=1e-3
    )
    assert ours["correct"] == other["correct"]


def test_the_table_of_adapters_has_every_kind_and_refuses_only_what_merge_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stored results are those of the kinds that the tests build, and the page shows them."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import adapters
    from ship import trained

    results = json.loads((BENCHMARKS / "results" / "adapters.json").read_text(encoding="utf-8"))["kinds"]
    kinds = [row["kind"] for row in results]
    assert kinds == [*trained.TAKEN, *(f"names: {name}" for name in trained.NAMES), *trained.REFUSED]
    assert {row["kind"] for row in results if row["commands"]["merge"] != "yes"} == trained.REFUSED.keys()
    assert max(row.get("largest_error", 0.0) for row in results) < 1e-5
    assert adapters.table(results) in (BENCHMARKS.parent / "docs" / "export.md").read_text(encoding="utf-8")
