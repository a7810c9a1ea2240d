from pathlib import Path

import pytest

from lowmed.errors import RunError
from lowmed.plan import calibration
from lowmed.plan.calibration import MeasuredRun, MemoryScale

SHIPPED = calibration.shipped_runs()
PHASES = [(run, phase) for run in SHIPPED for phase in run.gib]


@pytest.mark.parametrize(("run", "phase"), PHASES, ids=lambda part: part if isinstance(part, str) else part.card_name)
def test_an_estimate_is_never_below_a_shipped_measured_run(run: MeasuredRun, phase: str) -> None:
    scale = calibration.memory_scale(run.card_name, SHIPPED)
    assert scale.context_gib + scale.factor * run.planned_gib[phase] >= run.gib[phase] + run.context_gib - 1e-9


def test_uncalibrated_terms_of_large_phases_are_within_a_quarter_of_the_measured_memory() -> None:
    large = [(run, phase) for run, phase in PHASES if run.planned_gib[phase] >= calibration.LARGE_GIB]
    assert len(large) >= 3
    for run, phase in large:
        assert run.planned_gib[phase] == pytest.approx(run.gib[phase], rel=0.25)


def test_shipped_runs_include_a_model_of_real_size_and_no_paths() -> None:
    assert any(run.model.parameters > 2e9 for run in SHIPPED)
    assert all("/" not in run.recipe.model.name and run.recipe.data.path is None for run in SHIPPED)
    assert all(run.about["versions"]["torch"] for run in SHIPPED)


def test_a_stored_run_is_read_back_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for run in SHIPPED:
        calibration.store(run)
        calibration.store(run)
    key = lambda run: run.model_dump_json()  # noqa: E731
    assert sorted(calibration.measured_runs(), key=key) == sorted([*SHIPPED, *SHIPPED], key=key)


def test_a_dry_run_that_took_more_raises_the_estimate_for_its_gpu_only() -> None:
    large = max(SHIPPED, key=lambda run: run.model.parameters)
    worse = large.model_copy(update={"gib": {phase: 3 * gib for phase, gib in large.gib.items()}})
    assert calibration.memory_scale("CPU", [worse]).factor > 2.5
    assert calibration.memory_scale("T4", [worse]) == MemoryScale()


def test_small_phases_raise_the_context_and_not_the_factor() -> None:
    small = min(SHIPPED, key=lambda run: run.model.parameters)
    result = calibration.memory_scale("CPU", [small])
    assert result.factor == calibration.GUESSED_FACTOR
    assert result.context_gib >= small.context_gib


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"card": "T4", "unknown": 1}'])
def test_an_invalid_file_is_reported(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calibration.FOLDER.mkdir()
    (calibration.FOLDER / "broken.json").write_text(content)
    with pytest.raises(RunError, match="cannot be read"):
        calibration.measured_runs()
