"""`verify`: check an adapter, and optionally a merged model against it."""

from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from lowmed.ship.records import VerifyReport

if TYPE_CHECKING:
    from lowmed.evaluation.target import EvalTarget
    from lowmed.run import Run
    from lowmed.ship.records import Check


def verify(
    run: str | PathLike[str],
    *,
    against: str | PathLike[str] | None = None,
    questions: int = 16,
    on: str | None = None,
    path: str | None = None,
    base: str | None = None,
) -> VerifyReport:
    """Check an adapter: keys, values, effect on the base, PEFT without lowmed, and a merged model.

    Args:
        run: directory of a finished run, or a folder with adapter_config.json.
        against: a merged folder that should give the same answers, or None.
        questions: how many questions are answered.
        on: source of the questions. None is the run's held-out split; for an adapter folder, the embedded phantom.
        path: folder of that source.
        base: folder of the base, if it is not where the recipe or the adapter says.

    Raises:
        LowmedError: the run, the adapter, the base or the merged folder is missing or damaged.
    """
    from lowmed.adapter.intake import read_adapter
    from lowmed.engine import device

    target = _open_target(fspath(run), base)
    merged = _existing(against)
    adapter = read_adapter(fspath(run))  # an error comes before torch is imported
    device.silence_libraries()  # before transformers is imported
    from lowmed.ship.adapter import target_tensors
    from lowmed.ship.base_model import base_family, base_tensors, check_revision, find_base
    from lowmed.ship.layer_checks import check_merged_layers
    from lowmed.ship.merge import MergeInputs, retained_in_folder
    from lowmed.ship.merge_job import load_questions
    from lowmed.ship.verify import check_adapter, check_files, measure_parity, parity_check, retained_check

    folder = find_base(target.model)
    if target.run:
        check_revision(folder, target.run.record.base_commit)
    tensors = base_tensors(folder)
    adapter = adapter.named_for(base_family(folder))
    checks = check_files(adapter, folder, tensors)
    if not all(check.passed for check in checks):
        return VerifyReport(tuple(checks), measured=False)
    if target.run:
        checks += reward_checks(target.run)
    question_set = load_questions(target, on or (None if target.run else "phantom"), path, questions)
    if merged:
        inputs = MergeInputs(folder, tensors, adapter, target_tensors(adapter, tensors), "original")
        checks.append(retained_check(retained_in_folder(inputs, merged), "merged"))
        checks.append(check_merged_layers(inputs, merged))
    adapter_checks, outputs = check_adapter(target.model, folder, adapter.folder, question_set)
    checks += adapter_checks
    parity = None
    if merged:
        [parity] = measure_parity(target.model, merged, question_set, outputs)
        checks.append(parity_check(parity))
    return VerifyReport(tuple(checks), measured=True, parity=parity)


def reward_checks(run: "Run") -> "list[Check]":
    """Whether the code of custom rewards is that of the run. Files that are not on this machine are not compared."""
    from lowmed.rewards import code_changes
    from lowmed.rewards.custom import file_of, is_custom
    from lowmed.ship.records import REWARD_CODE, Check

    names = [spec.name for spec in run.recipe.method.reward_specs if is_custom(spec.name)]
    if not run.record.reward_code or not any(file_of(name).expanduser().is_file() for name in names):
        return []
    changes = code_changes(run.record.reward_code, run.recipe.method.reward_specs)
    return [Check(REWARD_CODE, not changes, "; ".join(changes) or f"{', '.join(names)}, with their modules")]


def _existing(folder: str | PathLike[str] | None) -> Path | None:
    from lowmed.errors import RunError

    if folder is None:
        return None
    if not Path(folder).is_dir():
        raise RunError("the merged folder does not exist", str(folder), "create it: lowmed merge RUN --out DIR")
    return Path(folder)


def _open_target(path: str, base: str | None) -> "EvalTarget":
    """The run, or an adapter folder with default settings."""
    from lowmed import prompt
    from lowmed.adapter.config import base_name
    from lowmed.errors import RunError
    from lowmed.evaluation.target import EvalTarget
    from lowmed.recipe import EvalSpec, ModelSpec, PromptSpec
    from lowmed.ship.target import open_finished_run

    config = Path(path) / "adapter_config.json"
    if not config.is_file():
        return open_finished_run(path, base)[1]
    name = base or base_name(Path(path))
    if name is None:
        raise RunError("the adapter's config does not name its base", path, "name it with --base")
    return EvalTarget(ModelSpec(name=name), prompt.family(PromptSpec().infer), EvalSpec(), None, {})
