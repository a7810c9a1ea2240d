"""When RL is paid for: measure support, then sharpen by RL, or bridge by SFT and measure again.

The rule of MedBridgeRL (arXiv:2603.01301). Its threshold is not published, and its Pass@K counts what guessing reaches;
here the probe's corrected support decides, and Pass@K stands beside it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lowmed.errors import RecipeError
from lowmed.recipe import BridgeSpec, Recipe

Step = Literal["grpo", "sft", "stop"]


def bridge_spec(recipe: Recipe) -> BridgeSpec:
    """The recipe's own rule.

    Raises:
        RecipeError: it has none, or does not train by GRPO where the rule says RL.
    """
    if recipe.bridge is None:
        raise RecipeError(
            "the recipe has no `bridge` section",
            "bridge",
            "use --recipe medbridge, or add a `bridge` section with its sft",
        )
    if recipe.method.kind != "grpo":
        raise RecipeError("the recipe's method is not RL", "method.kind", "give method as grpo and bridge.sft as SFT")
    return recipe.bridge


def next_step(verdict: str, rounds: int, limit: int) -> tuple[Step, str]:
    """What follows a probe, and why.

    Args:
        verdict: of the probe.
        rounds: of SFT that were done.
        limit: rounds after which bridging is given up.
    """
    if verdict == "RL":
        return "grpo", "there is support: sharpen it"
    if verdict != "SFT first":
        return "stop", "RL has nothing to gain here"
    if rounds >= limit:
        return "stop", f"no support after {rounds} round{'s'[: rounds != 1]} of SFT: take other data or a stronger base"
    return "sft", "too little support: bridge first"


def support_figures(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a probe says of support: Acc@1, Pass@K, their gap, what guessing and blindness reach, and support."""
    every = result["all"]
    k, at = list(every["at"].items())[-1]
    return {
        "questions": every["questions"],
        "k": int(k),
        "acc_at_1": every["acc_at_1"],
        "pass_at_k": at["pass"],
        "gap": at["pass"] - every["acc_at_1"],
        "pass_at_k_by_guessing": at["chance"],
        "pass_at_k_blind": at["blind"],
        "support": every["support"],
        "support_by_image": every["support_by_image"],
        "support_needed": result["support_needed"],
        "verdict": every["verdict"],
        "reason": every["reason"],
    }


def stage_recipe(recipe: Recipe, kind: Literal["grpo", "sft"], start: Path | None) -> Recipe:
    """The recipe of one stage: the RL of the plan or the SFT of its `bridge` section, from the adapter of the stage before."""
    method = bridge_spec(recipe).sft if kind == "sft" else recipe.method
    lora = recipe.lora.model_copy(update={"start": str(start) if start else recipe.lora.start})
    about = f"{recipe.about} Stage: {kind}."
    return recipe.model_copy(update={"about": about, "method": method, "bridge": None, "lora": lora})
