"""Who is evaluated, how it is asked, and on what."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lowmed import prompt
from lowmed.data import for_recipe
from lowmed.data.extraction import as_json_task
from lowmed.data.load import load
from lowmed.data.split import DataSplit, evaluation_only, limited, split_data
from lowmed.data.split import training_questions_only as asked_of_training
from lowmed.errors import DataError, RecipeError, RunError
from lowmed.evaluate.report import SEEN, UNSEEN
from lowmed.files import read_json
from lowmed.recipe import DataSpec, EvalSpec, ModelSpec, PromptSpec
from lowmed.recipe.io import load_recipe
from lowmed.run import Run, open_run

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
    run = open_run(target) if target and (Path(target) / "run.json").is_file() else None
    bare = Path(target) if target and not run and (Path(target) / ADAPTER_CONFIG).is_file() else None
    if base and ((run is None and bare is None) or served_as):
        raise RecipeError("a model without a run is its own base", "--base", "leave --base out")
    if run and run.record["status"] != "finished":
        verb = run.recipe.method.kind
        raise RunError(
            f"the run is {run.record['status']}, not finished", str(target), f"lowmed {verb} --resume {target}"
        )
    file = Path(target or "") / "recipe.yaml"
    recipe = run.recipe if run else load_recipe(str(file)) if target and file.is_file() else None
    model = recipe.model if recipe else ModelSpec()
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
    family = (recipe.prompts if recipe else PromptSpec()).asking
    task = recipe.data.task if recipe else "questions"
    return EvalTarget(model, family, recipe.eval if recipe else EvalSpec(), run, adapters, task)


def _base_of(adapter: Path) -> str:
    name = read_json(adapter / ADAPTER_CONFIG).get("base_model_name_or_path")
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
    result = [_division(who, name, own) for name, own in sources]
    return [(limited(data_split, limit or who.eval.limit), seen) for data_split, seen in result]


def split_to_probe(who: EvalTarget, on: str | None, path: str | None, limit: int) -> tuple[DataSplit, str]:
    """The questions that training would use, to be probed before it is paid for, and how they stand to a run.

    Raises:
        RecipeError, DataError: as `divisions`.
    """
    if who.run and on in (None, who.run.recipe.data.source):
        data_split, seen = _division(who, None, path)
    elif on is None:
        raise RecipeError("no data to probe on", "--on", "name a source, e.g. --on phantom, or probe a run folder")
    else:
        spec = DataSpec(source=on, allow_shared_images=True, task=who.task)
        data_split, seen = split_data(load(on, path, max_image_tokens=who.model.max_image_tokens), spec, 0), ""
    return asked_of_training(data_split, limit), seen


def _division(who: EvalTarget, on: str | None, path: str | None) -> tuple[DataSplit, str]:
    run, recipe = who.run, who.run.recipe if who.run else None
    if run and recipe and on in (None, recipe.data.source):
        data_split = for_recipe(recipe, path=path, difficulty=False).split
        if data_split.digest != run.record["data_digest"]:
            raise DataError(
                "the data are not those that the run was trained on, so that its held-out questions are not known",
                f"{recipe.data.source}, digest {data_split.digest[:12]}",
                "point --path at the copy that was used, or evaluate on another source with --on",
            )
        return data_split, SEEN
    dataset = load(str(on), path, max_image_tokens=who.model.max_image_tokens)
    data_split = evaluation_only(as_json_task(dataset) if who.task == "extraction" else dataset)
    return data_split, UNSEEN if run else ""
