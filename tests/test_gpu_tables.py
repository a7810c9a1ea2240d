"""Stored measurements of GPUs become tables, rows for the planner, and choices of `auto`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lowmed.plan import calibration, faster

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))  # the benchmarks import each other by name
import gpu_results  # noqa: E402
import gpu_tables  # noqa: E402
import parts  # noqa: E402
import update_table  # noqa: E402

CARD = "NVIDIA H200"
MACHINE = {"date": "2030-01-02", "processor": "abacus", "cores": 16, "versions": {"torch": "9.9"}}


def decode_cell(rows: int, seconds: dict[str, float], equal: bool = True, card: str = CARD) -> dict[str, Any]:
    """A cell of decoding with milliseconds a token."""
    first = {"4bit first token": 0.5, "16bit first token": 0.5}
    times = {way: 0.5 + 10 * each / 1000 for way, each in seconds.items()}
    settings = {"model": "2b", "part": "decode", "tokens": 64, "group": rows, "new_tokens": 10}
    same = {way: equal for way in seconds if way.endswith("graph")}
    return {
        "card": card,
        "precision": "bf16",
        "images": 2,
        "settings": settings,
        "seconds": first | times,
        "equal": same,
    }


def update_cell(sides: dict[str, float], tokens: int = 256, card: str = CARD) -> dict[str, Any]:
    """A cell of an optimizer step with seconds of each side."""
    settings = {"model": "2b", "task": "grpo", "tokens": tokens, "group": 8, "updates": 3, "against": ["trl"]}
    phases = ("generate", "score", "train", "all")
    results = {
        side: {
            "completion_tokens": [9, 9],
            "seconds": dict.fromkeys(phases, each),
            "peak_gib": {"all": 4.0},
            "rest_gib": 2.0,
        }
        for side, each in sides.items()
    }
    return {"card": card, "parameters": 1, "settings": settings, "sides": results}


def measured_run(card: str = CARD) -> dict[str, Any]:
    stored = next(path for path in calibration.shipped_folder().glob("CPU-nano-4bit-grpo-64x149.json"))
    run: dict[str, Any] = json.loads(stored.read_text())
    return run | {"card": card, "card_gib": 139.8, "precision": "bf16", "gib": {"backward": 7.5}, "context_gib": 0.7}


@pytest.fixture
def document() -> dict[str, Any]:
    """What gpu_first.py stores, with a step that was killed and one that failed."""
    graphs = {"4bit": 40.0, "4bit graph": 20.0, "16bit": 30.0, "16bit graph": 10.0}
    failed = {"equal": 1.0, "first_different": None, "captured": False}
    way = {"equal": 0.75, "first_different": 5, "captured": True}
    figures: dict[str, Any] = {
        "doctor": {"card": CARD},
        "nano": {"steps": 10, "not_finite": [], "step_s": 0.5, "logp_difference": 0.012},
        "decode": {
            "machine": MACHINE,
            "cells": [decode_cell(64, graphs)],
            "agreement": [
                {
                    "model": "2b",
                    "load_in": "4bit",
                    "prompts": 16,
                    "tokens": 48,
                    "ways": {"transformers": way, "graph": failed},
                }
            ],
        },
        "update": {"machine": MACHINE, "cells": [update_cell({"lowmed": 2.0, "trl": 8.0})]},
        "update-same": {"machine": MACHINE, "cells": [update_cell({"lowmed": 2.0})]},  # killed before the other side
        "unsloth": None,
        "dry-run": {"run": measured_run()},
        "precision": {
            "pair": ["bf16", "fp16"],
            "models": [{"model": "nano", "finite_steps": 4, "difference": {"loss": 0.0012, "grad_norm": 0.034}}],
        },
        "tests": {"counts": {"passed": 40, "failed": 0, "skipped": 2, "error": 0}, "failed": []},
    }
    steps = {name: {"state": "done", "seconds": 1.0, "figures": each} for name, each in figures.items()}
    return {"format": 1, "started": "2030-01-02 03:04", "steps": steps}


def store(results: Path, name: str, document: dict[str, Any]) -> Path:
    (results / "gpu").mkdir(parents=True, exist_ok=True)
    path = results / "gpu" / f"{name}.json"
    path.write_text(json.dumps(document))
    return path


def test_the_tables_have_the_figures_of_a_stored_file(tmp_path: Path, document: dict[str, Any]) -> None:
    store(tmp_path, "h200", document)
    decoded = update_table.by_card(gpu_results.cells("parts", tmp_path), parts.tables)
    assert decoded.startswith(f"**{CARD}**\n\n**A token of every completion**")
    assert "| 2b | 64 | bf16 | 30 | 10 | 40 | 20 |" in decoded.splitlines()
    assert decoded.splitlines()[-1] == f"Measured 2030-01-02 on {CARD}; torch 9.9."
    against: Callable[[Any], str] = lambda cells: update_table.tables(cells, "trl")  # noqa: E731
    compared = update_table.by_card(gpu_results.cells("update", tmp_path), against)
    assert "| 2b | 256 | 8 | 2 | 2.00 / 8.00 |" in compared
    assert "| 4.00 | 4.00 | 4.00 / 4.00 |" in compared
    checks = gpu_tables.checks_table(gpu_results.documents(tmp_path)).splitlines()
    assert (
        "| all metrics finite, 0.50 s a step; log-probabilities in sampling and training differ by at most 0.012"
        in checks[2]
    )
    assert checks[3].endswith("| 75 % of 16 completions of 48 tokens; the first difference at token 5 |")
    assert checks[4].endswith("| no graph could be captured |")
    assert f"| {CARD} | 2030-01-02 | SFT in fp16 against bf16, nano | " in checks[5]
    assert "loss differs by 0.12 %; grad_norm differs by 3.4 %" in checks[5]
    assert checks[6].endswith("| 40 passed, 2 skipped |")


def test_a_side_that_was_not_measured_gives_no_table(tmp_path: Path, document: dict[str, Any]) -> None:
    store(tmp_path, "h200", document)
    cells = gpu_results.cells("update", tmp_path)
    assert update_table.by_card(cells, lambda each: update_table.tables(each, "trl-same")) == "Not yet measured."


def test_without_stored_files_nothing_is_measured(tmp_path: Path) -> None:
    assert gpu_results.documents(tmp_path) == []
    assert gpu_results.cells("update", tmp_path) == gpu_results.cells("parts", tmp_path) == []
    assert gpu_tables.checks_table([]) == update_table.by_card([], parts.tables) == "Not yet measured."
    assert gpu_results.choices([], []) == {}


def test_a_series_without_a_gpu_is_left_out(tmp_path: Path, document: dict[str, Any]) -> None:
    steps = document["steps"]
    steps["doctor"]["figures"] = {"card": "CPU"}
    steps["dry-run"]["figures"] = {"run": measured_run("CPU")}
    for name in ("decode", "update", "update-same"):
        for cell in steps[name]["figures"]["cells"]:
            cell["card"] = "CPU"
    store(tmp_path, "none", document)
    assert gpu_results.cells("update", tmp_path) == gpu_results.cells("parts", tmp_path) == []
    assert gpu_tables.checks_table([document]) == "Not yet measured."
    assert gpu_tables.store_dry_runs([document], tmp_path / "memory") == []


def test_of_two_measurements_of_a_cell_the_later_one_counts(tmp_path: Path, document: dict[str, Any]) -> None:
    store(tmp_path, "a-later", document | {"started": "2031-01-01 00:00"})
    document["steps"]["update"]["figures"]["cells"] = [update_cell({"lowmed": 9.0, "trl": 8.0})]
    store(tmp_path, "b-earlier", document)
    [cell] = [cell for cell in gpu_results.cells("update", tmp_path) if "trl" in cell["sides"]]
    assert cell["sides"]["lowmed"]["seconds"]["all"] == 2.0


def test_cells_of_a_longer_series_are_in_the_same_tables(tmp_path: Path, document: dict[str, Any]) -> None:
    store(tmp_path, "h200", document)
    longer = update_cell({"lowmed": 1.0, "trl": 3.0}, tokens=64) | {"machine": MACHINE}
    (tmp_path / "update-gpu.json").write_text(json.dumps({"cells": {"grpo/2b/64/8": longer}}))
    assert {cell["settings"]["tokens"] for cell in gpu_results.cells("update", tmp_path)} == {64, 256}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 99, "steps": {}}', '{"format": 1, "steps": []}'])
def test_another_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu" / "wrong.json").write_text(content)
    with pytest.raises(SystemExit, match=r"wrong.json is not a gpu_first.json"):
        gpu_results.documents(tmp_path)


def test_a_dry_run_calibrates_the_planner_for_its_gpu(tmp_path: Path, document: dict[str, Any]) -> None:
    [path] = gpu_tables.store_dry_runs([document], tmp_path)
    assert path.name == "H200-nano-4bit-grpo-64x149.json"
    run = calibration.MeasuredRun.model_validate_json(path.read_text())
    scale = calibration.memory_scale("H200", [run])
    assert scale.dry_runs == 1
    assert scale.gib({"all": int(run.planned_gib["backward"] * 2**30)}) >= 7.5


@pytest.mark.parametrize(
    ("seconds", "chosen"), [(10.0, "unsloth"), (10.4, "unsloth"), (10.6, "transformers"), (12.0, "transformers")]
)
def test_unsloth_is_chosen_if_it_is_at_least_5_percent_faster(seconds: float, chosen: str) -> None:
    cells = [update_cell({"lowmed": 11.0, "unsloth": seconds})]
    assert gpu_results.choices(cells, []) == {CARD: {"backend": chosen}}


def test_one_slower_cell_keeps_the_default() -> None:
    cells = [update_cell({"lowmed": 9.0, "unsloth": 3.0}), update_cell({"lowmed": 9.0, "unsloth": 9.0}, tokens=64)]
    assert gpu_results.choices(cells, [])[CARD]["backend"] == "transformers"


def test_without_unsloth_the_backend_has_no_entry() -> None:
    assert gpu_results.choices([update_cell({"lowmed": 9.0, "trl": 20.0})], []) == {}


@pytest.mark.parametrize(
    ("graph_ms", "equal", "chosen"),
    [
        (10.0, True, "cuda_graphs"),
        (31.0, True, "cuda_graphs"),
        (32.0, True, "transformers"),
        (10.0, False, "transformers"),
    ],
)
def test_graphs_stay_unless_the_eager_step_is_faster_or_its_tokens_differ(
    graph_ms: float, equal: bool, chosen: str
) -> None:
    cells = [
        decode_cell(1, {"16bit": 30.0, "16bit graph": 40.0, "4bit": 30.0, "4bit graph": 40.0}),
        decode_cell(64, {"16bit": 30.0, "16bit graph": graph_ms, "4bit": 30.0}, equal),
    ]
    assert gpu_results.choices([], cells)[CARD]["rollout"] == chosen


def test_graphs_that_could_not_be_captured_are_not_a_measurement() -> None:
    cell = decode_cell(64, {"4bit": 30.0, "4bit graph": 30.0, "16bit": 30.0, "16bit graph": 30.0})
    cell["captured"] = {"4bit graph": False, "16bit graph": False}
    assert "rollout" not in gpu_results.choices([], [cell])[CARD]
    assert update_table.row(parts.ROWS["decode"](cell)) == "| 2b | 64 | bf16 | 30 |  | 30 |  |"


def test_16_bit_is_chosen_if_its_fastest_way_is_faster_than_the_fastest_of_4_bit() -> None:
    faster = decode_cell(64, {"16bit": 30.0, "16bit graph": 10.0, "4bit": 40.0, "4bit graph": 20.0})
    slower = decode_cell(1, {"16bit": 30.0, "16bit graph": 10.0, "4bit": 40.0, "4bit graph": 9.0})
    assert gpu_results.choices([], [faster])[CARD]["load_in"] == "16bit"
    assert gpu_results.choices([], [faster, slower])[CARD]["load_in"] == "4bit"


def test_each_gpu_has_its_own_choices() -> None:
    cells = [
        update_cell({"lowmed": 9.0, "unsloth": 3.0}),
        update_cell({"lowmed": 3.0, "unsloth": 9.0}, card="NVIDIA L4"),
    ]
    table = gpu_results.choices(cells, [])
    assert (table[CARD]["backend"], table["NVIDIA L4"]["backend"]) == ("unsloth", "transformers")


def test_the_shipped_choices_follow_from_the_stored_measurements() -> None:
    table = json.loads(faster.TABLE.read_text(encoding="utf-8"))
    assert table == gpu_results.choices(gpu_results.cells("update"), gpu_results.cells("parts"))


def test_tables_of_parts_have_every_cell_and_the_machine() -> None:
    common = {"machine": MACHINE, "card": "CPU", "precision": "fp32", "images": 2}
    settings = {"model": "nano", "tokens": 64, "group": 4, "new_tokens": 10}
    seconds = {"16bit first token": 0.1, "16bit": 0.3, "4bit first token": 0.2, "4bit": 0.6}
    cells = [
        common | {"settings": settings | {"part": "train"}, "seconds": {"once": 0.1, "each": 0.25}},
        common
        | {
            "settings": settings | {"part": "tower"},
            "seconds": {"stock": 0.4, "encoded": 0.2, "memory": 0.002, "disk": 0.004},
        },
        common | {"settings": settings | {"part": "decode"}, "seconds": seconds},
    ]
    lines = parts.tables(cells).splitlines()
    assert "| nano | 64 | 4 | 100 | 250 | 2.50 |" in lines
    assert "| nano | 64 | 200 | 100 | 1 | 2 |" in lines
    assert "| nano | 4 | fp32 | 20 |  | 40 |  |" in lines
    assert lines[-1] == "Measured 2030-01-02 on abacus, 16 cores; torch 9.9."
    assert parts.tables([]) == "Not yet measured."
