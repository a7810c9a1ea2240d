from pathlib import Path

import pytest

from lowmed.errors import RecipeError
from lowmed.recipe import GrpoSpec, Recipe, SftSpec
from lowmed.recipe.io import dump_recipe, load_recipe, portable_recipe, shipped_recipes

GOOD = """\
about: a recipe
data: {source: phantom}
method:
  kind: grpo
  rewards:
    - {name: accuracy}
"""


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def mistakes(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(written(folder, text), overrides)
    return str(caught.value)


@pytest.mark.parametrize("name", shipped_recipes())
@pytest.mark.parametrize("nano", [False, True])
def test_every_shipped_recipe_loads_and_says_where_its_values_come_from(name: str, nano: bool) -> None:
    recipe = load_recipe(name, nano=nano)
    assert recipe.about
    assert recipe.provenance
    for key in recipe.provenance:
        result: object = recipe
        for part in key.split("."):
            result = getattr(result, part)  # every line of provenance names a key that exists


def test_nano_replaces_model_and_data_and_nothing_else() -> None:
    plain, nano = load_recipe("rarl"), load_recipe("rarl", nano=True)
    changed = {name for name in Recipe.model_fields if getattr(plain, name) != getattr(nano, name)}
    assert changed == {"model", "data", "provenance"}
    assert plain.provenance["model.name"] == "RARL, abstract"
    gone = plain.provenance.keys() - nano.provenance.keys()
    assert gone == {"model.name", "data.source", "data.split_by"}  # they are nano's and phantom's now
    assert nano.model.load_in == plain.model.load_in
    assert nano.model.max_image_tokens == plain.model.max_image_tokens


def test_an_override_is_not_the_papers_value_any_more() -> None:
    assert "lora.rank" in load_recipe("rarl").provenance
    assert "lora.rank" not in load_recipe("rarl", ["lora.rank=32"]).provenance


def test_overrides_apply_after_nano() -> None:
    recipe = load_recipe("rarl", ["data.source=vqa-rad", "data.path=/data", "data.split_by=image"], nano=True)
    assert (recipe.model.name, recipe.data.source, recipe.data.path) == ("nano", "vqa-rad", "/data")


def test_a_resolved_recipe_is_accepted_back(tmp_path: Path) -> None:
    recipe = load_recipe("rarl", ["lora.rank=32", "method.learning_rate=1e-4"], nano=True)
    again = load_recipe(written(tmp_path, dump_recipe(recipe)))
    assert again == recipe
    assert again.digest == recipe.digest


def test_the_digest_follows_what_changes_the_result_and_not_the_words(tmp_path: Path) -> None:
    base = load_recipe(written(tmp_path, GOOD))
    assert load_recipe(written(tmp_path, GOOD.replace("a recipe", "other words"))).digest == base.digest
    assert load_recipe(written(tmp_path, GOOD), ["seed=1"]).digest != base.digest


def test_all_mistakes_are_told_at_once_by_line_with_suggestions(tmp_path: Path) -> None:
    text = (
        "about: x\nmodel: {nmae: Q}\nlora:\n  rnak: 3\ndata: {source: a}\nmethod:\n  kind: grpo\n  num_generations: 1\n"
    )
    told = mistakes(tmp_path, text, "lora.alpha=x")
    assert "mine.yaml has 5 mistakes" in told
    assert "mine.yaml:2  model.nmae  is not a recipe key. Did you mean `name`?" in told
    assert "mine.yaml:4  lora.rnak  is not a recipe key. Did you mean `rank`?" in told
    assert "mine.yaml:8  method.num_generations  (1) should be greater than or equal to 2" in told
    assert "lora.alpha=x  lora.alpha  ('x')" in told
    assert "method.rewards  is missing" in told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "holds no recipe"),
        ("- a\n- b\n", "holds no recipe"),
        ("about: [x\n", "is not YAML"),
        ("about: x\ndata: {source: a}\nlora: {rank: 3, rank: 4}\n", "`lora.rank` twice"),
        (GOOD.replace("kind: grpo", "kind: ppo"), "has an unknown kind, 'ppo'"),
        (GOOD.replace("  kind: grpo\n", ""), "needs `kind: sft` or `kind: grpo`"),
        (GOOD + "lora: 5\n", "should be a valid dictionary"),
        (GOOD + "prompts: {infer: poetic}\n", "mine.yaml:7  prompts.infer  there is no prompt family `poetic`"),
        (GOOD.replace("source: phantom", "source: phantom, split: test"), "data.split  is not a recipe key"),
        (GOOD.replace("    - {name: accuracy}\n", "    []\n"), "at least 1 item"),
        (GOOD + "seed: !!python/object/apply:os.system ['true']\n", "is not YAML"),
    ],
)
def test_bad_recipes_are_told_in_three_parts(tmp_path: Path, text: str, expected: str) -> None:
    told = mistakes(tmp_path, text)
    assert expected in told
    assert "\n  where  " in told
    assert "\n  fix    " in told


def test_a_recipe_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="can not be read"):
        load_recipe(str(path))


@pytest.mark.parametrize("override", ["lora.rank", "=3", "lora.rank=[1", "lora.rank.deep=3", "rank=3"])
def test_bad_overrides_are_told(override: str) -> None:
    with pytest.raises(RecipeError):
        load_recipe("rarl", [override])


def test_rows_that_do_not_divide_are_refused(tmp_path: Path) -> None:
    assert "does not divide the 64 rows" in mistakes(tmp_path, GOOD, "method.per_device_train_batch_size=7")


def test_an_unknown_recipe_is_told_with_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match="no recipe `ralr`") as caught:
        load_recipe("ralr")
    assert "Did you mean `rarl`?" in caught.value.fix


def test_numbers_may_be_written_with_an_exponent_and_no_point(tmp_path: Path) -> None:
    method = load_recipe(written(tmp_path, GOOD), ["method.learning_rate=3e-4"]).method
    assert method.learning_rate == 3e-4


def test_defaults_of_the_methods_differ_where_they_should() -> None:
    assert SftSpec(kind="sft").prompts_per_step == 16
    assert GrpoSpec.model_validate({"kind": "grpo", "rewards": [{"name": "format"}]}).rows_per_step == 64


def test_a_stored_recipe_has_no_absolute_path(tmp_path: Path) -> None:
    overrides = [f"data.path={tmp_path}/data", f"lora.start={tmp_path}/run", f"model.name={tmp_path}/model"]
    overrides += [f"judge.calibration={tmp_path}/judge.json", f"data.difficulty={tmp_path}/d.jsonl"]
    text = dump_recipe(portable_recipe(load_recipe("rarl", overrides)))
    assert str(tmp_path) not in text.replace("../", "")
    assert ": /" not in text
