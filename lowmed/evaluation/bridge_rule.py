"""The bridge rule: run RL if the probe shows support, otherwise a round of SFT, then probe again.

The rule of MedBridgeRL (arXiv:2603.01301). The paper publishes no threshold, and its Pass@K includes lucky guesses.
Here the probe's corrected support decides; Pass@K is reported next to it.
"""

from pathlib import Path
from typing import Literal

from lowmed.errors import RecipeError
from lowmed.evaluation.records import ProbeReport, ProbeStage
from lowmed.recipe import BridgeSpec, Recipe

Step = Literal["grpo", "sft", "stop"]


def bridge_spec(recipe: Recipe) -> BridgeSpec:
    """The recipe's `bridge` section.

    Raises:
        RecipeError: the section is missing, or the recipe's method samples no completions.
    """
    if recipe.bridge is None:
        raise RecipeError(
            "the recipe has no `bridge` section",
            "bridge",
            "use --recipe medbridge, or add a `bridge` section with its sft",
        )
    if not recipe.method.completions_per_prompt:
        raise RecipeError("the recipe's method is not RL", "method.kind", "set method to grpo and bridge.sft to SFT")
    return recipe.bridge


def next_step(verdict: str, rounds: int, limit: int) -> tuple[Step, str]:
    """The stage after a probe, and the reason.

    Args:
        verdict: verdict of the probe.
        rounds: SFT rounds done so far.
        limit: SFT rounds after which bridging stops.
    """
    if verdict == "RL":
        return "grpo", "The probe shows support, so RL can sharpen it."
    if verdict != "SFT first":
        return "stop", "RL has nothing to gain here."
    if rounds >= limit:
        return "stop", f"No support after {rounds} round{'s'[: rounds != 1]} of SFT: use other data or a stronger base."
    return "sft", "Support is too low, so SFT comes first."


def probe_stage(name: str, report: ProbeReport, then: Step, why: str) -> ProbeStage:
    """The entry of a probe in bridge.json.

    Args:
        name: folder of the probe.
        report: the result of the probe.
        then: the next stage, from `next_step`.
        why: the reason, from `next_step`.
    """
    overall = report.all
    k, at_k = list(overall.by_k.items())[-1]
    return ProbeStage(
        stage=name,
        kind="probe",
        questions=overall.questions,
        k=int(k),
        acc_at_1=overall.acc_at_1,
        pass_at_k=at_k.pass_rate,
        gap=at_k.pass_rate - overall.acc_at_1,
        pass_at_k_by_guessing=at_k.chance,
        pass_at_k_blind=at_k.blind,
        support=overall.support,
        support_by_image=overall.support_by_image,
        support_needed=report.support_needed,
        verdict=overall.verdict,
        reason=overall.reason,
        then=then,
        why=why,
    )


def stage_recipe(recipe: Recipe, kind: Literal["grpo", "sft"], start: Path | None) -> Recipe:
    """The recipe of one stage: the method or the SFT of the `bridge` section, from the previous adapter."""
    bridge = bridge_spec(recipe)
    method = bridge.sft if kind == "sft" else recipe.method
    prompts = recipe.prompts
    if kind == "sft" and bridge.sft_prompts:
        prompts = prompts.model_copy(update={"train": bridge.sft_prompts})
    lora = recipe.lora.model_copy(update={"start": str(start) if start else recipe.lora.start})
    about = f"{recipe.about} Stage: {kind}."
    changed = {"about": about, "method": method, "prompts": prompts, "bridge": None, "lora": lora}
    return recipe.model_copy(update=changed)
