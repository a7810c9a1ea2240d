"""The table of a study follows from its completions, and whatever is changed afterwards is noticed."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from study.made import QUESTIONS, STUDY, right_on, write_runs, write_study

from lowmed.api.study import run_study, verify_study
from lowmed.errors import RunError
from lowmed.evaluation.paired_tests import holm
from lowmed.report.study_latex import study_latex
from lowmed.report.study_page import study_page
from lowmed.report.templates import SCRIPT
from lowmed.study.jobs import study_jobs
from lowmed.study.read import load_study
from lowmed.study.records import StudyRecord
from lowmed.study.results import study_record

ANSWERS = {"sft-seed0": 20, "sft-seed1": 24, "rl-seed0": 30, "rl-seed1": 34}
TUNED = "evals/phantom-reasoning/tuned.jsonl"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    file = write_study(folder / "s.yaml")
    write_runs(file, folder / "out", {name: right_on(first) for name, first in ANSWERS.items()})
    assert run_study(file, folder / "out").record is not None
    return folder


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """A copy of a study that is finished."""
    shutil.copytree(finished, tmp_path / "study")
    return tmp_path / "study" / "out"


def record(study: Path) -> StudyRecord:
    return StudyRecord.model_validate_json((study / "study.json").read_text())


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))


def test_the_table_has_the_known_accuracies_and_counts(study: Path) -> None:
    result = record(study)
    shown = {one.arm: one for one in result.accuracies}
    assert shown["sft"].by_seed == {"0": 0.5, "1": 0.6}
    assert [shown["sft"].accuracy, shown["rl"].accuracy] == pytest.approx([0.55, 0.8])
    assert {(one.questions, one.images, one.seeds, one.same_questions) for one in result.accuracies} == {
        (40, 40, 2, True)
    }
    [difference] = result.comparisons
    assert difference.difference == pytest.approx(0.25)
    assert difference.by_seed == {"0": pytest.approx(0.25), "1": pytest.approx(0.25)}
    assert difference.settings_differ == ()
    assert result.complete


def test_page_and_table_show_the_figures_with_their_n_and_the_digest(study: Path) -> None:
    result = record(study)
    page, table = (study / "study.html").read_text(), (study / "table.tex").read_text()
    assert result.digest in page
    assert result.digest in table
    assert "&lt;b&gt;by hand&lt;/b&gt; &amp; 100 %" in page
    assert page.count("<script") == page.count(f"<script>{SCRIPT}</script>") == 1
    assert r"Two arms \textless{}b\textgreater{}by hand\textless{}/b\textgreater{} \& 100 \%" in table
    for text in (page, table):
        assert "0.550" in text
        assert "+0.250" in text
    rows = [line for line in table.splitlines() if line.startswith(("sft &", "rl &", "RL after SFT &"))]
    assert [line.split(" & ")[-3:] for line in rows] == [["40", "40", r"2 \\"]] * 3
    assert table.count(r"\toprule") == table.count(r"\bottomrule") == 2


def test_an_unchanged_study_is_verified_and_nothing_is_written(study: Path) -> None:
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    check = verify_study(study)
    assert check.problems == ()
    assert check.completions == 4 * len(QUESTIONS)
    assert before == {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}


def _change_a_completion(study: Path) -> None:
    edit(study / "runs" / "rl-seed0" / TUNED, "So it is.", "So  it is.")  # the grade stays


def _change_an_answer(study: Path) -> None:
    edit(study / "runs" / "sft-seed1" / TUNED, "I can see nothing", "yes")


def _remove_a_line(study: Path) -> None:
    file = study / "runs" / "sft-seed0" / TUNED
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


def _repeat_a_line(study: Path) -> None:
    file = study / "runs" / "sft-seed0" / TUNED
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:-1], lines[0]]))


def _cut_the_last_line(study: Path) -> None:
    file = study / "runs" / "sft-seed0" / TUNED
    file.write_text(file.read_text()[:-20])


def _write_another_type(study: Path) -> None:
    edit(study / "runs" / "sft-seed0" / TUNED, '"options": []', '"options": 7')


def _write_no_json(study: Path) -> None:
    edit(study / "runs" / "sft-seed0" / TUNED, "{", "[")


def _use_other_prompts(study: Path) -> None:
    edit(study / "runs" / "sft-seed0" / TUNED, '"prompt_digest": "', '"prompt_digest": "0')


def _exchange_two_files(study: Path) -> None:
    one, other = (study / "runs" / name / TUNED for name in ("sft-seed0", "rl-seed0"))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def _remove_a_run(study: Path) -> None:
    shutil.rmtree(study / "runs" / "rl-seed1")


def _exchange_two_runs(study: Path) -> None:
    one, other = study / "runs" / "sft-seed0", study / "runs" / "sft-seed1"
    one.rename(study / "aside")
    other.rename(one)
    (study / "aside").rename(other)


def _replace_the_adapter(study: Path) -> None:
    (study / "runs" / "rl-seed0" / "adapter" / "adapter_model.safetensors").write_bytes(b"other")


def _train_a_start_again(study: Path) -> None:
    (study / "runs" / "sft-seed0" / "adapter" / "adapter_model.safetensors").write_bytes(b"again")


def _edit_the_settings(study: Path) -> None:
    edit(
        study / "runs" / "rl-seed0" / "evals" / "phantom-reasoning" / "settings.json", '"unseen"', '"seen in training"'
    )


def _edit_the_study_file(study: Path) -> None:
    edit(study / "study.yaml", "grade: lenient", "grade: strict")


def _edit_a_figure(study: Path) -> None:
    edit(study / "study.json", '"accuracy": 0.8', '"accuracy": 0.9')


def _edit_a_figure_and_write_the_pages_from_it(study: Path) -> None:
    _edit_a_figure(study)
    result = record(study)
    (study / "study.html").write_text(study_page(result))
    (study / "table.tex").write_text(study_latex(result))


def _drop_a_comparison(study: Path) -> None:
    content: dict[str, Any] = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps({**content, "comparisons": []}))


def _drop_a_run_from_the_table(study: Path) -> None:
    content: dict[str, Any] = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps({**content, "runs": content["runs"][:-1]}))


def _edit_the_latex_table(study: Path) -> None:
    edit(study / "table.tex", "0.550", "0.650")


def _edit_the_page(study: Path) -> None:
    edit(study / "study.html", "0.550", "0.650")


ATTACKS = {
    _change_a_completion: r"runs/rl-seed0/\S*tuned.jsonl or its settings.json have changed",
    _change_an_answer: r"runs/sft-seed1/\S*tuned.jsonl or its settings.json have changed",
    _remove_a_line: "the file has 39 questions in 39 lines, not 40",
    _repeat_a_line: "the file has 39 questions in 40 lines, not 40",
    _cut_the_last_line: "the file has 39 questions in 39 lines, not 40",
    _write_another_type: r"runs/sft-seed0/\S*tuned.jsonl",
    _write_no_json: "the line is not JSON",
    _use_other_prompts: "the completions were generated with other prompts",
    _exchange_two_files: r"accuracy sft, reasoning, phantom, test",
    _remove_a_run: "runs/rl-seed1 has been removed",
    _exchange_two_runs: "runs/sft-seed0 is another run than the one that the study trained",
    _replace_the_adapter: "runs/rl-seed0: adapter_sha256",
    _train_a_start_again: "runs/rl-seed0 is another run than",
    _edit_the_settings: r"runs/rl-seed0/\S*tuned.jsonl or its settings.json have changed",
    _edit_the_study_file: "grade in study.json is lenient, derived strict",
    _edit_a_figure: "accuracy in study.json is 0.9, derived 0.8",
    _edit_a_figure_and_write_the_pages_from_it: "accuracy in study.json is 0.9, derived 0.8",
    _drop_a_comparison: "study.json lacks this row",
    _drop_a_run_from_the_table: "study.json does not list the runs of study.yaml",
    _edit_the_latex_table: "table.tex is not what",
    _edit_the_page: "study.html is not what",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__.strip("_"))
def test_a_change_is_noticed(study: Path, attack: Any) -> None:
    attack(study)
    assert re.search(ATTACKS[attack], "\n".join(verify_study(study).problems))


@pytest.mark.parametrize("attack", [_change_a_completion, _exchange_two_files])
def test_changed_completions_do_not_become_a_new_table(study: Path, attack: Any) -> None:
    attack(study)
    before = (study / "study.json").read_bytes()
    with pytest.raises(RunError, match="stored completions have changed"):
        run_study(study.parent / "s.yaml", study)
    assert (study / "study.json").read_bytes() == before


@pytest.mark.parametrize("attack", [_exchange_two_runs, _train_a_start_again])
def test_another_run_is_not_reused(study: Path, attack: Any) -> None:
    attack(study)
    with pytest.raises(RunError, match="another run is in its place"):
        run_study(study.parent / "s.yaml", study)


def test_a_run_of_another_recipe_is_never_reused(study: Path) -> None:
    arms: dict[str, Any] = STUDY["arms"]  # type: ignore[assignment]
    changed = {**arms, "sft": {**arms["sft"], "set": ["method.max_steps=9"]}}
    file = write_study(study.parent / "s.yaml", {**STUDY, "arms": changed})
    before = (study / "study.yaml").read_bytes()
    with pytest.raises(RunError, match="have changed") as raised:
        run_study(file, study)
    assert set(re.findall(r"(?:sft|rl)-seed\d", raised.value.where)) == ANSWERS.keys()  # rl starts from it
    assert (study / "study.yaml").read_bytes() == before


def test_another_limit_of_questions_is_refused(study: Path) -> None:
    file = write_study(study.parent / "s.yaml", {**STUDY, "eval": {"prompts": ["reasoning"], "max_questions": 3}})
    with pytest.raises(RunError, match=r"eval\.max_questions has changed"):
        run_study(file, study)


def test_comparisons_can_be_changed_without_another_run(study: Path) -> None:
    compare = [{"first": "sft", "second": "rl"}, {"label": "back", "first": "rl", "second": "sft"}]
    result = run_study(write_study(study.parent / "s.yaml", {**STUDY, "compare": compare}), study).record
    assert result
    forth, back = result.comparisons
    assert back.difference == -forth.difference
    assert forth.p_holm == holm({"a": forth.p_by_image, "b": back.p_by_image})["a"] == 2 * forth.p_by_image
    assert verify_study(study).problems == ()


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="lowmed did not write it"):
        run_study(write_study(tmp_path / "s.yaml"), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_one_seed_gives_the_figures_of_compare(tmp_path: Path) -> None:
    from lowmed.api.compare import compare

    file = write_study(tmp_path / "s.yaml", {**STUDY, "seeds": [0]})
    answers = {name: right_on(ANSWERS[name]) for name in ("sft-seed0", "rl-seed0")}
    folder = write_runs(file, tmp_path / "out", answers)
    record = run_study(file, tmp_path / "out").record
    assert record
    [row] = record.comparisons
    runs = [folder.folder / "runs" / name for name in answers]
    of_compare = compare(*runs).sources["phantom-reasoning"].all
    assert of_compare
    assert (row.difference, row.by_image, row.p_by_image) == (
        of_compare.difference, of_compare.by_image, of_compare.p_by_image,
    )  # fmt: skip


def test_base_model_and_prompts_of_one_arm_are_compared(tmp_path: Path) -> None:
    content = {
        **STUDY,
        "arms": {"sft": {"recipe": "rarl-sft"}},
        "seeds": [0],
        "eval": {"prompts": ["reasoning", "direct"], "base": ["sft"]},
        "compare": [
            {"first": "base:sft", "second": "sft", "prompts": ["reasoning"]},
            {"label": "prompt", "first": "sft", "second": "sft", "first_prompts": "direct", "prompts": ["reasoning"]},
        ],
    }
    file = write_study(tmp_path / "s.yaml", content)
    write_runs(file, tmp_path / "out", {"sft-seed0": right_on(30), "base:sft-seed0": right_on(10)})
    record = run_study(file, tmp_path / "out").record
    assert record
    assert {(one.arm, one.prompts): one.accuracy for one in record.accuracies} == {
        ("base:sft", "reasoning"): 0.25, ("sft", "reasoning"): 0.75,
        ("base:sft", "direct"): 0.25, ("sft", "direct"): 0.75,
    }  # fmt: skip
    assert {one.over_seeds for one in record.accuracies} == {None}
    base, prompts = record.comparisons
    assert (base.difference, base.settings_differ) == (0.5, ())
    assert (prompts.difference, prompts.settings_differ) == (0.0, ())  # other prompts are what it compares
    assert verify_study(tmp_path / "out").problems == ()


def test_runs_on_other_data_are_compared_on_shared_questions_and_marked(tmp_path: Path) -> None:
    file = write_study(tmp_path / "s.yaml")
    folder = write_runs(file, tmp_path / "out", {name: right_on(first) for name, first in ANSWERS.items()})
    edit(folder.folder / "runs" / "rl-seed1" / "evals" / "phantom-reasoning" / "settings.json", "d" * 64, "e" * 64)
    record = run_study(file, tmp_path / "out").record
    assert record
    [row] = record.comparisons
    assert [line.split()[0] for line in row.settings_differ] == ["data_digest"]
    assert "different settings, so only the shared questions are compared" in study_page(record)
    assert "RL after SFT* &" in study_latex(record)


def test_seeds_with_other_questions_are_marked_and_each_question_counts_once(tmp_path: Path) -> None:
    file = write_study(tmp_path / "s.yaml")
    answers = {name: right_on(first) for name, first in ANSWERS.items()}
    parts = {name: QUESTIONS[:30] if name.endswith("seed0") else QUESTIONS[10:] for name in answers}
    write_runs(file, tmp_path / "out", answers, parts)
    record = run_study(file, tmp_path / "out").record
    assert record
    sft = record.accuracies[0]
    assert (sft.questions, sft.seeds, sft.same_questions) == (40, 2, False)
    assert sft.by_seed == {"0": pytest.approx(20 / 30), "1": pytest.approx(14 / 30)}
    # right with both seeds: 0 to 19, the first ten of them in one; with the second one alone: 20 to 23
    assert sft.accuracy == pytest.approx((20 + 4 * 0.5) / 40)
    assert "seeds differ in their questions" in study_page(record)


def test_an_unfinished_run_is_listed_and_not_counted(tmp_path: Path) -> None:
    file = write_study(tmp_path / "s.yaml")
    folder = write_runs(file, tmp_path / "out", {name: right_on(first) for name, first in ANSWERS.items()})
    job = study_jobs(load_study(file))[3]
    before = folder.record(job)
    assert before
    folder.write_record(before.model_copy(update={"status": "failed", "error": "<b>no</b> memory"}), job)
    record = study_record(folder, load_study(file), study_jobs(load_study(file)))
    assert not record.complete
    assert {one.arm: one.seeds for one in record.accuracies} == {"sft": 2, "rl": 1}
    assert record.comparisons[0].seeds == 1
    assert "rl, seed 1: failed: &lt;b&gt;no&lt;/b&gt; memory" in study_page(record)
    assert "% not in the tables: rl, seed 1 (failed)" in study_latex(record)


def test_no_text_of_a_study_is_a_command_of_latex(study: Path) -> None:
    result = record(study)
    evil = '[1ex] \\input{/etc/passwd} $x$ 5% #1 a_b ~ ^ "q"\n\\end{table}'
    [row] = result.comparisons
    changed = result.model_copy(update={"about": evil, "comparisons": (row.model_copy(update={"label": evil}),)})
    table = study_latex(changed)
    assert table.splitlines().count(r"\end{table}") == 2
    assert r"\input" not in "".join(line for line in table.splitlines() if not line.startswith("%"))
    assert table.splitlines()[0] == "% lowmed study: " + evil.replace("\n", " ")  # a comment of one line
    assert r"{}[1ex] \textbackslash{}input\{/etc/passwd\} \$x\$ 5\% \#1 a\_b \textasciitilde{}" in table
