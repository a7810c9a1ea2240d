"""The questions of a recipe: which are trained on, and with which prompts."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from lowmed import prompt
from lowmed.control_tokens import control_token
from lowmed.recipe.dials import Dials
from lowmed.recipe.sources import SourceSpec, mistake_in_sources, unique_names
from lowmed.section import Positive, Section, Share, counterpart


class DataSpec(Section):
    """Training and held-out questions. No key can turn a test split into training data."""

    source: str | None = Field(
        None,
        description="name of a known data set, or `folder`; either this or `sources` is required",
        json_schema_extra=counterpart("GRPOTrainer: train_dataset", "SFTTrainer: train_dataset"),
    )
    path: str | None = Field(None, description="local copy of the source")
    sources: tuple[SourceSpec, ...] = Field(
        (), description="several data sets in place of `source` and `path`; without shares each counts by its size"
    )
    mixing_temperature: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="instead of shares: proportional to rows ** (1 / temperature); 1 = by size, large = equal. "
        "T5's temperature-scaled mixing",
    )
    split_by: Literal["image", "official", "auto"] = Field(
        "image",
        description="`image`: hold out a share of the training images, or use the part `held-out` of data that have "
        "one; `official`: the published split; "
        "`auto`: the published split if no image or group is in two of its parts, else by image",
    )
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="share of the questions that `image` holds out, exact within one group"
    )
    dev: Annotated[float, Field(ge=0, lt=1)] | Literal["published"] = Field(
        0.0,
        description="questions for the evaluation during training: a share, exact within one group, or `published`: "
        "the part `validation` of the source; 0 = none",
    )
    max_rejected: Share = Field(
        0.0, description="share of invalid rows that are skipped and listed; with more, loading fails"
    )
    max_train_questions: Positive | None = Field(
        None, description="train on a random subset of this size, drawn by `seed`; null = all"
    )
    difficulty: str | None = Field(
        None,
        description="pass counts from `lowmed probe`; questions that are never or always right are skipped, and so are "
        "questions without a pass count",
    )
    max_pass_rate: Share = Field(
        1.0, description="also skip questions with a higher pass rate in the probe; needs `difficulty`"
    )
    order: Literal["shuffled", "easy_to_hard"] = Field(
        "shuffled",
        description="`easy_to_hard` sorts each epoch by the pass rates of `difficulty`, equal ones in a fixed shuffle",
    )
    balance: str | None = Field(
        None,
        description="`answer`, `kind`, `modality`, `topic`, `source` or a column of the strata: each of its values is "
        "drawn equally often, within each of `sources`; a row at most 4 times as often as without; null = by rows",
    )
    pairs: str | None = Field(
        None,
        description="pairs of completions for `dpo`: a table with the columns id, chosen and rejected, e.g. of "
        "`lowmed data pairs`; questions without a pair are skipped",
        json_schema_extra=counterpart("DPOTrainer: train_dataset"),
    )
    unpaired: str | None = Field(
        None,
        description="labeled completions for `kto`: a table with the columns id, completion and label (true or false), "
        "e.g. of `lowmed data pairs --unpaired`; questions without one are skipped",
        json_schema_extra=counterpart("KTOTrainer: train_dataset"),
    )
    allow_wrong_chosen: bool = Field(
        False,
        description="allow chosen completions, and ones labeled good, that have a wrong answer by the reader's rules",
    )
    dials: Dials = Field(Dials(), description="how training samples of the source `testbed` differ from test samples")
    modality: str | None = Field(None, description="train only on questions of this modality; null = all")
    task: Literal["questions", "extraction"] = Field(
        "questions", description="`extraction` asks for everything known about an image as one JSON object"
    )
    sample_keys: bool = Field(False, description="ask for a random subset of the keys of a JSON answer in each row")
    allow_shared_images: bool = Field(
        False, description="allow an official split whose training and test images overlap; all tables report it"
    )
    allow_missing_explanations: bool = Field(
        False,
        description="allow SFT on reasoning although most questions have no explanation; it trains on the others only",
    )

    @field_validator("dev", mode="before")
    @classmethod
    def _share_or_published(cls, value: object) -> object:
        # Else pydantic reports one mistake for each type of the union.
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        if value != "published" and (number is None or not 0 <= number < 1):
            raise ValueError("should be a share from 0 to below 1, or `published`")
        return value

    @model_validator(mode="after")
    def _turn_dials_of_the_testbed(self) -> "DataSpec":
        if self.dials != Dials() and self.source != "testbed":
            raise ValueError("dials are those of source=testbed; remove them, or set source=testbed")
        return self

    @model_validator(mode="after")
    def _name_the_data_once(self) -> "DataSpec":
        if self.source and self.sources:
            raise ValueError("has both source and sources; keep source with path, or sources")
        if not self.source and not self.sources:
            raise ValueError("names no data; set source (and path), or sources for several data sets")
        if self.sources and self.path:
            raise ValueError("has a path besides sources; each entry of sources has its own path")
        if self.mixing_temperature is not None and not self.sources:
            raise ValueError("mixing_temperature mixes several data sets; list them in sources")
        if mistake := mistake_in_sources(self.sources, mixing_temperature=self.mixing_temperature):
            raise ValueError(mistake)
        return self

    @property
    def entries(self) -> tuple[SourceSpec, ...]:
        """The data sets as entries of `sources`; exactly one if the recipe has `source`."""
        return self.sources or (SourceSpec(source=str(self.source), path=self.path),)

    @property
    def names(self) -> tuple[str, ...]:
        """The unique name of each data set."""
        return unique_names(self.entries)

    @property
    def name(self) -> str:
        """One name for all the data: `source`, or the names of `sources` joined by a plus sign."""
        return "+".join(self.names)

    @property
    def key(self) -> str:
        """The recipe key that names the data, for error messages."""
        return "data.sources" if self.sources else "data.source"

    def named(self, name: str | None) -> tuple[str, ...]:
        """The names of the data sets that a name means: all for None and for `self.name`, else by name or source."""
        if name in (None, self.name):
            return self.names
        pairs = zip(self.names, self.entries, strict=True)
        return tuple(own for own, entry in pairs if name in (own, entry.source))

    @property
    def location(self) -> str:
        """Where the data are, for error messages: the path or the name of each data set."""
        return ", ".join(entry.path or name for entry, name in zip(self.entries, self.names, strict=True))

    def with_paths(self, replaced: Callable[[str], str | None]) -> "DataSpec":
        """The same data with other paths, e.g. to publish a recipe without any.

        Args:
            replaced: takes a path and returns the one to write in its place.
        """
        sources = tuple(
            entry.model_copy(update={"path": entry.path and replaced(entry.path)}) for entry in self.sources
        )
        return self.model_copy(update={"path": self.path and replaced(self.path), "sources": sources})

    @model_validator(mode="after")
    def _leave_training_questions(self) -> "DataSpec":
        if isinstance(self.dev, float) and self.held_out + self.dev >= 1:
            raise ValueError(f"held_out ({self.held_out:g}) and dev ({self.dev:g}) leave no question to train on")
        return self

    @model_validator(mode="after")
    def _balance_alone(self) -> "DataSpec":
        if self.balance is not None and self.order != "shuffled":
            raise ValueError("balance repeats and omits rows, which order=easy_to_hard does not; keep one of the two")
        derived = self.mixing_temperature is not None or any(entry.share for entry in self.sources)
        if self.balance == "source" and derived:
            raise ValueError("balance=source and shares or mixing_temperature both set the shares; keep one of them")
        return self

    @model_validator(mode="after")
    def _require_pass_counts(self) -> "DataSpec":
        if self.difficulty is None and (self.order != "shuffled" or self.max_pass_rate < 1):
            raise ValueError("order and max_pass_rate need pass counts: set data.difficulty to a file of lowmed probe")
        return self


class CustomFamily(Section):
    """A prompt family that the recipe defines."""

    wordings: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="prompt texts; {question} is replaced by the question and its options"
    )
    completion_format: prompt.CompletionFormat = Field(
        "think_answer", description="what the texts ask for: both tags, or only the answer tag"
    )

    @field_validator("wordings")
    @classmethod
    def _require_the_placeholder(cls, wordings: tuple[str, ...]) -> tuple[str, ...]:
        if any(wording.count("{question}") != 1 for wording in wordings):
            raise ValueError("each wording must contain {question} exactly once")
        if token := next(filter(None, map(control_token, wordings)), ""):
            raise ValueError(f"a wording contains {token}; the chat template writes such tokens and places the images")
        return wordings


class PromptSpec(Section):
    """Prompt families: several wordings for training, one for evaluation."""

    families: dict[str, CustomFamily] = Field({}, description="name -> a prompt family of this recipe")
    train: str = Field("diverse", description="family whose wordings training draws from")
    infer: str = Field("reasoning", description="family whose first wording evaluation and probes use")
    system: str = Field("", description="the system message of every prompt; empty = that of the chat template")
    prefill: str = Field(
        "", description="start of the assistant's turn, e.g. `<think>`; part of the prompt, and the model continues it"
    )

    @field_validator("families")
    @classmethod
    def _reject_shipped_names(cls, families: dict[str, CustomFamily]) -> dict[str, CustomFamily]:
        if taken := sorted(families.keys() & prompt.FAMILIES.keys()):
            raise ValueError(f"`{taken[0]}` is the name of a shipped family; choose another name")
        return families

    @field_validator("system")
    @classmethod
    def _require_plain_text(cls, system: str) -> str:
        if mistake := prompt.system_mistake(system):
            raise ValueError(mistake)
        return system

    @field_validator("train", "infer")
    @classmethod
    def _require_a_known_family(cls, name: str, info: ValidationInfo) -> str:
        known = [*prompt.FAMILIES, *info.data.get("families", {})]
        if name not in known:
            raise ValueError(f"there is no prompt family `{name}`; use one of {', '.join(known)}")
        return name

    @model_validator(mode="after")
    def _prefill_fits(self) -> "PromptSpec":
        for name in dict.fromkeys((self.train, self.infer)):
            self.require_prefill_for(name)
        return self

    def require_prefill_for(self, name: str) -> None:
        """Check that the prefill fits the completions that a prompt family requests.

        Raises:
            ValueError: it does not.
        """
        if mistake := prompt.prefill_mistake(self.prefill, self._family(name).completion_format):
            raise ValueError(f"prompts.prefill={self.prefill!r} does not fit the prompts `{name}`: it {mistake}")

    @property
    def training(self) -> prompt.Family:
        """The family that training draws its wordings from."""
        return self._family(self.train)

    @property
    def asking(self) -> prompt.Family:
        """The family that evaluation and probes use."""
        return self._family(self.infer)

    def inferring(self, name: str) -> "PromptSpec":
        """The same with another family for evaluation.

        Raises:
            ValueError: there is no such family, or the prefill does not fit it.
        """
        known = [*prompt.FAMILIES, *self.families]
        if name not in known:
            raise ValueError(f"there is no prompt family `{name}`; use one of {', '.join(known)}")
        self.require_prefill_for(name)
        return self.model_copy(update={"infer": name})

    def _family(self, name: str) -> prompt.Family:
        custom = self.families.get(name)
        if custom is None:
            family = prompt.family(name)
            return replace(family, prefill=self.prefill, system=self.system) if self.prefill or self.system else family
        return prompt.Family(
            name,
            custom.wordings,
            custom.completion_format,
            "the recipe's own",
            prefill=self.prefill,
            system=self.system,
        )
