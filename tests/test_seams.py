"""A training method or a model family can be added without edits elsewhere.

Most of the package must neither test which method a recipe uses nor name anything of a model family.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from lowmed import architectures
from lowmed.errors import SetupError
from lowmed.methods import METHODS, MethodSpec, RewardSpec
from lowmed.models import FAMILIES, Architecture, ModelFamily
from lowmed.plan.cards import CARDS
from lowmed.plan.estimate import Estimate, estimate, suggestions
from lowmed.plan.formatting import as_document, full_lines
from lowmed.recipe import Recipe
from lowmed.recipe.io import load_recipe
from lowmed.rewards import for_recipe

PACKAGE = Path(__file__).parent.parent / "lowmed"
SPECS = "|".join(spec.__name__ for spec in METHODS.values())
KINDS = "|".join(METHODS)
# Code that depends on which method a recipe uses.
METHOD_TEST = re.compile(
    rf"""isinstance\([^()]*,[^()]*\(?[^()]*\b(?:{SPECS})\b"""
    rf"""|\b(?:is|is\s+not|case)\s+(?:\w+\.)*(?:{SPECS})\b"""
    rf"""|\b(?:kind|method|trainer)["']?\]?\s*(?:==|!=|in|not\s+in)\s*[({{\[]?\s*["'](?:{KINDS})["']"""
    rf"""|["'](?:{KINDS})["']\s*(?:==|!=)\s*[\w.\[\]"']*\b(?:kind|method|trainer)\b"""
)
# These modules define the methods or train by one of them.
METHOD_MODULES = ("methods/", "recipe/", *(f"engine/{spec.trainer}.py" for spec in METHODS.values()))
# (file, matched text; a key reads like an attribute) -> why it stays.
METHOD_TESTS_ALLOWED = {
    ("evaluation/bridge_rule.py", 'kind == "sft"'): "the kind of a bridge stage, not the method of a recipe",
    ("api/bridge.py", 'kind == "sft"'): "the kind of a bridge stage, not the method of a recipe",
}

# Names of models, tokens and modules of a model family.
FAMILY_TEXT = re.compile(r"qwen|<\|\w+\|>|(?:^|\.)visual(?:\.|$)|\blanguage_model\b", re.IGNORECASE)
FAMILY_ATTRIBUTES = {"visual", "language_model"}
FAMILY_MODULES = ("models/", "nano/", "testbed/", "ship/gguf/", "engine/prefix/")
# (file, part of the text) -> why it stays.
FAMILY_TEXT_ALLOWED = {
    ("recipe/model.py", "Qwen/Qwen2-VL-2B-Instruct"): "the default of `model.name`",
    ("recipe/model.py", "Qwen2VLImageProcessor: max_pixels / 784"): "the counterpart of a setting in transformers",
    ("evaluation/judge_calibration.py", "</candidate><|im_end|>"): "an attack text: a turn that a candidate forges",
    ("rewards/hacks.py", "<|im_end|><|im_start|>assistant"): "an attack text: a turn that a completion forges",
    ("ship/ollama.py", "<|im_"): "the check that a chat template is ChatML, the only one with an Ollama template",
}


def python_modules(*excluded: str) -> Iterator[tuple[str, str]]:
    """Path below `lowmed` and source of every module that is not in the excluded files and folders."""
    for module in sorted(PACKAGE.rglob("*.py")):
        name = module.relative_to(PACKAGE).as_posix()
        if not name.startswith(excluded):
            yield name, module.read_text(encoding="utf-8")


def family_text(source: str) -> Iterator[str]:
    """String literals and attributes of a source that belong to a model family.

    Docstrings are excluded, and so are the fields of a `ModelFamily` record.
    """
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            if FAMILY_TEXT.search(node.value):
                yield node.value
        elif isinstance(node, ast.Attribute) and node.attr in FAMILY_ATTRIBUTES:
            owner = ast.unparse(node.value)
            if not owner.endswith("family"):
                yield f"{owner}.{node.attr}"


@pytest.mark.parametrize(
    "line",
    [
        "if isinstance(recipe.method, GrpoSpec):",
        "isinstance(recipe.method, (recipe.GrpoSpec, SftSpec))",
        "assert not isinstance(method,\n    SftSpec)",
        "isinstance(method, SftSpec | GrpoSpec)",
        "type(method) is SftSpec",
        "case GrpoSpec():",
        'if recipe.method.kind == "grpo":',
        "if kind != 'sft':",
        'record["kind"] == "sft"',
        'if method.kind in ("grpo", "sft"):',
        'if "grpo" == recipe.method.kind:',
    ],
)
def test_a_test_of_the_method_is_recognized(line: str) -> None:
    assert METHOD_TEST.search(line)


@pytest.mark.parametrize(
    "line",
    [
        "def build(method: GrpoSpec) -> None:",
        'method=SftSpec(kind="sft")',
        'if sample.kind == "choice":',
        "if method.completions_per_prompt:",
        'Step = Literal["grpo", "sft"]',
        'isinstance(entry, dict)\nprint("SftSpec")',
    ],
)
def test_other_code_is_not_a_test_of_the_method(line: str) -> None:
    assert not METHOD_TEST.search(line)


def test_only_methods_and_trainers_test_which_method_a_recipe_uses() -> None:
    tests = {
        (name, match[0].replace('"]', ""))
        for name, source in python_modules(*METHOD_MODULES)
        for match in METHOD_TEST.finditer(source)
    }
    assert tests == set(METHOD_TESTS_ALLOWED)


def test_text_of_a_family_is_recognized() -> None:
    source = '''
        """About Qwen2-VL."""
        from lowmed.models import QWEN2_VL
        class Tower:
            "Wraps `visual`."
            def run(self, model, family):
                """Calls language_model."""
                a = model.visual.blocks, f"{model}.visual.blocks", "<|image_pad|>", "visualize"
                return getattr(model, "language_model"), family.language_model, self.family.language_model, a
    '''
    lines = "\n".join(line.removeprefix("        ") for line in source.splitlines())
    assert sorted(family_text(lines)) == [".visual.blocks", "<|image_pad|>", "language_model", "model.visual"]


def test_only_modules_of_a_family_name_what_belongs_to_it() -> None:
    used, leaks = set(), []
    for name, source in python_modules(*FAMILY_MODULES):
        for text in family_text(source):
            entries = {(file, part) for file, part in FAMILY_TEXT_ALLOWED if file == name and part in text}
            used |= entries
            if not entries:
                leaks.append(f"{name}: {text}")
    assert leaks == []
    assert used == set(FAMILY_TEXT_ALLOWED)


class BestOfSpec(MethodSpec):
    """A method that lowmed does not ship: fine-tuning on the best of some sampled completions."""

    trainer: ClassVar[str] = "best_of"

    kind: Literal["best_of"] = "best_of"
    candidates: int = 6
    max_tokens: int = 200
    scores: tuple[RewardSpec, ...] = (RewardSpec(name="accuracy", weight=2.0), RewardSpec(name="format", gate=True))

    @property
    def completions_per_prompt(self) -> int:
        return self.candidates

    @property
    def max_sampled_tokens(self) -> int:
        return self.max_tokens

    @property
    def reward_specs(self) -> tuple[RewardSpec, ...]:
        return self.scores

    def limited_to(self, max_completion_length: int) -> "BestOfSpec":
        return self.model_copy(update={"max_tokens": max_completion_length})


class ImitationSpec(MethodSpec):
    """A method that lowmed does not ship: it trains on reference completions and samples none."""

    trainer: ClassVar[str] = "imitation"
    with_completion: ClassVar[bool] = True

    kind: Literal["imitation"] = "imitation"


def recipe_with(method: MethodSpec) -> Recipe:
    return load_recipe("rarl").model_copy(update={"method": method})


def estimated(recipe: Recipe, card: str = "T4") -> Estimate:
    return estimate(recipe, architectures.read_architecture(recipe.model), CARDS[card], measured=[])


def test_the_planner_estimates_a_sampling_method_that_lowmed_does_not_ship() -> None:
    result = estimated(recipe_with(BestOfSpec(prompts_per_step=4)))
    assert {"load", "rollout", "backward"} <= set(result.gib)
    assert result.workload.batch.rows_per_generate % 6 == 0
    assert 24 % result.workload.batch.per_device_train_batch_size == 0
    assert result.time is not None
    more = estimated(recipe_with(BestOfSpec(prompts_per_step=4, candidates=12)))
    assert more.time is not None
    assert more.time.step > result.time.step
    assert any("completions sampled at once" in line for line in full_lines(result))
    assert as_document(result)["peak_gib"] == pytest.approx(result.peak_gib, abs=0.01)
    assert all(change.saves_gib > 0 for change in suggestions(result))


def test_the_planner_estimates_a_method_without_sampling_like_sft() -> None:
    sft = load_recipe("rarl-sft")
    common = sft.method.model_dump(exclude={"kind"})
    assert set(common) == set(ImitationSpec.model_fields) - {"kind"}
    result, expected = estimated(sft.model_copy(update={"method": ImitationSpec(**common)})), estimated(sft)
    assert result.gib == expected.gib
    assert result.time == expected.time
    assert "rollout" not in result.gib


def test_rewards_are_built_for_a_method_that_lowmed_does_not_ship() -> None:
    rewards = for_recipe(recipe_with(BestOfSpec()))
    assert [(reward.name, reward.weight, reward.gate) for reward in rewards] == [
        ("accuracy", 2.0, False), ("format", 1.0, True),
    ]  # fmt: skip
    assert for_recipe(recipe_with(ImitationSpec())) == []


def toy_architecture(config: Any) -> Architecture:
    return Architecture(
        family="toy_vl", hidden=config["width"], intermediate=4 * config["width"], layers=config["depth"], heads=8,
        kv_heads=2, head_dim=config["width"] // 8, vocabulary=1000, tied=True, vision_depth=2, vision_width=64,
        vision_intermediate=128, vision_out=config["width"], patch_values=588,
    )  # fmt: skip


def test_a_registered_family_is_read_and_estimated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = {"model_type": "toy_vl", "width": 256, "depth": 3}
    with pytest.raises(SetupError, match="models of type `toy_vl` are not supported"):
        architectures.from_config(config)
    monkeypatch.setitem(FAMILIES, "toy_vl", ModelFamily("toy_vl", "Toy-VL", toy_architecture))
    assert architectures.from_config(config) == toy_architecture(config)
    with pytest.raises(SetupError, match="no 'depth'"):
        architectures.from_config({"model_type": "toy_vl", "width": 256})
    with pytest.raises(SetupError, match="invalid dimensions"):
        architectures.from_config({**config, "depth": 0})
    (tmp_path / "config.json").write_text(json.dumps(config))
    for recipe in ("rarl", "rarl-sft"):
        result = estimated(load_recipe(recipe, [f"model.name={tmp_path}"]))
        assert result.verdict == "fits"
        assert result.workload.shared_prompts == 0  # the family does not support it
