"""`lowmed data distil` with real teachers: a local server, the stored completions of a probe, and nano."""

import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import Lowmed, Start
from distillation.teacher_server import TeacherServer, serving
from PIL import Image

import lowmed as package
from lowmed import prompt
from lowmed.data import folder
from lowmed.data.explanations import keep_trainable
from lowmed.data.for_recipe import for_recipe
from lowmed.data.ingest import prepared_folder
from lowmed.data.run_identity import store_data
from lowmed.data.sources.generated import load as generated
from lowmed.data.split import HELD_OUT
from lowmed.distillation import filters, selection
from lowmed.distillation.data import open_data
from lowmed.distillation.folder import write
from lowmed.distillation.records import DistilRecord, teachers
from lowmed.errors import DataError, LowmedError, RecipeError, RunError, SetupError
from lowmed.evaluation import endpoint, results_folder, runner
from lowmed.evaluation.answerer import Completion, OpenImage
from lowmed.evaluation.controls import SAMPLED, Condition
from lowmed.evaluation.report import eval_settings
from lowmed.files import read_jsonl, to_jsonl
from lowmed.nano import phantom
from lowmed.recipe import ModelSpec
from lowmed.recipe.io import load_recipe
from lowmed.records import read_record
from lowmed.report import page
from lowmed.report.run_data import data_summary
from lowmed.report.run_report import read
from lowmed.run import create_run
from lowmed.sample import Sample

SITES = ("apex", "base", "hilum", "pleura", "heart", "aorta", "spine", "rib", "clavicle", "trachea")


