"""The questions of a recipe: which are trained on, and how they are put."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from lowmed import prompt
from lowmed.schema import Positive, Section, Share


class DataSpec(Section):
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
    max_train_questions: Positive | None = Field(None, description="use the first so many training samples, by seed")
    difficulty: str | None = Field(
        None, description="file of `lowmed probe`: questions that were always or never right are left out of training"
    )
    max_pass_rate: Share = Field(
        1.0, description="leave out too what was right in a larger share of the probe's replies; needs `difficulty`"
    )
    order: Literal["shuffled", "easy_to_hard"] = Field(
        "shuffled", description="`easy_to_hard` sorts each pass by the pass counts of `difficulty`"
    )
    modality: str | None = Field(None, description="train on questions of this modality alone; open = all")
    task: Literal["questions", "extraction"] = Field(
        "questions", description="`extraction` asks for all that is known about an image as one JSON object"
    )
    sample_keys: bool = Field(False, description="ask for a random subset of the keys of a JSON answer, drawn per row")
    allow_shared_images: bool = Field(
        False, description="let an official split train on images of its own test; every table then says so"
    )

    @model_validator(mode="after")
    def _probed(self) -> "DataSpec":
        if self.difficulty is None and (self.order != "shuffled" or self.max_pass_rate < 1):
            raise ValueError("order and max_pass_rate go by pass counts: set data.difficulty to a file of lowmed probe")
        return self


class CustomFamily(Section):
    """A prompt family of the recipe's own, beside those that ship."""

    wordings: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="texts in which {question} stands for the question and its options"
    )
    completion_format: prompt.CompletionFormat = Field(
        "think_answer", description="the form they ask for: both tags, or the answer tag alone"
    )

    @field_validator("wordings")
    @classmethod
    def _ask(cls, wordings: tuple[str, ...]) -> tuple[str, ...]:
        if any(wording.count("{question}") != 1 for wording in wordings):
            raise ValueError("each wording must hold {question} once")
        return wordings


class PromptSpec(Section):
    """The prompt families: several wordings to train with, one to ask with."""

    families: dict[str, CustomFamily] = Field({}, description="name -> a family of your own")
    train: str = Field("diverse", description="the family whose wordings training draws from")
    infer: str = Field("reasoning", description="the family whose first wording evaluation and probes ask with")

    @field_validator("families")
    @classmethod
    def _new(cls, families: dict[str, CustomFamily]) -> dict[str, CustomFamily]:
        if taken := sorted(families.keys() & prompt.FAMILIES.keys()):
            raise ValueError(f"`{taken[0]}` is a family that ships; choose another name")
        return families

    @field_validator("train", "infer")
    @classmethod
    def _known(cls, name: str, info: ValidationInfo) -> str:
        known = [*prompt.FAMILIES, *info.data.get("families", {})]
        if name not in known:
            raise ValueError(f"there is no prompt family `{name}`; use one of {', '.join(known)}")
        return name

    @property
    def training(self) -> prompt.Family:
        """The family that training draws its wordings from."""
        return self._family(self.train)

    @property
    def asking(self) -> prompt.Family:
        """The family that evaluation and probes ask with."""
        return self._family(self.infer)

    def _family(self, name: str) -> prompt.Family:
        own = self.families.get(name)
        return (
            prompt.Family(name, own.wordings, own.completion_format, "the recipe's own") if own else prompt.family(name)
        )
