import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lowmed.errors import RecipeError
from lowmed.methods import GrpoSpec, SftSpec
from lowmed.recipe import Recipe, raw
from lowmed.recipe.foreign_keys import HINTS
from lowmed.recipe.io import dump_recipe, load_recipe, portable_recipe, shipped_recipes
from lowmed.recipe.raw import read_raw

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
def test_every_shipped_recipe_loads_with_the_source_of_its_values(name: str, nano: bool) -> None:
    recipe = load_recipe(name, nano=nano)
    assert recipe.about
    assert recipe.provenance
    for key in recipe.provenance:
        result: object = recipe
        for part in key.split("."):
            result = getattr(result, part)  # every key of provenance exists


def test_nano_replaces_only_the_model_and_the_data() -> None:
    plain, nano = load_recipe("rarl"), load_recipe("rarl", nano=True)
    changed = {name for name in Recipe.model_fields if getattr(plain, name) != getattr(nano, name)}
    assert changed == {"model", "data", "provenance"}
    assert plain.provenance["model.name"] == "RARL, abstract"
    gone = plain.provenance.keys() - nano.provenance.keys()
    assert gone == {"model.name", "data.source", "data.split_by"}  # replaced by nano and phantom
    assert nano.model.load_in == plain.model.load_in
    assert nano.model.max_image_tokens == plain.model.max_image_tokens


def test_an_override_drops_the_provenance_of_the_value() -> None:
    assert "lora.rank" in load_recipe("rarl").provenance
    assert "lora.rank" not in load_recipe("rarl", ["lora.rank=32"]).provenance


def test_overrides_apply_after_nano() -> None:
    recipe = load_recipe("rarl", ["data.source=vqa-rad", "data.path=/data", "data.split_by=image"], nano=True)
    assert (recipe.model.name, recipe.data.source, recipe.data.path) == ("nano", "vqa-rad", "/data")


def test_a_dumped_recipe_loads_to_an_equal_recipe(tmp_path: Path) -> None:
    recipe = load_recipe("rarl", ["lora.rank=32", "method.learning_rate=1e-4"], nano=True)
    again = load_recipe(written(tmp_path, dump_recipe(recipe)))
    assert again == recipe
    assert again.digest == recipe.digest


def test_the_digest_depends_on_settings_and_not_on_the_description(tmp_path: Path) -> None:
    base = load_recipe(written(tmp_path, GOOD))
    assert load_recipe(written(tmp_path, GOOD.replace("a recipe", "other words"))).digest == base.digest
    assert load_recipe(written(tmp_path, GOOD), ["seed=1"]).digest != base.digest


def test_all_mistakes_are_listed_at_once_by_line_with_hints(tmp_path: Path) -> None:
    text = (
        "about: x\nmodel: {nmae: Q}\nlora:\n  rnak: 3\ndata: {source: a}\nmethod:\n  kind: grpo\n  num_generations: 1\n"
    )
    message = mistakes(tmp_path, text, "lora.alpha=x")
    assert "mine.yaml has 5 mistakes" in message
    assert "mine.yaml:2  model.nmae  is not a recipe key. Did you mean `name`?" in message
    assert "mine.yaml:4  lora.rnak  is not a recipe key. Did you mean `rank`?" in message
    assert "mine.yaml:8  method.num_generations  (1) should be greater than or equal to 2" in message
    assert "lora.alpha=x  lora.alpha  ('x')" in message
    assert "method.rewards  is missing" in message


