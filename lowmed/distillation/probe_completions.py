"""The stored completions of `lowmed probe`, as the completions of a teacher."""

from pathlib import Path
from typing import Any

from lowmed import prompt
from lowmed.distillation.data import DistilData
from lowmed.errors import RunError
from lowmed.evaluation import results_folder
from lowmed.evaluation.controls import SAMPLED
from lowmed.evaluation.records import EvalSettings
from lowmed.records import read_record
from lowmed.run import RECORD, Run, open_run


def run_of(probe: Path) -> Run | None:
    """The run that a probe is in, as `RUN/probes/NAME`; None for another place."""
    folder = probe.absolute().parent
    in_run = folder.name == "probes" and (folder.parent / RECORD).is_file()
    return open_run(str(folder.parent)) if in_run else None


def settings_of(probe: Path) -> EvalSettings:
    """The settings of a probe.

    Raises:
        RunError: the folder is not a probe.
    """
    if not (probe / results_folder.SETTINGS).is_file() or _file(probe) is None:
        raise RunError("no probe with sampled completions", str(probe), "run `lowmed probe` first, or name its folder")
    return read_record(probe / results_folder.SETTINGS, EvalSettings)


def family_of(settings: EvalSettings, probe: Path, run: Run | None) -> prompt.Family:
    """The prompts of a probe: those of its run, or shipped ones.

    Raises:
        RunError: they are other ones.
    """
    known = run.recipe.prompts.asking if run else prompt.FAMILIES.get(settings.prompts)
    if known is None or known.digest != settings.prompt_digest:
        what = f"the prompts `{settings.prompts}` of the probe are not known any more"
        raise RunError(what, str(probe), "run `lowmed probe` again")
    return known


def completions_of(probe: Path, data: DistilData) -> list[dict[str, Any]]:
    """The sampled completions of a probe on the same data.

    Raises:
        RunError: it was made on other data, or with another split.
    """
    settings, file = settings_of(probe), _file(probe)
    assert file is not None
    fix = "name the data of the probe with SOURCE and --path, or run `lowmed probe` on these data"
    if settings.data_digest != data.dataset.digest:
        raise RunError(f"the probe was made on other data ({settings.source})", str(probe), fix)
    rows = results_folder.read_rows(file)
    train = {sample.id: sample for sample in data.train}
    for row in rows:
        if row["id"] not in train or row["question"] != train[row["id"]].question:
            raise RunError("the probe has a question that is not trained on here", f"{file}: {row['id']}", fix)
    return rows


def _file(probe: Path) -> Path | None:
    files = (results_folder.completions_file(probe, system, SAMPLED) for system in results_folder.SYSTEMS)
    return next((file for file in files if file.is_file()), None)