def _rows(*, images: bool = False) -> list[dict[str, Any]]:
    """20 training and 4 test questions of 12 patients, two questions a patient."""
    rows = []
    for number in range(24):
        row = {
            "id": f"q{number}",
            "question": f"Is the {SITES[number // 2 % 10]} of patient {number // 2} normal in view {number % 2}?",
            "answer": "yes" if number % 3 else "no",
            "kind": "closed",
            "group": f"p{number // 2}",
            "split": "train" if number < 20 else "test",
            "modality": "X-ray",
            "strata": {"site": "A"},
        }
        rows.append(row | ({"images": [f"im{number // 2}.png"]} if images else {}))
    return rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Questions without images."""
    return _write(tmp_path / "data", _rows())


def _write(target: Path, rows: list[dict[str, Any]]) -> Path:
    target.mkdir()
    (target / "samples.jsonl").write_text(to_jsonl(rows))
    for number in sorted({image for row in rows for image in row.get("images", [])}):
        Image.new("RGB", (56, 56), (10 * int(number[2:-4]), 40, 90)).save(target / number)
    return target


def _honest(text: str, answer: str | None = None) -> str:
    """A completion whose reasoning differs from question to question."""
    row = next(row for row in _rows() if row["question"] in text)
    seen = "smooth and sharp" if row["answer"] == "yes" else "blurred by an opacity"
    number = int(row["id"][1:])
    thought = f"Its outline is {seen} over {number + 3} mm at level {number * 7}, seen twice."
    return f"<think>{thought}</think><answer>{answer or row['answer']}</answer>"


def _distil(source: Path, out: Path, teacher: TeacherServer, **more: Any) -> DistilRecord:
    settings = {"model": "m", "prompts": "text-reasoning", "samples": 2, **more}
    return package.distil(str(source), out, endpoint=teacher.url, **settings)


def test_right_reasoning_becomes_the_explanation_and_other_splits_stay(data: Path, tmp_path: Path) -> None:
    with serving(_honest) as teacher:
        record = _distil(data, tmp_path / "out", teacher, prices=(1.0, 2.0))
        again = _distil(data, tmp_path / "out", teacher, prices=(1.0, 2.0))
    assert again.result == record.result
    before, after = folder.load(str(data)), folder.load(str(tmp_path / "out"))
    train = open_data(str(data), None, None, 256).train
    assert record.result
    assert record.result.rows == {"train": 16, HELD_OUT: 4, "test": 4}
    assert len(teacher.requests) == record.result.sampled.completions == 2 * len(train)  # the second call sent nothing
    assert record.result.sampled.dropped == {selection.DUPLICATE: 16}
    assert record.result.cost is not None
    assert record.result.cost == pytest.approx(32 * (100 * 1.0 + 10 * 2.0) / 1e6)
    assert record.result.cost <= (record.estimate.cost or 0)
    assert (again.estimate.completions, again.estimate.cost) == (0, 0)
    kept = {sample.id: sample for sample in after.splits["train"]}
    assert kept.keys() == {sample.id for sample in train}
    for sample in before.samples:
        if sample.id in kept:
            changed = kept[sample.id]
            assert changed.explanation.startswith("Its outline is ")
            assert dict(changed.strata) == {"site": "A", "distilled": "sampled"}
            assert (changed.question, changed.answer, changed.group) == (sample.question, sample.answer, sample.group)
    others = {sample.id: sample for split in (HELD_OUT, "test") for sample in after.splits[split]}
    assert others == {sample.id: sample for sample in before.samples if sample.id not in kept}
    assert read_record(tmp_path / "out/distil.json", DistilRecord) == again
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "samples.jsonl", "distil.json", "README.md", "completions",
    }  # fmt: skip
    assert str(tmp_path) not in (tmp_path / "out/distil.json").read_text() + (tmp_path / "out/README.md").read_text()


def test_both_recipes_train_on_the_result_and_hold_out_the_same_questions(data: Path, tmp_path: Path) -> None:
    with serving(_honest) as teacher:
        _distil(data, tmp_path / "out", teacher)
    held_out = {sample.id for sample in folder.load(str(tmp_path / "out")).splits[HELD_OUT]}
    for name in ("rarl-sft", "rarl"):
        plain = load_recipe(name, ["data.source=folder", f"data.path={data}"])
        assert {sample.id for sample in for_recipe(plain, filtered=False).split.held_out[HELD_OUT]} == held_out
        for split_by in ("image", "auto", "official"):
            recipe = load_recipe(
                name, ["data.source=folder", f"data.path={tmp_path / 'out'}", f"data.split_by={split_by}"]
            )
            split = for_recipe(recipe).split
            assert {sample.id for sample in split.held_out[HELD_OUT]} == held_out
            assert len(keep_trainable(split.train, recipe)) == 16


def test_images_are_copied_and_sent_only_with_permission(tmp_path: Path) -> None:
    source = _write(tmp_path / "data", _rows(images=True))
    with serving(_honest) as teacher:
        with pytest.raises(RecipeError, match="16 of 16 questions have images") as error:
            _distil(source, tmp_path / "out", teacher)
        assert "--send-images" in error.value.fix
        assert not teacher.requests
        assert not (tmp_path / "out").exists()
        _distil(source, tmp_path / "out", teacher, send_images=True)
        assert teacher.images == len(teacher.requests) == 32
    copied = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert copied == sorted(path.name for path in source.glob("*.png"))
    assert not (tmp_path / "out/im0.png").samefile(source / "im0.png")
    assert not list((tmp_path / "out/completions").glob("**/*.png"))
    assert folder.load(str(tmp_path / "out")).digest != folder.load(str(source)).digest


def test_a_prepared_folder_stays_one_and_shares_its_images(tmp_path: Path) -> None:
    source = _write(tmp_path / "table", _rows(images=True))
    (source / "samples.jsonl").rename(source / "questions.jsonl")
    package.prepare(str(source / "questions.jsonl"), tmp_path / "data")
    with serving(_honest) as teacher:
        _distil(tmp_path / "data", tmp_path / "out", teacher, send_images=True, questions=4)
    before, after = (prepared_folder.data_card(tmp_path / name) for name in ("data", "out"))
    assert before
    assert after
    assert after.samples_sha256 == prepared_folder.samples_digest(tmp_path / "out/samples.jsonl")
    assert (after.max_image_tokens, after.images) == (before.max_image_tokens, 12 - 6)
    assert after.notes["training questions left out: not distilled, or without a kept completion"] == 12
    with pytest.raises(DataError, match=r"would be lost: README.md, completions, distil.json"):
        package.prepare("phantom", tmp_path / "out")
    loaded = folder.load(str(tmp_path / "out"))
    assert not loaded.rejected
    for image in {image for sample in loaded.samples for image in sample.images}:
        assert (tmp_path / "out" / image).samefile(tmp_path / "data" / image)
    assert loaded.pixels.items() <= folder.load(str(tmp_path / "data")).pixels.items()


def test_a_known_source_whose_splits_share_images_keeps_both_held_out_parts(vqa_rad: Path, tmp_path: Path) -> None:
    train = open_data("vqa-rad", str(vqa_rad), None, 256).train
    drawn = iter(range(10_000))

    def right(text: str) -> str:
        sample = next(sample for sample in train if sample.question in text)
        return f"<think>Contour {next(drawn)} is thin, its edge sharp.</think><answer>{sample.answer}</answer>"

    with serving(right) as teacher:
        served: dict[str, Any] = {"endpoint": teacher.url, "model": "m", "send_images": True}
        record = package.distil(
            "vqa-rad", tmp_path / "out", path=str(vqa_rad), samples=1, questions=30, max_new_tokens=32, **served
        )
    assert record.result
    assert record.result.questions_kept > 15
    before = load_recipe("rarl-sft", ["data.source=vqa-rad", f"data.path={vqa_rad}"])
    after = load_recipe("rarl-sft", ["data.source=folder", f"data.path={tmp_path / 'out'}"])
    old, new = for_recipe(before, filtered=False).split, for_recipe(after).split
    assert {sample.id for sample in new.train} == {
        sample.id for sample in folder.load(str(tmp_path / "out")).splits["train"]
    }
    assert old.held_out.keys() == new.held_out.keys() == {HELD_OUT, "test"}
    for name, samples in old.held_out.items():
        assert [(one.id, one.images, one.answer) for one in samples] == [
            (one.id, one.images, one.answer) for one in new.held_out[name]
        ]
    assert not new.images_in_train[HELD_OUT]


def test_a_teacher_that_dies_in_the_middle_loses_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "PAUSES_SECONDS", (0.0,) * 5)
    left = iter(range(10))

    def dying(text: str) -> str | None:
        return _honest(text) if next(left, None) is not None else None

    with serving(dying) as teacher, pytest.raises(SetupError, match="does not respond") as error:
        _distil(data, tmp_path / "out", teacher)
    assert len(str(error.value).splitlines()) == 3
    stored = len(read_jsonl(tmp_path / "out/completions/endpoint.sampled.jsonl"))
    assert 0 < stored <= 10
    assert not (tmp_path / "out/samples.jsonl").exists()
    with pytest.raises(DataError):
        folder.load(str(tmp_path / "out"))
    with serving(_honest) as teacher:  # the same host, at another port
        with pytest.raises(RunError, match="another teacher"):
            _distil(data, tmp_path / "out", teacher, model="other")
        with pytest.raises(RunError, match="other settings"):
            _distil(data, tmp_path / "out", teacher, temperature=0.5)
        assert not teacher.requests
        result = _distil(data, tmp_path / "out", teacher).result
        assert result
        assert result.questions_kept == 16
        assert len(teacher.requests) == 32 - stored


def test_a_request_that_the_server_rejects_is_dropped_unless_it_rejects_all(data: Path, tmp_path: Path) -> None:
    with serving(lambda text: 400 if "rib" in text else _honest(text)) as teacher:
        result = _distil(data, tmp_path / "out", teacher, samples=8).result
    assert result
    assert result.sampled.dropped[filters.REJECTED] == 8 * (16 - result.questions_kept) > 0
    with serving(lambda text: 400) as teacher, pytest.raises(SetupError, match="responds with 400"):
        _distil(data, tmp_path / "out2", teacher, samples=8)
    with serving(_honest) as teacher:  # what was rejected is requested again
        again = _distil(data, tmp_path / "out2", teacher, samples=8).result
    assert again
    assert (again.questions_kept, again.sampled.completions) == (16, 128)
    with serving(lambda text: 404) as teacher, pytest.raises(SetupError, match="responds with 404"):
        _distil(data, tmp_path / "out3", teacher)
    assert not (tmp_path / "out3/completions/endpoint.sampled.jsonl").exists()


REFUSAL = "I'm sorry, but I can't help with medical images."


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda text: REFUSAL, filters.FORM),
        (lambda text: _honest(text, "no" if "<answer>yes" in _honest(text) else "yes"), filters.WRONG),
        (lambda text: "<think></think>" + _honest(text).partition("</think>")[2], filters.EMPTY),
        (lambda text: "<think>I look at it with great care.</think>" + _honest(text).partition("</think>")[2],
         selection.TEMPLATE),
    ],
)  # fmt: skip
def test_a_teacher_without_a_usable_completion_is_an_error_with_its_rates(
    answer: Callable[[str], str], why: str, data: Path, tmp_path: Path
) -> None:
    with serving(answer) as teacher, pytest.raises(DataError, match="none of 32 completions") as error:
        _distil(data, tmp_path / "out", teacher)
    assert f"{why} 100%" in error.value.where
    assert len(str(error.value).splitlines()) == 3
    assert len(read_jsonl(tmp_path / "out/completions/endpoint.sampled.jsonl")) == 32
    assert not (tmp_path / "out/samples.jsonl").exists()


def test_a_failed_second_call_leaves_the_finished_data_set_as_it_was(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "PAUSES_SECONDS", (0.0,) * 5)
    out = tmp_path / "out"
    with serving(_honest) as teacher:
        _distil(data, out, teacher)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with serving(lambda text: None) as teacher:
        for changed, error in (
            ({"temperature": 0.5}, RunError),
            ({"model": "other"}, RunError),
            ({"prompts": "reasoning"}, RunError),
            ({"samples": 4}, SetupError),
        ):
            with pytest.raises(error):
                _distil(data, out, teacher, **changed)
    with pytest.raises(RunError, match="another teacher"):
        package.distil(str(data), out, probe=_probe(tmp_path / "probe", data))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_questions_without_a_kept_completion_are_rationalized_and_marked(data: Path, tmp_path: Path) -> None:
    def teacher_with_hint(text: str) -> str:
        row = next(row for row in _rows() if row["question"] in text)
        hinted = "The right answer to the following question is" in text
        if row["answer"] == "no" and not hinted:
            return _honest(text, "yes")
        if hinted and row["id"] in ("q0", "q6"):
            return _honest(text).replace("seen twice", "as the provided answer is no")
        return _honest(text)

    with serving(teacher_with_hint) as teacher:
        record = _distil(data, tmp_path / "out", teacher, rationalize=True)
    assert record.hint_digest
    assert record.result
    assert record.result.rationalized
    train = folder.load(str(tmp_path / "out")).splits["train"]
    marks = {sample.id: dict(sample.strata)["distilled"] for sample in train}
    assert {mark for name, mark in marks.items() if int(name[1:]) % 3} == {"sampled"}
    assert {mark for name, mark in marks.items() if not int(name[1:]) % 3} == {"rationalized"}
    assert not {"q0", "q6"} & marks.keys()
    leaked = [sample.id for sample in open_data(str(data), None, None, 256).train if sample.id in ("q0", "q6")]
    assert record.result.rationalized.dropped[filters.HINT] == 2 * len(leaked) > 0
    assert all("right answer to the following" not in sample.question for sample in train)
    hinted = [body for body in teacher.requests if "right answer to the following" in str(body)]
    assert len(hinted) == record.result.rationalized.completions


def test_several_kept_completions_are_rows_of_one_group(data: Path, tmp_path: Path) -> None:
    drawn: dict[str, int] = {}

    def varied(text: str) -> str:
        drawn[text] = drawn.get(text, 0) + 1
        return _honest(text).replace("seen twice", f"seen in {('two', 'three', 'four')[drawn[text] % 3]} places")

    with serving(varied) as teacher:
        _distil(data, tmp_path / "out", teacher, samples=6, keep=2, questions=3)
        _distil(data, tmp_path / "all", teacher, samples=2, keep=1, questions=3, keep_all=True)
    rows = folder.load(str(tmp_path / "out")).splits["train"]
    first = [sample.id for sample in open_data(str(data), None, None, 256).train[:3]]
    assert [sample.id for sample in rows] == [name for one in first for name in (one, f"{one}#2")]
    assert [a.group == b.group and a.explanation != b.explanation for a, b in zip(rows[::2], rows[1::2], strict=True)]
    everything = folder.load(str(tmp_path / "all")).splits["train"]
    assert [bool(sample.explanation) for sample in everything] == [True] * 3 + [False] * 13


def test_data_without_training_questions_are_refused(tmp_path: Path) -> None:
    source = _write(tmp_path / "data", [row | {"split": "test"} for row in _rows()])
    with serving(_honest) as teacher:
        with pytest.raises(DataError, match="no training questions"):
            _distil(source, tmp_path / "out", teacher)
        assert not teacher.requests
    assert not (tmp_path / "out").exists()


def test_the_source_is_never_overwritten(data: Path, tmp_path: Path) -> None:
    with serving(_honest) as teacher:
        for out, error in ((data, RunError), (data / "inner", DataError), (tmp_path, RunError)):
            with pytest.raises(error):
                _distil(data, out, teacher)
        _distil(data, tmp_path / "out", teacher, questions=2)
        with pytest.raises(DataError, match="folder of its source"):
            _distil(tmp_path / "out", tmp_path / "out", teacher)
        assert len(teacher.requests) == 4
    for out in (data, tmp_path / "out"):
        with pytest.raises(RunError, match="lowmed did not write it"):
            package.prepare("phantom", out)


def test_bad_arguments_are_refused_before_anything_is_sent_or_written(data: Path, tmp_path: Path) -> None:
    cases: list[dict[str, Any]] = [
        {},
        {"endpoint": "http://127.0.0.1:9/v1"},
        {"endpoint": "ftp://x/v1", "model": "m"},
        {"by": "nano", "probe": "p"},
        {"probe": tmp_path},
        {"probe": tmp_path, "rationalize": True},
        {"probe": tmp_path, "prompts": "reasoning"},
        {"by": "nano", "prompts": "direct"},
        {"by": "nano", "prompts": "resoning"},
        {"by": str(tmp_path)},
    ]
    for case in cases:
        with pytest.raises(LowmedError) as error:
            package.distil(str(data), tmp_path / "out", **case)
        assert len(str(error.value).splitlines()) == 3, case
    with pytest.raises(RecipeError, match="data folder"):
        package.distil("vqa-radd", tmp_path / "out", by="nano")
    assert not (tmp_path / "out").exists()


def test_a_dry_run_prints_bounds_and_sends_nothing(data: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    with serving(_honest) as teacher:
        record = _distil(
            data, tmp_path / "out", teacher, dry_run=True, rationalize=True, prices=(1.0, 1.0), log=lines.append
        )
        assert not teacher.requests
    assert (record.estimate.completions, record.estimate.rationalized) == (32, 32)
    assert record.estimate.completion_tokens == 64 * 256
    assert "32 completions; at most 32 more with the answer shown" in lines[0]
    assert "cost at most 0.02" in lines[0]
    assert record.result is None
    assert not (tmp_path / "out").exists()


def test_an_interrupted_distillation_resumes(data: Path, tmp_path: Path, start: Start, lowmed: Lowmed) -> None:
    reached, released = threading.Event(), threading.Event()
    left = iter(range(9))

    def blocking(text: str) -> str:
        if next(left, None) is None:
            reached.set()
            released.wait(60)
        return _honest(text)

    with serving(blocking) as teacher:
        served = ("--endpoint", teacher.url, "--model", "m", "--prompts", "text-reasoning")
        arguments = ("data", "distil", str(data), *served, "--samples", "2", "--out", "out")
        process = start(*arguments)
        assert reached.wait(60)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        released.set()
        assert process.returncode == 130, errors
        stored = len(read_jsonl(tmp_path / "out/completions/endpoint.sampled.jsonl"))
        assert 0 < stored < 32
        count = len(teacher.requests)
        done = lowmed(*arguments)
        assert done.returncode == 0, done.stderr
        assert f"{stored} are stored already" in done.stderr
        assert len(teacher.requests) - count == 32 - stored
    assert "16 of 16 have a kept completion" in done.stdout


def test_the_page_of_a_run_names_the_teacher_until_the_rows_change(data: Path, tmp_path: Path) -> None:
    with serving(_honest) as teacher:
        _distil(data, tmp_path / "out", teacher)
    recipe = load_recipe("rarl", ["data.source=folder", f"data.path={tmp_path / 'out'}"])
    run = create_run(recipe, "rarl", out=str(tmp_path / "run"))
    store_data(run.folder, for_recipe(recipe, filtered=False).split)
    expected = {"teacher": "m", "questions": 16, "of": 16, "rationalized": 0}
    assert data_summary(run)["distilled"] == expected
    assert "reasoning of the model m, kept where its answer was right: 16 of 16" in page.render(
        read(run), {}, data_summary(run)
    )
    samples = tmp_path / "out/samples.jsonl"
    assert teachers([tmp_path / "out", samples, data]) == ("m",)
    samples.write_text(samples.read_text() + "\n")
    assert data_summary(run)["distilled"] is None
    assert teachers([tmp_path / "out"]) == ()


def _probe(target: Path, source: Path) -> Path:
    """A stored probe of these data, as `lowmed probe` writes it."""
    data = open_data(str(source), None, None, 256)
    settings = eval_settings(
        ModelSpec(name="m"), prompt.family("reasoning"), data.questions, max_new_tokens=64, seen="", temperature=1.0
    )
    results_folder.open_folder(target, settings)
    condition = Condition(SAMPLED, "train", data.train, data.dataset.open_image, 2, 1.0)

    def answerer(
        samples: Sequence[Sample], open_image: OpenImage, *, copies: int, temperature: float
    ) -> Iterator[Completion]:
        del open_image, temperature
        for sample in samples:
            for _ in range(copies):
                yield Completion(sample, _honest(sample.question), 5, "stop")

    runner.run_conditions(target, "base", [condition], lambda: answerer, train=(), advance=lambda done, note: None)
    return target


def test_the_completions_of_a_probe_are_used_on_its_own_data_only(data: Path, tmp_path: Path) -> None:
    probe = _probe(tmp_path / "probe", data)
    record = package.distil(str(data), tmp_path / "out", probe=probe)
    assert record.result
    assert (record.teacher.kind, record.teacher.name, record.result.questions_kept) == ("probe", "m", 16)
    assert not (tmp_path / "out/completions").exists()
    assert (record.samples, record.questions, record.estimate.completions) == (2, 16, 0)
    other = _write(tmp_path / "other", [row | {"answer": "no"} for row in _rows()])
    with pytest.raises(RunError, match="other data"):
        package.distil(str(other), tmp_path / "out2", probe=probe)
    file = probe / "base.sampled.jsonl"
    row = json.loads(file.read_text().splitlines()[0]) | {"id": "q23"}  # a test question
    file.write_text(file.read_text() + json.dumps(row) + "\n")
    with pytest.raises(RunError, match="not trained on here"):
        package.distil(str(data), tmp_path / "out3", probe=probe)
    assert not (tmp_path / "out2").exists()
    assert not (tmp_path / "out3").exists()


def test_nano_teaches_itself_and_draws_other_completions_when_it_continues(tmp_path: Path) -> None:
    rows, images = [], {}
    for number, sample in enumerate(phantom.samples("train", 12)):
        row = {"id": sample.id, "question": sample.question, "answer": sample.answer, "kind": sample.kind}
        rows.append(row | {"options": list(sample.options), "images": [f"im{number}.png"]})
        images[f"im{number}.png"] = phantom.open_image(sample.images[0])
    source = _write(tmp_path / "data", rows)
    for name, image in images.items():
        image.save(source / name)
    arguments: dict[str, Any] = {"by": "nano", "questions": 4, "max_new_tokens": 60}
    record = package.distil(str(source), tmp_path / "out", samples=2, **arguments)
    assert record.result
    assert record.result.sampled.completions == 8
    more = package.distil(str(source), tmp_path / "out", samples=4, **arguments)
    assert more.result
    assert more.result.sampled.completions == 16
    stored = read_jsonl(tmp_path / "out/completions/base.sampled.jsonl")
    assert [row["completion"] for row in stored[:8]] != [row["completion"] for row in stored[8:]]
    data = folder.load(str(tmp_path / "out"))
    assert not data.rejected
    assert {split: len(samples) for split, samples in data.splits.items()} == more.result.rows
    with pytest.raises(RunError, match="other settings"):
        package.distil(str(source), tmp_path / "out", temperature=0.5, **arguments)


def test_generated_images_are_stored_with_the_pixels_that_a_run_would_see(tmp_path: Path) -> None:
    dataset = generated({"train": 6, "test": 3})
    digest = write(tmp_path, dataset, dataset.splits, {}, 256)
    stored = folder.load(str(tmp_path))
    card = prepared_folder.data_card(tmp_path)
    assert card
    assert (card.source, card.rows, card.images, card.samples_sha256) == ("phantom", {"test": 3, "train": 6}, 9, digest)
    for before, after in zip(dataset.samples, stored.samples, strict=True):
        assert before.explanation == after.explanation
        assert after.group == after.images[0]
        assert dataset.open_image(before.images[0]).convert("RGB").tobytes() == (
            stored.open_image(after.images[0]).convert("RGB").tobytes()
        )
