"""Jobs of a study on other machines: parameters, dependencies, task files."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import Lowmed
from study.made import STUDY, write_study

from lowmed.errors import LowmedError, SetupError
from lowmed.study.folder import StudyFolder
from lowmed.study.jobs import study_jobs
from lowmed.study.read import load_study
from lowmed.study.submit import JobCommand, slurm_parameters, submit_slurm, write_skypilot


def test_a_slurm_job_waits_for_the_run_that_it_starts_from(tmp_path: Path) -> None:
    spec = load_study(
        write_study(tmp_path / "s.yaml", {**STUDY, "slurm": {"timeout_min": 60, "slurm_partition": "gpu"}})
    )
    sft, rl = study_jobs(spec)[:2]
    parameters = slurm_parameters(spec, sft, {})
    assert parameters.pop("slurm_additional_parameters") == {"kill-on-invalid-dep": "yes"}
    assert parameters == {"timeout_min": 60, "gpus_per_node": 1, "slurm_partition": "gpu"}
    assert slurm_parameters(spec, rl, {"sft-seed0": "77"})["slurm_dependency"] == "afterok:77"
    shared = spec.model_copy(update={"processes": 4, "slurm": {}})
    assert slurm_parameters(shared, sft, {})["gpus_per_node"] == 4
    assert "slurm_dependency" not in slurm_parameters(spec, rl, {})  # it has finished before


@pytest.mark.skipif(shutil.which("sbatch") is not None, reason="there is a Slurm")
def test_without_slurm_the_error_has_a_fix(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    file = write_study(tmp_path / "s.yaml")
    spec = load_study(file)
    with pytest.raises(SetupError, match="Slurm does not take the job"):
        submit_slurm(file, StudyFolder(tmp_path / "out"), spec, study_jobs(spec), print)


def test_a_job_that_fails_is_a_failure_of_slurm_too(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as raised:
        JobCommand(["study", str(tmp_path / "none.yaml"), "--out", str(tmp_path / "out"), "--only", "a-seed0"])()
    assert raised.value.returncode == 2


def test_every_job_is_a_task_of_skypilot_with_the_keys_of_the_study(tmp_path: Path) -> None:
    content = {**STUDY, "skypilot": {"resources": {"accelerators": "L4:1"}}}
    file = write_study(tmp_path / "s.yaml", content)
    spec = load_study(file)
    files = write_skypilot(Path("s.yaml"), StudyFolder(tmp_path / "out"), spec, study_jobs(spec))
    assert [one.name for one in files] == [f"{job.name}.yaml" for job in study_jobs(spec)]
    task = yaml.safe_load(files[1].read_text())
    assert task["resources"] == {"accelerators": "L4:1"}
    assert task["run"].endswith("--only rl-seed0")
    assert files[1].read_text().startswith("# after sft-seed0.yaml has ended\n")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("sbatch") is None, reason="there is no Slurm")
def test_slurm_takes_one_job_for_each_arm_and_seed(tmp_path: Path, lowmed: Lowmed) -> None:
    pytest.importorskip("submitit")
    write_study(tmp_path / "s.yaml", {**STUDY, "slurm": {"gpus_per_node": 0}})
    ended = lowmed("study", "s.yaml", "--out", "out", "--submit", "slurm")
    ids = re.findall(r"Slurm job (\d+)", ended.stderr)
    subprocess.run(["scancel", *ids], check=True)
    assert ended.returncode == 0, ended.stderr
    assert len(ids) == 4


def test_unknown_parameters_of_slurm_are_a_mistake_of_the_study(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    spec = load_study(write_study(tmp_path / "s.yaml", {**STUDY, "slurm": {"no_such_parameter": 1}}))
    with pytest.raises(LowmedError):
        submit_slurm(tmp_path / "s.yaml", StudyFolder(tmp_path / "out"), spec, study_jobs(spec), print)
