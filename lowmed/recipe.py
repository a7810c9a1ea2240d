"""What a run is made of: one frozen record that holds every setting and every default, once."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lowmed import prompt

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A part of a recipe: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Section):
    """The base model and how it is loaded."""

    name: str = Field("Qwen/Qwen2-VL-2B-Instruct", description="hub id, a local folder, or `nano`")
    revision: str | None = Field(None, description="commit, tag or branch of the hub id")
    weights: Literal["pretrained", "random"] = Field(
        "pretrained", description="`random` needs only a config folder: the true architecture, to rehearse"
    )
    backend: Literal["auto", "transformers", "unsloth"] = Field("auto", description="who loads and runs the model")
    load_in: Literal["4bit", "16bit"] = Field(
        "4bit", description="`4bit`: NF4 for the language layers; vision tower, embeddings and lm_head stay 16-bit"
    )
    max_image_tokens: Annotated[int, Field(ge=4, le=16384)] = Field(
        256, description="a token is 28 x 28 pixels; larger images are shrunk to this budget, everywhere"
    )
    rollout: Literal["transformers", "vllm"] = Field(
        "transformers", description="who samples the replies of GRPO; vllm is refused where it is known to be wrong"
    )
    learning_rate_scale: Annotated[float, Field(gt=0)] = Field(
        1.0, description="multiplies the method's learning rate: a much narrower model takes larger steps"
    )


class Lora(Section):
    """The adapter: on the language model's linear layers, so that any server can serve it."""

    rank: Positive = 8
    alpha: Positive = 16
    start: str | None = Field(None, description="run or adapter folder to go on from, e.g. GRPO after SFT")


class Data(Section):
    """Which questions are trained on. No key can name a test split as training data."""

    source: str = Field(description="a known data set, or `folder`")
    path: str | None = Field(None, description="local copy of the source")
    split_by: Literal["image", "official", "auto"] = Field(
        "image",
        description="`image`: hold out a share of the training images; `official`: as published; "
        "`auto`: as published where that split shares no image or group, else by image",
    )
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(0.2, description="share of images held out by `image`")
    max_rejected: Share = Field(
        0.0,
        description="share of rows that may be kept out, named and counted, because they or their images are broken",
    )
    train_limit: Positive | None = Field(None, description="use the first so many training samples, by seed")
    difficulty: str | None = Field(
        None, description="file of `lowmed probe`: questions that were always or never right are left out of training"
    )
    order: Literal["shuffled", "easy_to_hard"] = Field(
        "shuffled", description="`easy_to_hard` sorts by the pass counts of `difficulty`"
    )
    task: Literal["questions", "extraction"] = Field(
        "questions", description="`extraction` asks for all that is known about an image as one JSON object"
    )
    sample_keys: bool = Field(False, description="ask for a random subset of the keys of a JSON answer, drawn per row")
    allow_shared_images: bool = Field(
        False, description="let an official split train on images of its own test; every table then says so"
    )


class Prompts(Section):
    """The prompt families: several wordings to train with, one to ask with."""

    train: str = "diverse"
    infer: str = "reasoning"

    @field_validator("train", "infer")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in prompt.FAMILIES:
            raise ValueError(f"there is no prompt family `{name}`; use one of {', '.join(prompt.FAMILIES)}")
        return name


