"""A study file that cannot be run is refused with its line, before anything is written."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Lowmed
from study.made import STUDY, write_study

from lowmed.errors import LowmedError
from lowmed.study.jobs import study_jobs
from lowmed.study.read import load_study, store_study

ROOT = Path(__file__).parents[2]


def changed(**keys: Any) -> dict[str, Any]:
    return {**STUDY, **keys}


def with_arm(**keys: Any) -> dict[str, Any]:
    return changed(arms={**STUDY["arms"], "third": {"recipe": "rarl", **keys}})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(sedes=[1]), "sedes  is not a key of a study"),
        (changed(seeds=[]), "seeds  must have at least one entry"),
        (changed(seeds=[1, 1]), "names the seed 1 twice"),
        (changed(seeds=[-1]), "seeds.0"),
        (changed(arms={}), "arms  must have at least one entry"),
        ({key: value for key, value in STUDY.items() if key != "seeds"}, "seeds  is missing"),
        (with_arm(start="nobody"), "there is no arm `nobody`; use one of sft, rl, third"),
        (with_arm(start="third"), "the starts of the arms form a cycle: third <- third"),
        (
            changed(arms={"a": {"recipe": "rarl", "start": "b"}, "b": {"recipe": "rarl", "start": "a"}}, compare=[]),
            "form a cycle: a <- b <- a",
        ),
        (with_arm(set=["seed=4"]), "list all seeds under `seeds`"),
        (with_arm(set=["lora.start=x"], start="sft"), "has both start and an override of lora.start"),
        (with_arm(learning_rate=1), "arms.third.learning_rate  is not a key of a study"),
        (changed(arms={"../up": {"recipe": "rarl"}}, compare=[]), "cannot name a folder"),
        (changed(arms={"A": {"recipe": "rarl"}, "a": {"recipe": "rarl"}}, compare=[]), "differ from `a` by case only"),
        (changed(compare=[{"first": "sft", "second": "nobody"}]), "compare.0.second: there is no arm `nobody`"),
        (changed(compare=[{"first": "sft", "second": "sft"}]), "with itself under the same prompts"),
        (changed(compare=[{"first": "base:sft", "second": "sft"}]), "add sft to eval.base"),
        (changed(compare=[{"first": "sft", "second": "rl", "prompts": ["direct"]}]), "`direct` is not in eval.prompts"),
        (changed(compare=[{"first": "sft", "second": "rl"}] * 2), "two comparisons have the label `rl - sft`"),
        (changed(eval={"prompts": ["reasoning", "reasoning"]}), "names `reasoning` twice"),
        (changed(arms={True: {"recipe": "rarl"}}, compare=[]), "YAML reads as a number, yes or no"),
        (changed(eval={"base": ["nobody"]}), "eval.base: there is no arm `nobody`"),
        (changed(eval={"sources": ["folder=a", "folder=b"]}), "names `folder` twice"),
        (changed(eval={"prompts": ["no-such-family"]}, compare=[]), "there is no prompt family `no-such-family`"),
        (with_arm(recipe="no-such-recipe"), "arms.third: there is no recipe `no-such-recipe`"),
        (with_arm(set=["method.no_such_key=1"]), "arms.third: rarl.yaml has a mistake"),
        (with_arm(set=["lora.rank=4"], start="sft"), "which has another lora.rank"),
        (with_arm(set=["model.name=other"], start="sft"), "which has another model.name"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(LowmedError) as raised:
        study_jobs(load_study(write_study(tmp_path / "s.yaml", content)))
    assert message in str(raised.value)


def test_two_arms_of_one_name_are_refused_with_both_lines(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("about: x\nseeds: [0]\narms:\n  a: {recipe: rarl}\n  a: {recipe: rl-plain}\n")
    with pytest.raises(LowmedError, match=r"sets `arms\.a` twice") as raised:
        load_study(file)
    assert raised.value.where == "s.yaml:4 and s.yaml:5"


def test_a_refused_study_writes_nothing(tmp_path: Path, lowmed: Lowmed) -> None:
    arms = {"a": {"recipe": "rarl", "data": "folder=missing"}}
    write_study(tmp_path / "s.yaml", changed(arms=arms, compare=[]))
    ended = lowmed("study", "s.yaml", "--out", "out")
    assert ended.returncode == 2
    assert "error: arms.a: " in ended.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "o"], "STUDY.yaml is missing"),
        (["s.yaml"], "--out is missing"),
        (["s.yaml", "--out", "o", "--rerun", "sft-seed0"], "--rerun does not go with a study that is run"),
        (["s.yaml", "--verify", "o"], "STUDY.yaml does not go with --verify"),
        (["--verify", "o"], "no results of a study"),
        (["s.yaml", "--out", "o", "--only", "sft"], "the study has no run `sft`"),
        (["none.yaml", "--out", "o"], "there is no study file none.yaml"),
    ],
)
def test_wrong_options_are_user_errors(tmp_path: Path, lowmed: Lowmed, arguments: list[str], message: str) -> None:
    write_study(tmp_path / "s.yaml")
    ended = lowmed("study", *arguments)
    assert ended.returncode == 2
    assert message in ended.stderr


def test_each_job_follows_the_one_that_it_starts_from(tmp_path: Path) -> None:
    arms = {"rl": {"recipe": "rl-plain", "start": "sft"}, "sft": {"recipe": "rarl-sft"}}
    jobs = study_jobs(load_study(write_study(tmp_path / "s.yaml", changed(arms=arms, seeds=[3, 5]))))
    assert [job.name for job in jobs] == ["sft-seed3", "rl-seed3", "sft-seed5", "rl-seed5"]
    assert [job.recipe.seed for job in jobs] == [3, 3, 5, 5]


def test_a_digest_changes_with_recipe_seed_and_start(tmp_path: Path) -> None:
    def digests(content: dict[str, Any]) -> list[str]:
        return [job.digest for job in study_jobs(load_study(write_study(tmp_path / "s.yaml", content)))]

    before = digests(STUDY)
    assert len(set(before)) == 4
    arms: dict[str, Any] = STUDY["arms"]  # type: ignore[assignment]
    other = {**arms, "sft": {**arms["sft"], "set": ["method.max_steps=5"]}}
    assert not set(before) & set(digests(changed(arms=other)))  # the runs that start from it have changed too
    alone = {**arms, "rl": {key: value for key, value in arms["rl"].items() if key != "start"}}
    after = digests(changed(arms=alone))
    assert [one == two for one, two in zip(before, after, strict=True)] == [True, False, True, False]


def test_a_stored_study_has_no_absolute_path_and_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arms = {"a": {"recipe": "rarl", "set": [f"data.difficulty={tmp_path}/d.jsonl"], "data": f"folder={tmp_path}/data"}}
    content = changed(
        arms=arms, compare=[], eval={"sources": [f"folder={tmp_path}/other"]}, slurm={"slurm_account": "me"}
    )
    spec = load_study(write_study(tmp_path / "s.yaml", content))
    store_study(spec, tmp_path / "stored.yaml")
    assert str(tmp_path) not in (tmp_path / "stored.yaml").read_text()
    stored = load_study(tmp_path / "stored.yaml")
    assert stored.arms["a"].data == "folder=data"
    assert stored.eval.sources == ("folder=other",)
    assert stored.slurm == {}


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks" / "studies").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_study_is_valid(file: Path) -> None:
    assert study_jobs(load_study(file))


def test_the_examples_of_the_page_are_valid(tmp_path: Path) -> None:
    first, text = (part.split("```")[0] for part in (ROOT / "docs" / "study.md").read_text().split("```yaml\n")[1:3])
    assert first == (ROOT / "benchmarks" / "studies" / "nano.yaml").read_text()
    assert [job.name for job in study_jobs(load_study(write_study(tmp_path / "s.yaml", yaml.safe_load(text))))][:3] == [
        "sft-seed0", "rl-seed0", "sft-rl-seed0",
    ]  # fmt: skip


@pytest.mark.parametrize("path", sorted(ROOT.glob("benchmarks/studies/*.yaml")), ids=lambda path: path.stem)
def test_the_study_files_of_the_repository_can_be_read(path: Path) -> None:
    spec = load_study(path)
    assert spec.arms
    assert spec.compare
