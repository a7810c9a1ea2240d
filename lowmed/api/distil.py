"""Distil the reasoning of a teacher into a data set, as `lowmed data distil` does."""

from collections import Counter
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from lowmed.progress import Log, Progress, no_log, silent

if TYPE_CHECKING:
    from lowmed.distillation.records import DistilRecord
    from lowmed.distillation.teacher import OpenTeacher
    from lowmed.evaluation.answerer import Answerer


def distil(
    source: str,
    out: str | PathLike[str],
    *,
    path: str | None = None,
    by: str | PathLike[str] | None = None,
    endpoint: str | None = None,
    model: str | None = None,
    send_images: bool = False,
    probe: str | PathLike[str] | None = None,
    prompts: str | None = None,
    questions: int | None = None,
    samples: int = 8,
    temperature: float = 1.0,
    max_new_tokens: int | None = None,
    keep: int = 1,
    keep_all: bool = False,
    rationalize: bool = False,
    prices: tuple[float, float] | None = None,
    dry_run: bool = False,
    progress: Progress = silent,
    log: Log = no_log,
) -> "DistilRecord":
    """Sample completions of the training questions, and write a data set with the reasoning of those that are right.

    Completions are stored one by one, so the same call resumes an interrupted distillation.

    Args:
        source: a known source, or a data folder.
        out: the folder of the new data set.
        path: local copy of a known source.
        by: the teacher: run directory, model directory, hub id or `nano`; with an endpoint the run that it serves.
        endpoint: URL of an OpenAI-compatible API that serves the teacher.
        model: the endpoint's name for its model.
        send_images: allow images to be sent to the endpoint.
        probe: folder of `lowmed probe` whose completions are used; nothing is sampled.
        prompts: prompt family; default: that of the run, else `reasoning`.
        questions: number of training questions, the first ones; default: all.
        samples: completions per question.
        temperature: sampling temperature.
        max_new_tokens: completion limit; default: that of the run's evaluation.
        keep: largest number of kept completions per question.
        keep_all: also write training questions without a kept completion, unchanged.
        rationalize: show the gold answer where no completion was kept, and keep that reasoning, marked.
        prices: per million prompt and completion tokens, in any currency.
        dry_run: return the estimate; generate and write nothing.
        progress: shows progress.
        log: gets the estimate before the first completion.

    Returns:
        The record that is in distil.json; without a result for a dry run.

    Raises:
        LowmedError: invalid arguments, a problem with the data, the model or the server, or no completion can be kept.
    """
    from lowmed.distillation import estimate, probe_completions, run
    from lowmed.distillation.data import open_data, require_apart, require_sendable
    from lowmed.distillation.records import RECORD
    from lowmed.distillation.teacher import open_teacher
    from lowmed.errors import RecipeError
    from lowmed.files import require_own_folder

    folder = Path(out)
    require_own_folder(folder, RECORD)  # before the data and the model are loaded
    stored_probe = Path(probe) if probe else None
    if stored_probe and rationalize:
        fix = "remove --rationalize, or name a teacher with --by or --endpoint"
        raise RecipeError("--rationalize needs a teacher, and --probe has none", "--rationalize", fix)
    teacher = open_teacher(fspath(by) if by else None, endpoint, model, stored_probe, prompts, max_new_tokens)
    target = teacher.target
    data = open_data(source, path, target.run, target.model.max_image_tokens, progress)
    require_apart(data.dataset, folder)
    train = data.train[:questions]
    if endpoint and not send_images:
        require_sendable(train, endpoint)
    if stored_probe:
        done = Counter(str(row["id"]) for row in probe_completions.completions_of(stored_probe, data))
        train = tuple(sample for sample in train if done[sample.id])
        samples = max(done.values(), default=0)
        temperature = probe_completions.settings_of(stored_probe).temperature or temperature
    else:
        done = run.stored_completions(folder, teacher.system)
    record = estimate.new_record(
        teacher,
        data,
        train,
        done,
        samples=samples,
        temperature=temperature,
        rationalize=rationalize,
        prices=prices,
        keep=keep,
        keep_all=keep_all,
    )
    log(estimate.describe(record))
    if dry_run:
        return record
    return run.run(run.DistilJob(folder, teacher, data, train, record), lambda seed: _load(teacher, seed), progress)


def _load(teacher: "OpenTeacher", seed: int) -> "Answerer":
    from lowmed.data.image.policy import pixel_policy

    target = teacher.target
    if teacher.endpoint:
        from lowmed.evaluation import endpoint

        policy, tokens = pixel_policy(target.model), target.eval.max_new_tokens
        return endpoint.answerer(teacher.endpoint, target.model.name, target.family, policy, tokens, skip_rejected=True)
    from lowmed.engine import evaluator

    return evaluator.answerer(target.model, teacher.adapter, target.family, target.eval.max_new_tokens, seed)
