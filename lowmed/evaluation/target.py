"""The target of an evaluation: its models, its prompts and its data."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lowmed import prompt
from lowmed.adapter.config import CONFIG_FILE as ADAPTER_CONFIG
from lowmed.adapter.config import read_config
from lowmed.data import for_recipe
from lowmed.data.box_grid import with_box_grid
from lowmed.data.dataset import DataSet
from lowmed.data.extraction import as_json_task
from lowmed.data.load import load
from lowmed.data.of_sources import of_sources
from lowmed.data.run_identity import data_changes, warn_of_earlier_data
from lowmed.data.split import (
    DataSplit,
    evaluation_only,
    limited,
    split_data,
    training_questions_only,
)
from lowmed.data.validate import check_rejected
from lowmed.errors import DataError, RecipeError, RunError
from lowmed.evaluation.report import SEEN, UNSEEN
from lowmed.progress import Progress
from lowmed.recipe import DataSpec, EvalSpec, ModelSpec, PromptSpec
from lowmed.recipe.io import load_recipe
from lowmed.run import FOLDER, RECORD, Run, is_missing_path, open_run

MAX_REJECTED = 0.05  # of the rows of other data; `lowmed data prepare` accepts the same share


@dataclass(frozen=True)
class EvalTarget:
    """A model with its prompts and pixel policy; `adapters` maps each system (base, tuned, endpoint) to its adapter.

    A model of the task `extraction` gets one question per image, for any data.
    """

    model: ModelSpec
    family: prompt.Family
    eval: EvalSpec
    run: Run | None
    adapters: dict[str, Path | None]
    task: Literal["questions", "extraction"] = "questions"


def open_target(
    target: str | None, *, base: bool = False, served_as: str | None = None, prompts: str | None = None
) -> EvalTarget:
    """Open a run, a model directory, an adapter directory or a hub id.

    A directory with `recipe.yaml`, such as an export, brings its prompts and settings. The adapter in a plain PEFT
    directory is loaded on the base model that its config names.

    Args:
        target: run directory, model directory, hub id or `nano`; with an endpoint a run or None.
        base: also evaluate the untrained base model of the run.
        served_as: the endpoint's name for its model, which is then the only system.
        prompts: a prompt family in place of the recipe's `prompts.infer`.

    Raises:
        RunError: the path does not exist or holds no model, the run has not finished, or the adapter names no base.
        RecipeError: `base` was set for a model without an adapter, or the prompt family does not exist or fit.
    """
    if target:
        require_model(target)
    run = open_run(target) if target and (Path(target) / "run.json").is_file() else None
    bare_adapter = Path(target) if target and not run and (Path(target) / ADAPTER_CONFIG).is_file() else None
    if base and ((run is None and bare_adapter is None) or served_as):
        raise RecipeError("a model without a run is its own base", "--with-base", "remove --with-base")
    if run and run.record.status != "finished":
        verb = run.recipe.method.kind
        raise RunError(f"the run is {run.record.status}, not finished", str(target), f"lowmed {verb} --resume {target}")
    file = Path(target or "") / "recipe.yaml"
    recipe = run.recipe if run else load_recipe(str(file)) if target and file.is_file() else None
    model = recipe.model if recipe else ModelSpec()
    adapter = run.adapter if run else bare_adapter
    adapters: dict[str, Path | None] = {"base": None} if base or not adapter else {}
    adapters |= {"tuned": adapter} if adapter else {}
    if served_as:
        model, adapters = model.model_copy(update={"name": served_as}), {"endpoint": None}
    elif bare_adapter:
        model = model.model_copy(update={"name": _base_of(bare_adapter)})
    elif not run:
        if not target:
            raise RecipeError("nothing to evaluate", "RUN_OR_MODEL", "name a run directory, a model, or `nano`")
        model = model.model_copy(update={"name": target})
    family = _asking(recipe.prompts if recipe else PromptSpec(), prompts)
    task = recipe.data.task if recipe else "questions"
    return EvalTarget(model, family, recipe.eval if recipe else EvalSpec(), run, adapters, task)


def _asking(prompts: PromptSpec, name: str | None) -> prompt.Family:
    if name is None:
        return prompts.asking
    try:
        return prompts.inferring(name).asking
    except ValueError as error:
        raise RecipeError(str(error), "--prompts", "`lowmed recipes show` lists the families of a recipe") from None


def require_endpoint_with_model(endpoint: str | None, model: str | None) -> None:
    """Refuse a server without the name of its model, and the reverse.

    Raises:
        RecipeError: only one of them is set.
    """
    if (endpoint is None) != (model is None):
        raise RecipeError("--endpoint and --model must be used together", "--endpoint, --model", "set both or neither")


def require_model(target: str) -> None:
    """Refuse a path without a run, an export, a model or an adapter, before anything is downloaded.

    Raises:
        RunError: it does not exist, or is something else.
    """
    if is_missing_path(target):
        raise RunError(
            "the run does not exist", target, f"name a run directory (ls {FOLDER}), a model folder, a hub id, or nano"
        )
    path = Path(target).expanduser()
    contents = (RECORD, "recipe.yaml", "config.json", ADAPTER_CONFIG)
    if target != "nano" and path.exists() and not any((path / name).is_file() for name in contents):
        raise RunError("this is not a run or a model", target, f"name a folder with one of {', '.join(contents)}")


def _base_of(adapter: Path) -> str:
    name = read_config(adapter).base
    if not name:
        raise RunError(
            "the adapter does not name its base model",
            str(adapter),
            f"set base_model_name_or_path in {ADAPTER_CONFIG}, or name the run",
        )
    return name


def splits_to_evaluate(
    target: EvalTarget,
    on: str | None,
    path: str | None,
    limit: int | None,
    progress: Progress | None = None,
    allow_changed_data: bool = False,
) -> list[tuple[DataSplit, str]]:
    """The data to evaluate on, each with its relation to the run's training: `seen in training`, `unseen`, or "".

    Args:
        target: the run or model.
        on: comma-separated sources, each as NAME or NAME=FOLDER; None for the run's held-out data.
        path: folder of the one source.
        limit: most questions of each held-out part.
        progress: shows the import of a source that is not cached yet.
        allow_changed_data: accept data of the run that have changed; the split then has a warning.

    Raises:
        RecipeError: no source is named, or one folder for several sources.
        DataError: the run's own source, but not the data that it was trained on; or more than 5 % of the rows of other
            data cannot be used.
    """
    if on is None and target.run is None:
        raise RecipeError(
            "no data to evaluate on", "--on", "name a source, e.g. --on phantom, or evaluate a run directory"
        )
    sources: list[tuple[str | None, str | None]] = [(None, path)]
    if on is not None:
        sources = [(name, folder or path) for name, _, folder in (source.partition("=") for source in on.split(","))]
    if path and len(sources) > 1:
        raise RecipeError(
            "one folder for several sources", "--path", "name a folder for each: --on vqa-rad=FOLDER,folder=OTHER"
        )
    splits = [_load_split(target, name, folder, progress, allow_changed_data) for name, folder in sources]
    return [(limited(data_split, limit or target.eval.max_questions), seen) for data_split, seen in splits]


def split_to_probe(
    target: EvalTarget, on: str | None, path: str | None, limit: int, progress: Progress | None = None
) -> tuple[DataSplit, str]:
    """The first training questions, which a probe samples before training, and their relation to the run's training.

    Args:
        target: the run or model.
        on: the source; None for the run's data.
        path: its folder.
        limit: most questions.
        progress: shows the import of a source that is not cached yet.

    Raises:
        RecipeError, DataError: as `splits_to_evaluate`.
    """
    if target.run and (own := target.run.recipe.data.named(on)):
        data_split, seen = _load_split(target, on, path, progress)
        if len(own) < len(target.run.recipe.data.names):
            train = tuple(sample for sample in data_split.train if sample.source in own)
            data_split = replace(data_split, train=train)
    elif on is None:
        raise RecipeError("no data to probe on", "--on", "name a source, e.g. --on phantom, or probe a run directory")
    else:
        spec = DataSpec(source=on, allow_shared_images=True, task=target.task, max_rejected=MAX_REJECTED)
        data_split, seen = split_data(_load(target, on, path, progress), spec, 0), ""
    return training_questions_only(data_split, limit), seen


def _load_split(
    target: EvalTarget,
    on: str | None,
    path: str | None,
    progress: Progress | None,
    allow_changed_data: bool = False,
) -> tuple[DataSplit, str]:
    run = target.run
    if run and (own := run.recipe.data.named(on)):
        if on is not None and path and run.recipe.data.sources and "=" not in path:
            path = ",".join(f"{name}={path}" for name in own)
        data_split = for_recipe(run.recipe, path=path, filtered=False, progress=progress).split
        changes = data_changes(run.folder, data_split)
        if changes and not allow_changed_data:
            raise DataError(
                "these are not the data that the run was trained on, so its held-out questions are unknown",
                "\n".join([path or run.recipe.data.location, *changes]),
                "name the copy that was used with --path, evaluate on another source with --on, or accept the change: "
                "lowmed eval --allow-changed-data",
            )
        data_split = warn_of_earlier_data(run.folder, data_split, changed=bool(changes))
        return data_split if own == run.recipe.data.names else of_sources(data_split, own), SEEN
    dataset = _load(target, str(on), path, progress)
    data_split = evaluation_only(as_json_task(dataset) if target.task == "extraction" else dataset)
    return data_split, UNSEEN if run else ""


def _load(target: EvalTarget, source: str, path: str | None, progress: Progress | None) -> DataSet:
    dataset = load(source, path, max_image_tokens=target.model.max_image_tokens, progress=progress)
    copy = "evaluate a copy without them (`lowmed data prepare --max-rejected {share:g}`, then --on folder --path DIR)"
    check_rejected(dataset, MAX_REJECTED, copy)
    return with_box_grid(dataset, target.run.recipe.model if target.run else target.model)
