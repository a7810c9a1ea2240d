"""A finished study whose completions come from predictors that are known by hand, without any training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml
from predictors import answering, division

from lowmed import prompt
from lowmed.evaluation import results_folder, runner
from lowmed.evaluation.report import eval_settings, write_report
from lowmed.files import utc_now
from lowmed.nano import phantom
from lowmed.recipe import ModelSpec
from lowmed.recipe.io import dump_recipe
from lowmed.records import RunRecord
from lowmed.sample import Sample
from lowmed.study.folder import StudyFolder, evaluation_folder
from lowmed.study.jobs import study_jobs
from lowmed.study.read import load_study, store_study
from lowmed.study.records import JobRecord

QUESTIONS = phantom.samples("test", 40)
Look = Callable[[], object]
Answers = Mapping[str, Callable[[Sample, Look], str]]  # run or `base:run` -> its predictor

STUDY = {
    "about": "Two arms <b>by hand</b> & 100 %",
    "nano": True,
    "seeds": [0, 1],
    "arms": {
        "sft": {"recipe": "rarl-sft", "set": ["method.max_steps=4"]},
        "rl": {"recipe": "rl-plain", "set": ["method.max_steps=4"], "start": "sft"},
    },
    "eval": {"prompts": ["reasoning"]},
    "compare": [{"label": "RL after SFT", "first": "sft", "second": "rl"}],
}


def write_study(file: Path, content: Mapping[str, object] = STUDY) -> Path:
    file.write_text(yaml.safe_dump(dict(content), sort_keys=False))
    return file


def write_runs(
    file: Path, out: Path, answers: Answers, questions: Mapping[str, Sequence[Sample]] | None = None
) -> StudyFolder:
    """The runs of a study as training and evaluation leave them; `questions` are those of some runs."""
    spec, folder = load_study(file), StudyFolder(out)
    out.mkdir()
    store_study(spec, folder.study)
    for job in study_jobs(spec):
        if job.name not in answers:
            continue
        run = folder.run(job)
        run.adapter.mkdir(parents=True)
        (run.adapter / "adapter_model.safetensors").write_bytes(job.name.encode())
        (run.folder / "recipe.yaml").write_text(dump_recipe(job.recipe))
        record = RunRecord(
            name=job.name, status="finished", started=utc_now(), recipe_digest=job.recipe.digest, steps=4, seconds=1.0,
            card="CPU", precision="fp32", versions={"torch": "2"}, data_digest="d" * 64,
            prompt_digests={"train": "a", "infer": "b"},
        )  # fmt: skip
        record.write(run.folder / "run.json")
        for family in spec.eval.prompts:
            where = evaluation_folder(run, "phantom", family)
            data = division((questions or {}).get(job.name, QUESTIONS))
            settings = eval_settings(
                ModelSpec(name="nano"), prompt.family(family), data, max_new_tokens=64, seen="unseen"
            )
            results_folder.open_folder(where, settings)
            for system, name in (("tuned", job.name), ("base", f"base:{job.name}")):
                if name in answers:
                    predict = answers[name]
                    runner.run_conditions(
                        where,
                        system,
                        runner.list_conditions(data, controls=0),
                        lambda predict=predict: answering(predict),  # type: ignore[misc]
                        train=(),
                        advance=lambda done, note: None,
                    )
            write_report(where)
        state = JobRecord(
            arm=job.arm, seed=job.seed, digest=job.digest, status="finished", recipe_digest=job.recipe.digest,
            max_questions=spec.eval.max_questions, start_sha256=folder.adapter_sha256(job.start) if job.start else None,
        )  # fmt: skip
        folder.write_record(state, job)
    return folder


def right_on(first: int) -> Callable[[Sample, Look], str]:
    """Right on the first questions, wrong on the others."""
    known = {sample.id for sample in QUESTIONS[:first]}

    def predict(sample: Sample, look: Look) -> str:
        del look
        from predictors import tagged

        return tagged(sample, sample.answer if sample.id in known else "I can see nothing")

    return predict
