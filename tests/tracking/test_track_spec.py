"""The section `track` of a recipe: what is refused, and when."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import Lowmed

from lowmed.errors import RecipeError, SetupError
from lowmed.recipe.io import load_recipe
from lowmed.recipe.track import TrackSpec
from lowmed.tracking.tracker import require_tracker


def test_nothing_is_tracked_unless_the_recipe_requests_it() -> None:
    assert load_recipe("rarl").track == TrackSpec(to=None, online=False, completions=0, images=False)


@pytest.mark.parametrize("override", ["track.to=mlflow", "track.project=x", "track.completions=3"])
def test_tracking_is_no_part_of_the_digest(override: str) -> None:
    assert load_recipe("rarl", [override]).digest == load_recipe("rarl").digest


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["track.online=true"], "online needs a server"),
        (["track.to=tensorboard", "track.online=true"], "online needs a server"),
        (["track.to=wandb", "track.online=true", "track.completions=1", "track.images=true"], "stay on this machine"),
        (["track.to=mlflow", "track.images=true"], "images need track.completions"),
        (["track.to=trackio", "track.completions=1", "track.images=true"], "images need track.completions"),
        (["track.to=comet"], "track.to"),
        (["track.project=a/b"], "track.project"),
        (["track.completions=-1"], "track.completions"),
        (["report_to=wandb"], "Write `track.to`"),
    ],
)
def test_mistakes_are_named(overrides: list[str], expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("rarl", overrides)
    assert expected in str(caught.value)


def test_a_missing_package_is_an_error_before_training_and_in_check(tmp_path: Path, lowmed: Lowmed) -> None:
    missing = next((tool for tool in ("wandb", "trackio") if find_spec(tool) is None), None)
    if missing is None:
        pytest.skip("every tracker is installed")
    (tmp_path / missing).mkdir()  # wandb creates such a folder; Python takes it for a package
    for command in (["check"], ["grpo", "--out", "run"]):
        result = lowmed(*command, "--recipe", "rarl", "--nano", f"track.to={missing}")
        assert result.returncode == 2
        assert f"the package `{missing}` is not installed" in result.stderr
        assert f"pip install 'lowmed[{missing}]'" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_server_is_required_online(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    spec = TrackSpec(to="mlflow", online=True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(SetupError, match="names no server"):
        require_tracker(spec)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///local.db")
    with pytest.raises(SetupError, match="names no server"):
        require_tracker(spec)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    require_tracker(spec)
    monkeypatch.setenv("LOWMED_OFFLINE", "1")
    with pytest.raises(SetupError, match="LOWMED_OFFLINE=1 forbids"):
        require_tracker(spec)


def test_no_tracker_is_imported_unless_it_is_used() -> None:
    code = (
        "import sys\nfrom lowmed.engine import device\ndevice.silence_libraries()\n"
        "import lowmed.engine.tracking, trl.trainer.grpo_trainer\n"
        "assert not {'mlflow', 'tensorboard'} & set(sys.modules)\n"
    )
    environment = os.environ | {"TRANSFORMERS_VERBOSITY": "error"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, stderr=subprocess.DEVNULL)
