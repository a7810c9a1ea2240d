"""The schema of a recipe: every setting of a run and its default, defined once."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lowmed import prompt
from lowmed.methods import AnyMethod, SftSpec
from lowmed.recipe.data import DataSpec, PromptSpec
from lowmed.recipe.dials import Dials
from lowmed.recipe.model import LoraSpec, ModelSpec
from lowmed.recipe.track import TrackSpec
from lowmed.section import Positive, Section, Share, counterpart

STEPS, DERIVED = "method.max_steps", "method.epochs"


class BridgeSpec(Section):
    """Settings of `lowmed bridge`: RL if the probe shows support, otherwise a round of SFT and another probe."""

    support: Share = Field(
        0.25, description="RL follows where a larger share of questions is answered above chance and blind guessing"
    )
    samples: Annotated[int, Field(ge=2, le=64)] = Field(16, description="K: completions sampled per question")
    questions: Positive = Field(200, description="number of training questions in a probe")
    rounds: Positive = Field(3, description="maximum number of SFT rounds")
    sft: SftSpec = Field(description="settings of one round of SFT")
    sft_prompts: str | None = Field(
        None, description="prompt family of the SFT rounds; null = prompts.train, which may need explanations"
    )


class JudgeSpec(Section):
    """The judge model for rewards and evaluation. Without `url`, no text leaves the machine."""

    url: str | None = Field(None, description="an OpenAI-compatible endpoint; the API key comes from the environment")
    model: str | None = Field(None, description="name of the model at the endpoint")
    calibration: str | None = Field(
        None, description="file written by `lowmed judge calibrate`; required by rewards that use the judge"
    )


class EvalSpec(Section):
    """How completions to held-out questions are generated."""

    max_questions: Positive | None = Field(
        None, description="evaluate only the first questions of each held-out part, at most this many; null = all"
    )
    max_new_tokens: Positive = Field(
        256,
        description="longer completions are truncated",
        json_schema_extra=counterpart("GenerationConfig: max_new_tokens"),
    )


class DevSpec(Section):
    """Evaluation during training, on the questions that `data.dev` reserves for it."""

    eval_steps: Positive = Field(
        20,
        description="steps between evaluations; the last step is always evaluated",
        json_schema_extra=counterpart("TrainingArguments: eval_steps"),
    )
    questions: Positive = Field(
        64, description="evaluate on a fixed random subset of this size, at most all dev questions"
    )
    keep: Literal["best", "last"] = Field(
        "best",
        description="the adapter of the run: that of the evaluation with the highest accuracy, or of the last step",
        json_schema_extra=counterpart("TrainingArguments: load_best_model_at_end"),
    )
    patience: Positive | None = Field(
        None,
        description="stop after this many evaluations in a row without a higher accuracy; null = never",
        json_schema_extra=counterpart("EarlyStoppingCallback: early_stopping_patience"),
    )

    def is_due(self, step: int, max_steps: int) -> bool:
        """Whether a step is followed by an evaluation. Step 0 is the model before training."""
        return step % self.eval_steps == 0 or step == max_steps

    def evaluations(self, max_steps: int) -> int:
        """The number of evaluations of a whole run."""
        return sum(self.is_due(step, max_steps) for step in range(max_steps + 1))


class Recipe(Section):
    """All settings of one run, and the source of each value."""

    about: str = Field(description="what the recipe is for, in one sentence")
    model: ModelSpec = Field(ModelSpec(), description="the base model and how it is loaded")
    lora: LoraSpec = Field(LoraSpec(), description="the adapter")
    data: DataSpec = Field(description="training questions and held-out questions")
    prompts: PromptSpec = Field(PromptSpec(), description="prompts in training and in evaluation")
    method: Annotated[AnyMethod, Field(discriminator="kind")] = Field(description="the training method")
    bridge: BridgeSpec | None = Field(None, description="settings of `lowmed bridge`: probe, then SFT or RL")
    hardware: Literal["t4", "24gb", "a100-40gb", "80gb"] | None = Field(
        None, description="GPU for which open batch settings are derived; null = the GPU present"
    )
    judge: JudgeSpec = Field(JudgeSpec(), description="the judge model, if any")
    dev: DevSpec = Field(DevSpec(), description="evaluation during training; needs `data.dev`")
    eval: EvalSpec = Field(EvalSpec(), description="evaluation on held-out questions")
    track: TrackSpec = Field(TrackSpec(), description="an experiment tracker, if any; no part of the digest")
    seed: Annotated[int, Field(ge=0)] = Field(
        0,
        description="seed of the split, the order of questions, the prompts' wordings and sampling",
        json_schema_extra=counterpart("TrainingArguments: seed"),
    )
    provenance: dict[str, str] = Field({}, description="recipe key -> source of its value")

    @model_validator(mode="after")
    def _steps_or_epochs(self) -> "Recipe":
        methods = {"method": self.method} | ({"bridge.sft": self.bridge.sft} if self.bridge else {})
        for key, method in methods.items():
            both = method.epochs is not None and "max_steps" in method.model_fields_set
            if both and not (key == "method" and self.steps_are_known):
                raise ValueError(f"{key} has both max_steps and epochs; keep one of them")
        return self

    @property
    def steps_are_known(self) -> bool:
        """Whether `method.max_steps` was set, or derived from `method.epochs`, which its provenance then states."""
        return self.method.epochs is None or self.provenance.get(STEPS, "").startswith(DERIVED)

    def with_steps_for(self, drawn: int) -> "Recipe":
        """The recipe with `max_steps` derived from `epochs`; unchanged without `epochs`.

        Args:
            drawn: what an epoch draws: the number of training questions, or of their labeled completions.
        """
        if self.method.epochs is None:
            return self
        method = self.method.model_copy(update={"max_steps": self.method.steps_for(drawn)})
        source = f"{DERIVED}={method.epochs:g} passes over {drawn:,} {method.drawn_unit}"
        return self.model_copy(update={"method": method, "provenance": self.provenance | {STEPS: source}})

    @model_validator(mode="after")
    def _dev_questions_exist(self) -> "Recipe":
        if self.data.dev == 0 and self.dev != DevSpec():
            raise ValueError("dev: no questions are reserved for it; set data.dev, e.g. data.dev=0.1")
        return self

    @model_validator(mode="after")
    def _bridge_prompts_exist(self) -> "Recipe":
        name = self.bridge.sft_prompts if self.bridge else None
        known = [*prompt.FAMILIES, *self.prompts.families]
        if name is not None and name not in known:
            raise ValueError(f"bridge.sft_prompts: there is no prompt family `{name}`; use one of {', '.join(known)}")
        if name is not None:
            self.prompts.require_prefill_for(name)
        return self

    @model_validator(mode="after")
    def _completions_fit_the_method(self) -> "Recipe":
        kind, trained = self.method.kind, self.method.preferences
        if self.data.pairs is not None and trained != "pairs":
            raise ValueError(f"data.pairs: the method {kind} trains on no pairs; use dpo, or remove it")
        if self.data.unpaired is not None and trained != "unpaired":
            raise ValueError(
                f"data.unpaired: the method {kind} trains on no labeled completions; use kto, or remove it"
            )
        if trained and self.data.sample_keys:
            what = "pairs" if trained == "pairs" else "labeled completions"
            raise ValueError(f"data.sample_keys changes the question of each row, and the {what} answer the stored one")
        return self

    @property
    def digest(self) -> str:
        """The first twelve hex digits of a SHA-256 over everything that can change the result."""
        settings = self.model_dump(mode="json", exclude={"about", "provenance", "track"})
        if self.method.epochs is not None:
            del settings["method"]["max_steps"]  # it follows from the data
        if self.data.dials == Dials():
            del settings["data"]["dials"]  # runs from before this key keep their digest
        if self.model.shard == "none":
            del settings["model"]["shard"]  # runs from before this key keep their digest
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
