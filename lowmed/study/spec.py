"""The schema of a study file: arms, seeds, what to evaluate, and which arms to compare."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from lowmed.section import Positive, Section

BASE = "base:"  # before the name of an arm: the untrained base model of its runs
OWN = "own"  # stands for the prompt family of each run's own recipe
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,79}")


class ArmSpec(Section):
    """One way to train: a recipe with overrides. The recipe decides the method."""

    recipe: str = Field(description="name of a shipped recipe, or path of a YAML file")
    set: tuple[str, ...] = Field((), description="overrides of recipe keys, each as key=value")
    start: str | None = Field(None, description="another arm, whose adapter of the same seed this arm starts from")
    data: str | None = Field(None, description="data set in place of the recipe's: NAME, or NAME=FOLDER")

    @field_validator("set")
    @classmethod
    def _leave_the_seed_to_the_study(cls, overrides: tuple[str, ...]) -> tuple[str, ...]:
        if any(override.partition("=")[0].strip() == "seed" for override in overrides):
            raise ValueError("sets seed; list all seeds under `seeds` of the study")
        return overrides

    @model_validator(mode="after")
    def _start_once(self) -> "ArmSpec":
        if self.start and any(override.partition("=")[0].strip() == "lora.start" for override in self.set):
            raise ValueError("has both start and an override of lora.start; keep one of them")
        return self


class StudyEvalSpec(Section):
    """Which questions every run answers, and with which prompts."""

    prompts: tuple[str, ...] = Field(
        (), description="prompt families at inference; empty = `prompts.infer` of each run's recipe"
    )
    sources: tuple[str, ...] = Field(
        (), description="data sources, each NAME or NAME=FOLDER; empty = the held-out questions of each run"
    )
    splits: tuple[str, ...] = Field((), description="splits in the table; empty = all that were evaluated")
    max_questions: Positive | None = Field(
        None, description="at most the first questions of each split; null = `eval.max_questions` of the recipe"
    )
    base: tuple[str, ...] = Field((), description="arms whose untrained base model is evaluated and shown too")
    grade: Literal["lenient", "strict"] = Field(
        "lenient", description="`strict` counts only an answer in exactly one tag, as the rewards do"
    )

    @field_validator("prompts", "sources", "splits", "base")
    @classmethod
    def _name_each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        # Two folders of one source would have one name in the table.
        bare = [name.partition("=")[0] for name in names]
        if repeated := sorted({name for name in bare if bare.count(name) > 1}):
            raise ValueError(f"names `{repeated[0]}` twice")
        if any(not name for name in bare):
            raise ValueError("has an empty name")
        return names


class ComparisonSpec(Section):
    """Two arms on the same questions: second minus first."""

    label: str = Field("", description="text in the table; empty = `second - first`")
    first: str = Field(description="an arm, or base:ARM for the untrained base model of its runs")
    second: str = Field(description="the same; the difference is second minus first")
    prompts: tuple[str, ...] = Field((), description="families of eval.prompts to compare under; empty = all")
    first_prompts: str | None = Field(
        None, description="family of `first` where it is not that of `second`: compares prompts, also of one arm"
    )


class StudySpec(Section):
    """A study: every arm is trained with every seed and evaluated in the same way."""

    about: str = Field(description="what the study is for, in one sentence")
    nano: bool = Field(
        False, description="model and data of all arms are the embedded ones; LOWMED_NANO has no effect on a study"
    )
    arms: Annotated[dict[str, ArmSpec], Field(min_length=1)] = Field(description="name -> a way to train")
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = Field(
        description="every arm is trained once with each seed"
    )
    eval: StudyEvalSpec = Field(StudyEvalSpec(), description="what is evaluated")
    compare: tuple[ComparisonSpec, ...] = Field((), description="the comparisons; Holm corrects over all of them")
    processes: Positive = Field(1, description="GPUs that share each training and evaluation, as `--processes`")
    slurm: dict[str, Any] = Field(
        {}, description="parameters of submitit for `--submit slurm`, e.g. slurm_partition, timeout_min, mem_gb"
    )
    skypilot: dict[str, Any] = Field({}, description="keys of each task of `--submit skypilot`, e.g. resources, setup")

    @field_validator("seeds")
    @classmethod
    def _name_each_seed_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if repeated := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            raise ValueError(f"names the seed {repeated[0]} twice; equal runs would count as several")
        return seeds

    @field_validator("arms")
    @classmethod
    def _require_names_of_folders(cls, arms: dict[str, ArmSpec]) -> dict[str, ArmSpec]:
        if wrong := next((name for name in arms if not _NAME.fullmatch(name)), None):
            raise ValueError(f"`{wrong[:80]}` cannot name a folder; use letters, digits, and - _ . + inside")
        folded = [name.lower() for name in arms]
        if repeated := next((name for name in folded if folded.count(name) > 1), None):
            raise ValueError(f"two names differ from `{repeated}` by case only, which some disks do not keep apart")
        return arms

    @model_validator(mode="after")
    def _know_every_arm(self) -> "StudySpec":
        for name, arm in self.arms.items():
            if arm.start is not None:
                self._require(arm.start, f"arms.{name}.start")
        for name in self.eval.base:
            self._require(name, "eval.base")
        for number, comparison in enumerate(self.compare):
            self._check(comparison, f"compare.{number}")
        return self

    @model_validator(mode="after")
    def _start_without_a_cycle(self) -> "StudySpec":
        for name in self.arms:
            chain = [name]
            while (start := self.arms[chain[-1]].start if chain[-1] in self.arms else None) is not None:
                if start in chain:
                    raise ValueError(f"the starts of the arms form a cycle: {' <- '.join([*chain, start])}")
                chain.append(start)
        return self

    @model_validator(mode="after")
    def _name_each_comparison_once(self) -> "StudySpec":
        labels = [labelled(comparison) for comparison in self.compare]
        if repeated := next((label for label in labels if labels.count(label) > 1), None):
            raise ValueError(f"two comparisons have the label `{repeated}`")
        return self

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompt families of the evaluation; `own` if each run uses its own."""
        return self.eval.prompts or (OWN,)

    def _check(self, comparison: ComparisonSpec, key: str) -> None:
        for side in ("first", "second"):
            name = getattr(comparison, side)
            self._require(name.removeprefix(BASE), f"{key}.{side}")
            if name.startswith(BASE) and name.removeprefix(BASE) not in self.eval.base:
                raise ValueError(
                    f"{key}.{side}: add {name.removeprefix(BASE)} to eval.base, to evaluate its base model"
                )
        families = [*comparison.prompts, *([comparison.first_prompts] if comparison.first_prompts else [])]
        if unknown := next((name for name in families if name not in self.prompts), None):
            raise ValueError(f"{key}: `{unknown}` is not in eval.prompts ({', '.join(self.prompts)})")
        same = comparison.first == comparison.second
        if same and comparison.first_prompts in (None, *(comparison.prompts or self.prompts)):
            raise ValueError(f"{key} compares `{comparison.first}` with itself under the same prompts")

    def _require(self, name: str, key: str) -> None:
        if name not in self.arms:
            raise ValueError(f"{key}: there is no arm `{name}`; use one of {', '.join(self.arms)}")


def labelled(comparison: ComparisonSpec) -> str:
    """The text of a comparison in tables."""
    return comparison.label or f"{comparison.second} - {comparison.first}"
