"""Settings of GRPO that exclude each other are errors, and those without an effect are stated."""

import subprocess
from collections.abc import Callable

import pytest

from lowmed.engine.device import unsupported_error
from lowmed.errors import RecipeError
from lowmed.methods.mix import ChordMix, SumMix
from lowmed.recipe.io import load_recipe

Lowmed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method.loss_type=cispo"], "loss_type=cispo needs epsilon_high"),
        (["method.delta=1.1"], r"delta \(1.1\) is not above 1 \+ epsilon_high \(1.2\)"),
        (["method.loss_type=sapo", "method.delta=2"], "loss_type=sapo does not have"),
        (["method.dynamic_sampling=1", "method.scale_rewards=batch"], "each must be normalized alone"),
        (["method.baseline=leave_one_out"], "set scale_rewards=none"),
        (["method.mix.kind=luffy", "method.loss_type=grpo"], "set loss_type to dapo or dr_grpo, not grpo"),
        (["method.mix.kind=luffy", "method.scale_rewards=batch"], "compares the reference completion with its group"),
        (["method.mix.kind=chord", "method.mix.valley=0.95"], r"valley \(0.95\) is above peak \(0.9\)"),
        (["method.mix.kind=lufy"], "it needs `kind: sum` or `kind: chord` or `kind: luffy`"),
        (["method.mix.gamma=1"], "needs `kind: sum` or `kind: chord` or `kind: luffy`"),
        (["method.mix.kind=luffy", "method.mix.gama=1"], "method.mix.gama  is not a recipe key. Did you mean `gamma`"),
    ],
)
def test_settings_that_exclude_each_other_are_mistakes(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        try:
            load_recipe("rarl", overrides)
        except RecipeError as error:
            raise RecipeError(f"{error.what}\n{error.where}", "", "") from error


@pytest.mark.parametrize("setting", ["method.mix.kind=luffy", "method.dynamic_sampling=1"])
def test_a_family_without_the_own_forward_pass_refuses_what_needs_it(setting: str) -> None:
    for override in ("model.backend=unsloth", "model.name=google/medgemma-4b-it"):
        error = unsupported_error(load_recipe("rarl", [setting, override]))
        assert error is not None
        assert "needs lowmed's forward pass" in error.what
        assert error.where in ("method.mix", "method.dynamic_sampling")
    assert unsupported_error(load_recipe("rarl", [setting])) is None


def test_settings_of_ratios_without_an_effect_are_stated(lowmed: Lowmed) -> None:
    once = ["method.importance_sampling_level=sequence", "method.delta=4"]
    [note] = load_recipe("rarl", once).method.notes
    assert "importance_sampling_level=sequence and delta" in note
    assert load_recipe("rarl", [*once, "method.num_iterations=2"]).method.notes == ()
    assert load_recipe("rarl").method.notes == ()
    checked = lowmed("check", "--recipe", "gspo", "--nano", "method.num_iterations=1", "method.dynamic_sampling=1")
    assert "every ratio is 1" in checked.stdout
    assert "up to 2 times its completions" in checked.stdout


def test_the_share_of_sft_rises_to_the_peak_and_falls_to_the_valley() -> None:
    mix = ChordMix(kind="chord", peak=0.8, valley=0.2, warmup_steps=4, decay_steps=10)
    shares = [mix.weights(step)[1] for step in range(20)]
    assert shares[:5] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    assert shares[9] == pytest.approx(0.5)
    assert shares[14:] == pytest.approx([0.2] * 6)
    assert all(sum(mix.weights(step)) == pytest.approx(1) for step in range(20))
    assert SumMix(kind="sum").weights(7) == (1.0, 0.1)