def test_mistakes_in_rewards_are_listed_with_the_others(tmp_path: Path) -> None:
    text = (
        "about: x\nmodel: {nmae: Q}\ndata: {source: a}\nmethod:\n  kind: grpo\n  rewards:\n"
        "    - {name: acuracy}\n    - {name: chain, target_wrods: 3}\n    - {name: chain, target_words: many}\n"
        "    - format\n    - {name: none.py:f}\n    - {name: repetition, n: 0}\n    - {name: overlong, wieght: 1}\n"
        "    - {name: consistency, margin: .nan}\n"
    )
    lines = [line.strip().removeprefix("where").strip() for line in mistakes(tmp_path, text).splitlines()[1:-1]]
    assert lines == [
        "mine.yaml:2  model.nmae  is not a recipe key. Did you mean `name`?",
        "mine.yaml:7  method.rewards.0.name  there is no reward `acuracy`. Did you mean `accuracy`?",
        (
            "mine.yaml:8  method.rewards.1.target_wrods  is not an option of the reward `chain`. "
            "Did you mean `target_words`?"
        ),
        "mine.yaml:9  method.rewards.2.name  is the second `chain`. Name each reward once, with one weight.",
        "mine.yaml:9  method.rewards.2.target_words  ('many') should be a valid integer",
        "mine.yaml:10  method.rewards.3  must be a mapping: write {name: format}",
        *lines[6:8],  # the texts of the rewards themselves
        "mine.yaml:13  method.rewards.6.wieght  is not an option of the reward `overlong`. Did you mean `weight`?",
        "mine.yaml:14  method.rewards.7.margin  (nan) should be a finite number",
    ]
    assert [line.split("  ")[:2] for line in lines[6:8]] == [
        ["mine.yaml:11", "method.rewards.4"],
        ["mine.yaml:12", "method.rewards.5"],
    ]


@pytest.mark.parametrize(
    "rewards",
    [
        "[{name: acuracy}]",
        "[{name: format, x: 1}]",
        "[{name: format}, {name: format}]",
        "[{name: chain, target_words: true}]",
    ],
)
def test_mistakes_in_rewards_alone_are_reported_at_load(rewards: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("rarl", [f"method.rewards={rewards}"])
    assert f"method.rewards={rewards}  method.rewards." in caught.value.where


def test_values_of_the_wrong_shape_are_named_in_terms_of_yaml(tmp_path: Path) -> None:
    text = "about: x\ndata: {source: a}\nlora: [1]\nmethod: {kind: grpo, rewards: {name: format}}\n"
    assert mistakes(tmp_path, text).splitlines()[1:-1] == [
        "  where  mine.yaml:3  lora  ([1]) must be a mapping of keys to values",
        "         mine.yaml:4  method.rewards  ({'name': 'format'}) must be a list",
    ]
    assert "method  ('sft') must be a mapping" in mistakes(tmp_path, "about: x\ndata: {source: a}\nmethod: sft\n")


def test_a_recipe_whose_custom_reward_is_gone_still_loads() -> None:
    load_recipe("rarl", ["method.rewards=[{name: gone.py:f}]"])  # `lowmed eval` of a finished run needs no rewards


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("learning_rate=1e-4", "Write `method.learning_rate`."),
        ("method.num_train_epochs=3", "Write `method.epochs`, or `method.max_steps` for optimizer steps."),
        ("lora.r=8", "Write `lora.rank`."),
        ("rank=8", "Write `lora.rank`."),
        ("model.max_pixels=200704", "Write `model.max_image_tokens`"),
        ("method.max_new_tokens=64", "Write `method.max_completion_length`."),
        ("output_dir=x", "Use the option `--out`."),
        ("data.limit=3", ""),
    ],
)
def test_keys_of_other_tools_get_a_hint(tmp_path: Path, override: str, hint: str) -> None:
    key, _, value = override.partition("=")
    expected = f"{key}  is not a recipe key. {hint}".rstrip()
    assert f"{override}  {expected}" in mistakes(tmp_path, GOOD, override)
    *sections, last = key.split(".")
    text = {"about": "x", "data": {"source": "a"}, "method": {"kind": "grpo", "rewards": [{"name": "format"}]}}
    section = text
    for part in sections:
        section = section.setdefault(part, {})  # type: ignore[assignment]
    section[last] = value
    assert f"  {expected}" in mistakes(tmp_path, yaml.safe_dump(text))


def test_a_key_of_another_method_is_named_as_such() -> None:
    with pytest.raises(RecipeError, match="sft") as caught:
        load_recipe("rarl-sft", ["method.num_generations=8"])
    assert "is not a recipe key. It belongs to `kind: grpo`." in caught.value.where


