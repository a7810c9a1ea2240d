"""The jobs of a study: one training run an arm and seed, in the order in which they can be run."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from lowmed.errors import RecipeError
from lowmed.recipe import Recipe
from lowmed.recipe.io import load_recipe
from lowmed.study.spec import ArmSpec, StudySpec


@dataclass(frozen=True)
class Job:
    """One arm with one seed.

    Attributes:
        arm: name of the arm.
        seed: the seed.
        spec: the arm.
        recipe: the resolved recipe; without the adapter to start from if `start` provides it.
        start: the job whose adapter this one starts from.
        nano: whether model and data are the embedded ones.
    """

    arm: str
    seed: int
    spec: ArmSpec
    recipe: Recipe
    start: "Job | None"
    nano: bool

    @property
    def name(self) -> str:
        """The name of its run directory and of its record."""
        return f"{self.arm}-seed{self.seed}"

    @property
    def overrides(self) -> tuple[str, ...]:
        """All overrides of the recipe but the adapter to start from."""
        return _overrides(self.spec, self.seed)

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits over everything that can change the run: its recipe with the seed, and its start."""
        inputs = [self.recipe.digest, self.start.digest if self.start else None]
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:12]


def study_jobs(spec: StudySpec) -> list[Job]:
    """All jobs, each after the one that it starts from; the first seed of every arm comes before the second.

    Raises:
        RecipeError: the recipe of an arm, or one of its overrides, is invalid; or an arm cannot start from another.
    """
    jobs: dict[tuple[str, int], Job] = {}

    def add(name: str, seed: int) -> Job:
        if (name, seed) not in jobs:
            arm = spec.arms[name]
            start = add(arm.start, seed) if arm.start else None
            job = Job(name, seed, arm, _recipe(name, arm, seed, spec), start, spec.nano)
            _require_fitting_start(job)
            jobs[name, seed] = job
        return jobs[name, seed]

    for seed in spec.seeds:
        for name in spec.arms:
            add(name, seed)
    return list(jobs.values())


def dependents(jobs: list[Job], failed: Job) -> Iterator[Job]:
    """The jobs that start from a job, directly or not."""
    for job in jobs:
        above = job.start
        while above is not None:
            if above == failed:
                yield job
                break
            above = above.start


def _overrides(arm: ArmSpec, seed: int) -> tuple[str, ...]:
    source, equals, folder = (arm.data or "").partition("=")
    data = [f"data.source={source}", *([f"data.path={folder}"] if equals else [])] if arm.data else []
    return (*data, *arm.set, f"seed={seed}")


def _recipe(name: str, arm: ArmSpec, seed: int, spec: StudySpec) -> Recipe:
    try:
        recipe = load_recipe(arm.recipe, _overrides(arm, seed), nano=spec.nano)
        for family in spec.eval.prompts:
            recipe.prompts.inferring(family)
    except ValueError as error:
        raise RecipeError(f"arms.{name}: {error}", "eval.prompts", "use families that every recipe has") from error
    except RecipeError as error:
        raise RecipeError(f"arms.{name}: {error.what}", error.where, error.fix) from error
    if arm.start and recipe.lora.start:
        raise RecipeError(
            f"arms.{name}: its recipe already starts from an adapter", f"lora.start={recipe.lora.start}",
            "remove `start` of the arm, or lora.start of the recipe",
        )  # fmt: skip
    return recipe


def _require_fitting_start(job: Job) -> None:
    """Refuse what training would refuse once the first adapter exists."""
    if job.start is None:
        return
    one, other = job.start.recipe, job.recipe
    for key, first, second in (
        ("model.name", one.model.name, other.model.name),
        ("model.revision", one.model.revision, other.model.revision),
        ("lora.rank", one.lora.rank, other.lora.rank),
    ):
        if first != second:
            raise RecipeError(
                f"arms.{job.arm}: it cannot start from the adapter of {job.start.arm}, which has another {key}",
                f"{key} of {job.start.arm} is {first}, of {job.arm} {second}",
                "use one base model and rank for both",
            )
