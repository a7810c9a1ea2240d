"""Training as a function: what is refused before a model is loaded."""

from pathlib import Path

import pytest
from data.made import jsonl, make_image, row, save_images

import lowmed
from lowmed.data import for_recipe
from lowmed.data.run_identity import store_data
from lowmed.run import create_run


def test_a_run_that_does_not_record_its_data_is_not_resumed(tmp_path: Path) -> None:
    recipe = lowmed.load_recipe("rarl-sft", nano=True)
    run = create_run(recipe, "changed", out=str(tmp_path / "run"))
    run.update(status="stopped", data_digest="0" * 64)
    with pytest.raises(lowmed.LowmedError, match="does not say which data it was trained on"):
        lowmed.resume_training(run)
    assert run.record.status == "stopped"


def test_a_finished_run_and_another_recipe_are_refused(tmp_path: Path) -> None:
    recipe = lowmed.load_recipe("rarl-sft", nano=True)
    run = create_run(recipe, "taken", out=str(tmp_path / "run"))
    with pytest.raises(lowmed.LowmedError, match="has another recipe"):
        lowmed.train(lowmed.load_recipe("rarl", nano=True), run.folder, resume=True)
    run.update(status="finished")
    with pytest.raises(lowmed.LowmedError, match="the run is finished"):
        lowmed.resume_training(run)
    assert lowmed.train(recipe, run.folder, resume=True) == run


def test_the_changed_rows_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    save_images(folder, *(f"{number}.png" for number in range(20)))
    lines = [row(number, "", images=[f"{number}.png"], kind="closed") for number in range(20)]
    table = jsonl(folder / "samples.jsonl", *({k: v for k, v in line.items() if k != "image"} for line in lines))
    text = table.read_text()
    recipe = lowmed.load_recipe(
        "rl-plain", ["data.source=folder", f"data.path={folder}", "data.split_by=image"], nano=True
    )
    run = create_run(recipe, "changed", out=str(tmp_path / "run"))
    data_split = for_recipe(recipe).split
    run.update(status="stopped", data_digest=data_split.digest)
    store_data(run.folder, data_split)
    first, *others = text.splitlines(keepends=True)
    make_image(99).save(folder / "5.png")
    table.write_text("".join(others).replace("a mass, 7?", "a nodule, 7?") + first.replace("q0", "q20"))
    with pytest.raises(lowmed.LowmedError, match="the data have changed since this run started") as caught:
        lowmed.resume_training(run)
    assert caught.value.where.splitlines()[1:] == [
        "1 row with another question, answer or other text: q7",
        "1 row with other images: q5",
    ]


def test_a_resumed_run_on_changed_data_says_so_in_every_later_table(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    names = [f"{number}.png" for number in range(30)]
    save_images(folder, *names)
    rows = [
        {
            "id": str(number),
            "images": [name],
            "question": "Is it?",
            "answer": "yes" if number % 2 else "no",
            "kind": "closed",
        }
        for number, name in enumerate(names)
    ]
    jsonl(folder / "samples.jsonl", *rows)
    keys = [
        "method.max_steps=2",
        "method.prompts_per_step=2",
        "method.num_generations=2",
        "method.max_completion_length=8",
    ]
    recipe = lowmed.load_recipe(
        "rl-plain",
        ["data.source=folder", f"data.path={folder}", "data.split_by=image", "eval.max_new_tokens=8", *keys],
        nano=True,
    )
    run = lowmed.train(recipe, tmp_path / "run", max_minutes=0)
    assert run.record.status == "stopped"
    jsonl(folder / "samples.jsonl", *rows[3:])
    with pytest.raises(lowmed.LowmedError, match="the data have changed"):
        lowmed.resume_training(run)
    resumed = lowmed.resume_training(run, allow_changed_data=True)
    assert resumed.record.status == "finished"
    [report] = lowmed.evaluate(run, controls=0)
    assert "the data changed; " in report.splits["held-out"].stamp
    jsonl(folder / "samples.jsonl", *rows[4:])
    with pytest.raises(lowmed.LowmedError, match="not the data that the run was trained on"):
        lowmed.evaluate(run, controls=0)
    [report] = lowmed.evaluate(run, controls=0, allow_changed_data=True, out=tmp_path / "out")
    assert "the data changed; " in report.splits["held-out"].stamp