def test_every_hint_names_a_key_that_exists() -> None:
    names = [name for hint in HINTS.values() for name in re.findall(r"`([a-z_]+\.[a-z_]+)[:`]", hint)]
    assert len(names) > 30
    for name in names:
        section, key = name.split(".")
        owner: Any = GrpoSpec if section == "method" else Recipe.model_fields[section].annotation
        assert key in owner.model_fields, name
    assert not HINTS.keys() & Recipe.model_fields.keys()


@pytest.mark.parametrize("text", [GOOD, "about: [x\n", "a: {b: 1, c: [2, {d: 1e-4}]}\n", 'a: "\\x"\n'])
def test_the_c_parser_and_the_python_parser_agree(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def result() -> object:
        try:
            return read_raw(Path(written(tmp_path, text)))
        except RecipeError as error:
            return str(error)

    fast = result()
    monkeypatch.setattr(raw, "_Loader", raw._PureLoader)
    assert result() == fast


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is not a recipe"),
        ("- a\n- b\n", "is not a recipe"),
        ("about: [x\n", "is not valid YAML"),
        ("about: x\ndata: {source: a}\nlora: {rank: 3, rank: 4}\n", "sets `lora.rank` twice"),
        (GOOD.replace("kind: grpo", "kind: ppo"), "has an unknown kind, 'ppo'"),
        (GOOD.replace("  kind: grpo\n", ""), "needs `kind: sft` or `kind: grpo`"),
        (GOOD + "lora: 5\n", "must be a mapping of keys to values"),
        (GOOD + "prompts: {infer: poetic}\n", "mine.yaml:7  prompts.infer  there is no prompt family `poetic`"),
        (GOOD.replace("source: phantom", "source: phantom, split: test"), "data.split  is not a recipe key"),
        (GOOD.replace("    - {name: accuracy}\n", "    []\n"), "at least 1 item"),
        (GOOD + "seed: !!python/object/apply:os.system ['true']\n", "is not valid YAML"),
    ],
)
def test_errors_have_three_parts(tmp_path: Path, text: str, expected: str) -> None:
    message = mistakes(tmp_path, text)
    assert expected in message
    assert "\n  where  " in message
    assert "\n  fix    " in message


def test_a_binary_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(str(path))


@pytest.mark.parametrize(
    "override", ["lora.rank", "=3", "lora.rank=[1", "lora.rank.deep=3", "rank=3", "method.rewards.0.weight=2"]
)
def test_invalid_overrides_are_rejected(override: str) -> None:
    with pytest.raises(RecipeError):
        load_recipe("rarl", [override])


def test_a_batch_size_that_does_not_divide_the_rows_is_rejected(tmp_path: Path) -> None:
    assert "does not divide the 64 rows" in mistakes(tmp_path, GOOD, "method.per_device_train_batch_size=7")


def test_an_unknown_recipe_name_gets_a_suggestion() -> None:
    with pytest.raises(RecipeError, match="no recipe `ralr`") as caught:
        load_recipe("ralr")
    assert "did you mean `rarl`?" in caught.value.fix


def test_numbers_may_have_an_exponent_without_a_decimal_point(tmp_path: Path) -> None:
    method = load_recipe(written(tmp_path, GOOD), ["method.learning_rate=3e-4"]).method
    assert method.learning_rate == 3e-4


def test_methods_have_their_own_defaults() -> None:
    assert SftSpec(kind="sft").prompts_per_step == 16
    assert GrpoSpec.model_validate({"kind": "grpo", "rewards": [{"name": "format"}]}).rows_per_step == 64


def test_a_portable_recipe_has_no_absolute_path(tmp_path: Path) -> None:
    overrides = [f"data.path={tmp_path}/data", f"lora.start={tmp_path}/run", f"model.name={tmp_path}/model"]
    overrides += [f"judge.calibration={tmp_path}/judge.json", f"data.difficulty={tmp_path}/d.jsonl"]
    text = dump_recipe(portable_recipe(load_recipe("rarl", overrides)))
    assert str(tmp_path) not in text.replace("../", "")
    assert ": /" not in text


