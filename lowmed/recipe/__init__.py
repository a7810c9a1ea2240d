"""What a run is made of: one frozen record that holds every setting and every default, once."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field

from lowmed.methods import AnyMethod, GrpoSpec, MethodSpec, RewardSpec, SftSpec
from lowmed.recipe.bridge import BridgeSpec
from lowmed.recipe.data import CustomFamily, DataSpec, PromptSpec
from lowmed.recipe.model import LoraSpec, ModelSpec
from lowmed.schema import Positive, Section

__all__ = [
    "BridgeSpec",
    "CustomFamily",
    "DataSpec",
    "EvalSpec",
    "GrpoSpec",
    "JudgeSpec",
    "LoraSpec",
    "MethodSpec",
    "ModelSpec",
    "PromptSpec",
    "Recipe",
    "RewardSpec",
    "Section",
    "SftSpec",
]


class JudgeSpec(Section):
    """The judge that rewards and evaluation may ask; nothing is sent anywhere while `url` is open."""

    url: str | None = Field(None, description="an OpenAI-compatible endpoint; its key comes from the environment")
    model: str | None = Field(None, description="the model's name there")
    calibration: str | None = Field(None, description="file of `lowmed judge calibrate`; rewards need it")


class EvalSpec(Section):
    """How the held-out questions are answered."""

    limit: Positive | None = Field(None, description="use the first so many held-out samples, by seed")
    max_new_tokens: Positive = Field(256, description="a reply longer than this is cut")


class Recipe(Section):
    """One run: model, adapter, data, prompts, method, evaluation, seed, and where each value comes from."""

    about: str = Field(description="what the recipe is for, in one sentence")
    model: ModelSpec = Field(ModelSpec(), description="the base model and how it is loaded")
    lora: LoraSpec = Field(LoraSpec(), description="the adapter")
    data: DataSpec = Field(description="what is trained on and what is held out")
    prompts: PromptSpec = Field(PromptSpec(), description="how questions are put, in training and in evaluation")
    method: Annotated[AnyMethod, Field(discriminator="kind")] = Field(description="how it is trained")
    bridge: BridgeSpec | None = Field(None, description="for `lowmed bridge`: measure support, then SFT or RL")
    hardware: Literal["t4", "24gb", "a100-40gb", "80gb"] | None = Field(
        None, description="preset that fills what the recipe leaves open; open = the card present"
    )
    judge: JudgeSpec = Field(JudgeSpec(), description="who judges, if anybody")
    eval: EvalSpec = Field(EvalSpec(), description="how held-out questions are answered")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of split, order, wordings and sampled replies")
    provenance: dict[str, str] = Field({}, description="key -> where its value comes from")

    @property
    def digest(self) -> str:
        """Twelve hex digits of everything that can change the result."""
        settings = self.model_dump(mode="json", exclude={"about", "provenance"})
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
