"""Who is evaluated, how it is asked, and on what."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lowmed import prompt
from lowmed import run as runs
from lowmed.data.extraction import as_json_task
from lowmed.data.load import load
from lowmed.data.split import DataSplit, evaluation_only, limited, split_data
from lowmed.data.split import training_questions_only as asked_of_training
from lowmed.errors import DataError, RecipeError, RunError
from lowmed.evaluate.report import SEEN, UNSEEN
from lowmed.recipe import DataSpec, EvalSpec, ModelSpec, PromptSpec, io
from lowmed.run import Run

ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class EvalTarget:
    """A model with the prompts and the pixel policy it is asked by; `adapters` says who answers: name -> adapter.

    A model of the task `extraction` is asked everything about an image as one question, whatever the data.
    """

    model: ModelSpec
    family: prompt.Family
    eval: EvalSpec
    run: Run | None
    adapters: dict[str, Path | None]
    task: Literal["questions", "extraction"] = "questions"


def open_target(target: str | None, *, base: bool = False, served_as: str | None = None) -> EvalTarget:
    """The run, model folder, adapter folder or hub id that is meant.

    A folder with `recipe.yaml` in it, as an export has, is asked as that recipe says; the adapter of a plain PEFT
    folder sits on the base that its own config names.

    Args:
        target: run folder, model folder, hub id or `nano`; a run or None where an endpoint serves the model.
        base: also ask the untrained base of the run.
        served_as: what an endpoint calls the model; it then answers alone.

    Raises:
        RunError: the run has not finished, or the adapter does not say what its base is.
        RecipeError: a base was asked for beside a model that has none.
    """
    run = runs.open_run(target) if target and (Path(target) / "run.json").is_file() else None
    bare = Path(target) if target and not run and (Path(target) / ADAPTER_CONFIG).is_file() else None
    if base and ((run is None and bare is None) or served_as):
        raise RecipeError("a model without a run is its own base", "--base", "leave --base out")
    if run and run.record["status"] != "finished":
        verb = run.recipe.method.kind
        raise RunError(
            f"the run is {run.record['status']}, not finished", str(target), f"lowmed {verb} --resume {target}"
        )
    file = Path(target or "") / "recipe.yaml"
    plan = run.recipe if run else io.load_recipe(str(file)) if target and file.is_file() else None
    model = plan.model if plan else ModelSpec()
    adapter = run.adapter if run else bare
    adapters: dict[str, Path | None] = {"base": None} if base or not adapter else {}
    adapters |= {"tuned": adapter} if adapter else {}
    if served_as:
        model, adapters = model.model_copy(update={"name": served_as}), {"endpoint": None}
    elif bare:
        model = model.model_copy(update={"name": _base_of(bare)})
    elif not run:
        if not target:
            raise RecipeError("nothing to evaluate", "RUN_OR_MODEL", "name a run folder, a model, or `nano`")
        model = model.model_copy(update={"name": target})
    family = (plan.prompts if plan else PromptSpec()).asking
    task = plan.data.task if plan else "questions"
    return EvalTarget(model, family, plan.eval if plan else EvalSpec(), run, adapters, task)


def _base_of(adapter: Path) -> str:
    name = runs.read_json(adapter / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not name:
        raise RunError(
            "the adapter does not say what its base is", str(adapter), f"name it in {ADAPTER_CONFIG}, or name the run"
        )
    return str(name)


def splits_to_evaluate(
    who: EvalTarget, on: str | None, path: str | None, limit: int | None
) -> list[tuple[DataSplit, str]]:
    """What is asked, each with how it stands to the run's training: `seen in training`, `unseen`, or "" without a run.

    Args:
        who: the subject.
        on: sources with commas between, each perhaps as source=folder; None for what the run holds out.
        path: folder of the one source.
        limit: at most so many questions of each split.

    Raises:
        RecipeError: no source, or one folder for several.
        DataError: the run's own source, but not the data it was trained on.
    """
    if on is None and who.run is None:
        raise RecipeError(
            "no data to evaluate on", "--on", "name a source, e.g. --on phantom, or evaluate a run folder"
        )
    sources: list[tuple[str | None, str | None]] = [(None, path)]
    if on is not None:
        sources = [(name, own or path) for name, _, own in (each.partition("=") for each in on.split(","))]
    if path and len(sources) > 1:
        raise RecipeError(
            "one folder for several sources", "--path", "give each its own: --on vqa-rad=FOLDER,folder=OTHER"
        )
    found = [_division(who, name, own) for name, own in sources]
    return [(limited(division, limit or who.eval.limit), seen) for division, seen in found]


def split_to_probe(who: EvalTarget, on: str | None, path: str | None, limit: int) -> tuple[DataSplit, str]:
    """The questions that training would use, to be probed before it is paid for, and how they stand to a run.

    Raises:
        RecipeError, DataError: as `divisions`.
    """
    if who.run and on in (None, who.run.recipe.data.source):
        division, seen = _division(who, None, path)
    elif on is None:
        raise RecipeError("no data to probe on", "--on", "name a source, e.g. --on phantom, or probe a run folder")
    else:
        spec = DataSpec(source=on, allow_shared_images=True, task=who.task)
        division, seen = split_data(load(on, path), spec, 0), ""
    return asked_of_training(division, limit), seen


def _division(who: EvalTarget, on: str | None, path: str | None) -> tuple[DataSplit, str]:
    run, plan = who.run, who.run.recipe if who.run else None
    if run and plan and on in (None, plan.data.source):
        division = split_data(load(plan.data.source, path or plan.data.path), plan.data, plan.seed)
        if division.digest != run.record["data_digest"]:
            raise DataError(
                "the data are not those that the run was trained on, so that its held-out questions are not known",
                f"{plan.data.source}, digest {division.digest[:12]}",
                "point --path at the copy that was used, or evaluate on another source with --on",
            )
        return division, SEEN
    dataset = load(str(on), path)
    division = evaluation_only(as_json_task(dataset) if who.task == "extraction" else dataset)
    return division, UNSEEN if run else ""
