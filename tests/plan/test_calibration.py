from pathlib import Path

import pytest

from lowmed.errors import RunError
from lowmed.plan import calibration
from lowmed.plan.calibration import MeasuredRun, MemoryScale

SHIPPED = calibration.shipped()
PHASES = [(row, phase) for row in SHIPPED for phase in row.gib]


@pytest.mark.parametrize(("row", "phase"), PHASES, ids=lambda part: part if isinstance(part, str) else part.card_name)
def test_the_plan_is_never_below_a_measured_row_that_ships(row: MeasuredRun, phase: str) -> None:
    scale = calibration.scale(row.card_name, SHIPPED)
    assert scale.context_gib + scale.factor * row.planned_gib[phase] >= row.gib[phase] + row.context_gib - 1e-9


def test_the_bare_terms_of_a_large_phase_are_within_a_quarter_of_what_was_measured() -> None:
    large = [(row, phase) for row, phase in PHASES if row.planned_gib[phase] >= calibration.LARGE_GIB]
    assert len(large) >= 3
    for row, phase in large:
        assert row.planned_gib[phase] == pytest.approx(row.gib[phase], rel=0.25)


def test_what_ships_has_the_true_architecture_and_tells_of_no_machine() -> None:
    assert any(row.model.parameters > 2e9 for row in SHIPPED)
    assert all("/" not in row.recipe.model.name and row.recipe.data.path is None for row in SHIPPED)
    assert all(row.about["versions"]["torch"] for row in SHIPPED)


def test_a_row_comes_back_as_it_was_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for row in SHIPPED:
        calibration.store(row)
        calibration.store(row)
    key = lambda row: row.model_dump_json()  # noqa: E731
    assert sorted(calibration.rows(), key=key) == sorted([*SHIPPED, *SHIPPED], key=key)


def test_a_rehearsal_that_took_more_raises_the_plan_for_its_card_alone() -> None:
    large = max(SHIPPED, key=lambda row: row.model.parameters)
    worse = large.model_copy(update={"gib": {phase: 3 * gib for phase, gib in large.gib.items()}})
    assert calibration.scale("CPU", [worse]).factor > 2.5
    assert calibration.scale("T4", [worse]) == MemoryScale()


def test_small_phases_raise_what_is_added_and_not_the_factor() -> None:
    small = min(SHIPPED, key=lambda row: row.model.parameters)
    result = calibration.scale("CPU", [small])
    assert result.factor == calibration.GUESSED_FACTOR
    assert result.context_gib >= small.context_gib


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"card": "T4", "unknown": 1}'])
def test_a_file_that_is_no_row_is_told(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calibration.FOLDER.mkdir()
    (calibration.FOLDER / "broken.json").write_text(content)
    with pytest.raises(RunError, match="can not be read"):
        calibration.rows()
