"""What is tracked of a recipe."""

from pathlib import Path

from lowmed.recipe.io import load_recipe
from lowmed.run import create_run
from lowmed.tracking.parameters import parameters


def test_no_folder_of_several_data_sets_is_tracked_whatever_it_is_called(tmp_path: Path) -> None:
    sources = "[{source: folder, path: mueller-anna, name: a}, {source: folder, path: ~/kaiser 7, name: b}]"
    recipe = load_recipe("rl-plain", [f"data.sources={sources}"])
    text = str(parameters(create_run(recipe, "run", out=str(tmp_path / "run"))))
    assert "folder" in text
    assert "mueller" not in text
    assert "kaiser" not in text