class Reward(Section):
    """One reward, its weight, and its own options beside the name."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    weight: Annotated[float, Field(ge=0)] = 1.0
    gate: bool = Field(False, description="a reply that does not earn this one in full earns nothing at all")

    @property
    def options(self) -> dict[str, Any]:
        """What the reward itself is told."""
        return dict(self.__pydantic_extra__ or {})


class Method(Section):
    """What every method of training has."""

    updates: Positive = Field(120, description="optimizer steps")
    questions_per_update: Positive = 8
    learning_rate: Rate = 2e-5
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: Share = Field(0.0, description="share of the updates over which the learning rate rises")
    max_grad_norm: Annotated[float, Field(gt=0)] = 0.5
    checkpoint_every: Positive = Field(20, description="updates between checkpoints; a killed run loses no more")
    rows_per_forward: Positive | None = Field(
        None, description="rows in one forward pass; open = derived from the card"
    )
    checkpointing: bool | None = Field(
        None, description="recompute activations in the backward pass; open = derived from the card"
    )

    @property
    def rows_per_update(self) -> int:
        """Rows that one optimizer step sees."""
        return self.questions_per_update

    @model_validator(mode="after")
    def _rows_divide(self) -> "Method":
        if self.rows_per_forward and self.rows_per_update % self.rows_per_forward:
            rows = f"the {self.rows_per_update} rows of an update"
            raise ValueError(f"rows_per_forward ({self.rows_per_forward}) does not divide {rows}")
        return self


class Sft(Method):
    """Supervised tuning on the reference replies; the loss is on the reply alone."""

    kind: Literal["sft"]
    questions_per_update: Positive = 16
    learning_rate: Rate = 1e-4
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup: Share = 0.05


class Grpo(Method):
    """Group-relative policy optimisation: sample replies to a question, reward them, compare within the group."""

    kind: Literal["grpo"]
    group_size: Annotated[int, Field(ge=2)] = Field(8, description="replies sampled per question")
    temperature: Annotated[float, Field(gt=0)] = 1.0
    max_new_tokens: Positive = Field(256, description="a reply longer than this is cut")
    loss: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = "dapo"
    scale_rewards: Literal["group", "batch", "none"] = Field("group", description="what the advantage is divided by")
    combine: Literal["sum_then_normalize", "normalize_then_sum"] = Field(
        "sum_then_normalize", description="whether rewards are summed before or after they are compared in the group"
    )
    beta: Annotated[float, Field(ge=0)] = Field(0.0, description="weight of the KL term; above 0: one more forward")
    epsilon: Annotated[float, Field(gt=0)] = Field(0.2, description="how far a probability ratio counts, downwards")
    epsilon_high: Annotated[float, Field(gt=0)] | None = Field(None, description="and upwards; open = the same")
    num_iterations: Positive = Field(1, description="optimizer steps on the same replies")
    mask_truncated: bool = Field(True, description="do not train on replies that were cut")
    drop_settled: bool = Field(True, description="leave groups whose replies all earned the same out of the forward")
    canaries_every: Positive | None = Field(
        20, description="updates between checks that known hacks earn nothing; empty = never"
    )
    rewards: Annotated[tuple[Reward, ...], Field(min_length=1)]

    @property
    def rows_per_update(self) -> int:
        """Replies that one optimizer step sees."""
        return self.group_size * self.questions_per_update

    @property
    def reward_specs(self) -> list[tuple[str, float, dict[str, Any]]]:
        """Name, weight and options of each reward, as `rewards.build` takes them."""
        return [(reward.name, reward.weight, reward.options) for reward in self.rewards]


class Boundary(Section):
    """When RL is paid for: where the model has support, else a round of SFT first, then measure again."""

    support: Share = Field(0.5, description="mean Pass@K from which on RL follows")
    samples: Annotated[int, Field(ge=2)] = Field(8, description="K: replies sampled per question")
    questions: Positive = Field(200, description="training questions that support is measured on")
    rounds: Positive = Field(3, description="rounds of SFT before it is given up")
    sft: Sft


class Judge(Section):
    """The judge that rewards and evaluation may ask; nothing is sent anywhere while `url` is open."""

    url: str | None = Field(None, description="an OpenAI-compatible endpoint; its key comes from the environment")
    model: str | None = Field(None, description="the model's name there")
    calibration: str | None = Field(None, description="file of `lowmed judge calibrate`; rewards need it")


class Eval(Section):
    """How the held-out questions are answered."""

    limit: Positive | None = Field(None, description="use the first so many held-out samples, by seed")
    max_new_tokens: Positive = 256


class Recipe(Section):
    """One run: model, adapter, data, prompts, method, evaluation, seed, and where each value comes from."""

    about: str
    model: Model = Model()
    lora: Lora = Lora()
    data: Data
    prompts: Prompts = Prompts()
    method: Annotated[Sft | Grpo, Field(discriminator="kind")]
    boundary: Boundary | None = Field(None, description="for `lowmed bridge`: measure support, then SFT or RL")
    hardware: Literal["t4", "24gb", "a100-40gb", "80gb"] | None = Field(
        None, description="preset that fills what the recipe leaves open; open = the card present"
    )
    judge: Judge = Judge()
    eval: Eval = Eval()
    seed: Annotated[int, Field(ge=0)] = 0
    provenance: dict[str, str] = Field({}, description="key -> where its value comes from")

    @property
    def digest(self) -> str:
        """Twelve hex digits of everything that can change the result."""
        settings = self.model_dump(mode="json", exclude={"about", "provenance"})
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