def test_a_missing_space_after_a_colon_is_named_and_the_list_is_not_called_too_short() -> None:
    with pytest.raises(RecipeError) as raised:
        load_recipe("rarl", ["method.rewards=[{name:accuracy},{name:format,weight: 2}]"], nano=True)
    assert "`name: accuracy`" in raised.value.where
    assert "at least 1 item" not in raised.value.where
    with pytest.raises(RecipeError, match="a mistake") as raised:
        load_recipe("rarl", ["method.rewards=[]"], nano=True)
    assert "at least 1 item" in raised.value.where


def test_listing_mistakes_does_not_run_a_custom_reward(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef f(sample, completion): return 1.0\n")
    with pytest.raises(RecipeError):
        load_recipe("rarl", [f"method.rewards=[{{name: '{tmp_path}/mine.py:f'}}]", "lora.rnak=3"], nano=True)
    assert not (tmp_path / "ran").exists()


def test_epochs_replace_the_steps_of_the_file_and_both_are_a_mistake() -> None:
    recipe = load_recipe("rarl", ["method.epochs=2"])
    assert not recipe.steps_are_known
    assert "method.max_steps" not in recipe.provenance
    known = recipe.with_steps_for(101)
    assert known.method.max_steps == -(-2 * 101 // recipe.method.prompts_per_step)
    assert known.digest == recipe.digest != load_recipe("rarl", ["method.epochs=3"]).digest
    for overrides in (["method.epochs=2", "method.max_steps=5"], ["method.max_steps=5", "method.epochs=2"]):
        with pytest.raises(RecipeError) as caught:
            load_recipe("rarl", overrides)
        assert "method has both max_steps and epochs" in caught.value.where


def test_a_derived_number_of_steps_is_stored_and_derived_again_for_other_data(tmp_path: Path) -> None:
    recipe = load_recipe("rarl", ["method.epochs=0.5", "method.prompts_per_step=4"]).with_steps_for(100)
    assert recipe.method.max_steps == 13
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(recipe))
    again = load_recipe(str(file))
    assert again == recipe
    assert again.with_steps_for(40).method.max_steps == 5
    assert load_recipe(str(file), ["method.max_steps=7"]).with_steps_for(40).method.max_steps == 7
    changed = load_recipe(str(file), ["method.epochs=1"])
    assert not changed.steps_are_known
    file.write_text(dump_recipe(changed))
    assert load_recipe(str(file)).with_steps_for(40).method.max_steps == 10


def test_an_override_with_null_replaces_no_other_key() -> None:
    assert load_recipe("vqa-rad-sft", ["method.epochs=null"]).method.max_steps == 340


def test_epochs_of_the_rounds_of_a_bridge_survive_writing(tmp_path: Path) -> None:
    recipe = load_recipe("medbridge", ["bridge.sft.epochs=2"])
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(recipe))
    bridge = load_recipe(str(file)).bridge
    assert bridge is not None
    assert bridge.sft.epochs == 2


def test_completions_that_are_used_several_times_count_once() -> None:
    recipe = load_recipe("rl-plain", ["method.epochs=1", "method.prompts_per_step=4", "method.num_iterations=3"])
    known = recipe.with_steps_for(20)
    assert (known.method.max_steps, known.method.draws) == (15, 20)


def test_dials_belong_to_the_testbed_and_change_the_digest_only_if_they_are_set() -> None:
    plain = load_recipe("rarl", ["data.source=testbed"])
    assert load_recipe("rarl", ["data.source=testbed", "data.dials.marker=0"]).digest == plain.digest
    assert load_recipe("rarl", ["data.source=testbed", "data.dials.marker=0.5"]).digest != plain.digest
    with pytest.raises(RecipeError, match=r"dials are those of source=testbed"):
        load_recipe("rarl", ["data.source=phantom", "data.dials.marker=0.5"])
    with pytest.raises(RecipeError, match=r"unexplained and part_explained add up to more than 1"):
        load_recipe("rarl", ["data.source=testbed", "data.dials={unexplained: 0.6, part_explained: 0.6}"])
