"""Several data sets in a recipe: the mistakes, the names, and overrides that replace one form by the other."""

from pathlib import Path

import pytest

from lowmed.errors import RecipeError
from lowmed.recipe import DataSpec
from lowmed.recipe.io import dump_recipe, load_recipe, portable_recipe
from lowmed.report.run_report import settings
from lowmed.ship.package import public_recipe

TWO = "{source: vqa-rad, path: /data/rad, share: 0.6}, {source: phantom, share: 0.4}"


def recipe_file(folder: Path, data: str) -> str:
    file = folder / "mix.yaml"
    file.write_text(f"about: a mixture\ndata: {data}\nmethod: {{kind: sft}}\n")
    return str(file)


@pytest.mark.parametrize(
    ("data", "mistake"),
    [
        ("{split_by: image}", "names no data; set source (and path), or sources"),
        (f"{{source: phantom, sources: [{TWO}]}}", "has both source and sources"),
        (f"{{path: /data, sources: [{TWO}]}}", "has a path besides sources"),
        ("{source: phantom, mixing_temperature: 2}", "mixes several data sets"),
        (f"{{sources: [{TWO}], mixing_temperature: 2}}", "keep one of the two"),
        ("{sources: [{source: phantom, share: 0.5}, {source: slake}]}", "`slake` has no share"),
        (
            "{sources: [{source: phantom, share: 0.9}, {source: slake, share: 0.6}]}",
            "add up to 1.5, not 1; in proportion they would be phantom 0.6, slake 0.4",
        ),
        ("{sources: [{source: folder, name: a}, {source: slake, name: a}]}", "are named `a`"),
        ("{sources: [{source: folder, name: ../a}]}", "'../a' should have 1 to 40 letters"),
        ("{sources: [{source: phantom, shares: 0.5}]}", "Did you mean `share`?"),
        ("{sources: [phantom]}", "must be a mapping: write {source: phantom}"),
        ("{sources: [{source: phantom, train_limit: 0}]}", "greater than or equal to 1"),
        (f"{{sources: [{TWO}], balance: source}}", "keep one of them"),
        ("{source: phantom, balance: kind, order: easy_to_hard, difficulty: x}", "balance repeats and omits rows"),
    ],
)
def test_mistakes_are_explained(tmp_path: Path, data: str, mistake: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe_file(tmp_path, data))
    assert mistake in caught.value.where


def test_names_are_unique() -> None:
    entries = [{"source": "folder"}, {"source": "folder"}, {"source": "slake"}, {"source": "folder", "name": "ct"}]
    spec = DataSpec.model_validate({"sources": entries})
    assert spec.names == ("folder-1", "folder-2", "slake", "ct")
    assert spec.name == "folder-1+folder-2+slake+ct"
    assert spec.named("folder") == ("folder-1", "folder-2", "ct")
    assert spec.named("slake") == ("slake",)
    assert spec.named("phantom") == ()
    assert DataSpec(source="slake").named("slake") == DataSpec(source="slake").named(None) == ("slake",)


def test_an_override_of_one_form_replaces_the_other_in_the_file(tmp_path: Path) -> None:
    mixed = load_recipe("rarl", [f"data.sources=[{TWO}]"])
    assert mixed.data.source is None
    assert len(mixed.data.sources) == 2
    single = load_recipe(recipe_file(tmp_path, f"{{sources: [{TWO}]}}"), ["data.source=slake", "data.path=~/slake"])
    assert (single.data.name, single.data.sources) == ("slake", ())
    nano = load_recipe(recipe_file(tmp_path, f"{{sources: [{TWO}]}}"), nano=True)
    assert nano.data.name == "phantom"
    assert load_recipe("rarl", [f"data.sources=[{TWO}]"], nano=True).data.name == "vqa-rad+phantom"


def test_two_overrides_do_not_replace_each_other() -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("rarl", [f"data.sources=[{TWO}]", "data.source=slake"])
    assert "has both source and sources" in caught.value.where


def test_no_path_of_a_source_is_stored_or_published(tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file(tmp_path, f"{{sources: [{TWO}]}}"))
    stored = portable_recipe(recipe)
    assert not str(stored.data.sources[0].path).startswith("/")
    file = tmp_path / "again.yaml"
    file.write_text(dump_recipe(recipe))
    assert load_recipe(str(file)).digest == recipe.digest
    published = f"{settings(recipe)} {dump_recipe(public_recipe(recipe, 'adapter'))}"
    assert "vqa-rad" in published
    assert "/data" not in published
    assert "data/rad" not in published
