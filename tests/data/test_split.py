"""The split of a run: what it trains on and what it holds out."""

from dataclasses import replace

import pytest
from PIL import Image

from lowmed.data.dataset import DataSet, RejectedRow
from lowmed.data.split import HELD_OUT, evaluation_only, limited, split_data, training_questions_only, validate_split
from lowmed.data.validate import reads_back
from lowmed.errors import DataError
from lowmed.recipe import DataSpec
from lowmed.sample import Sample


def sample(number: int, image: str, group: str = "") -> Sample:
    return Sample(str(number), "Is it?", "yes", "closed", group or image, "test", images=(image,))


def dataset(test_images: list[str], rejected: int = 0) -> DataSet:
    train = tuple(sample(number, f"image-{number}") for number in range(40))
    test = tuple(sample(100 + number, image) for number, image in enumerate(test_images))
    broken = tuple(RejectedRow(f"line {number}", "no answer") for number in range(rejected))
    return DataSet("made", {"train": train, "test": test}, broken, lambda _: Image.new("RGB", (28, 28)))


def data(**changes: object) -> DataSpec:
    return DataSpec.model_validate({"source": "made", **changes})


def test_auto_uses_a_clean_published_split_and_splits_a_leaking_one_by_image() -> None:
    clean = split_data(dataset(["other-1", "other-2"]), data(split_by="auto"), 0)
    assert (len(clean.train), set(clean.held_out)) == (40, {"test"})
    leaking = split_data(dataset(["image-1", "other-2"]), data(split_by="auto"), 0)
    assert set(leaking.held_out) == {HELD_OUT, "test"}
    assert len(leaking.train) + len(leaking.held_out[HELD_OUT]) == 40


def test_auto_splits_by_image_if_the_official_split_shares_a_patient() -> None:
    made = dataset(["other-1"])
    test = (replace(made.splits["test"][0], group="image-3"),)
    data_split = split_data(replace(made, splits={**made.splits, "test": test}), data(split_by="auto"), 0)
    assert HELD_OUT in data_split.held_out


def test_a_split_by_image_keeps_a_held_out_part_that_shares_nothing() -> None:
    train = tuple(sample(number, f"{number}.png") for number in range(10))
    own = tuple(sample(number, f"{number}.png") for number in range(20, 23))
    parts = {"train": train, HELD_OUT: own, "test": (sample(30, "0.png"),)}
    made = DataSet("x", parts, (), lambda reference: Image.new("L", (8, 8)))
    for split_by in ("image", "auto"):
        split = split_data(made, data(split_by=split_by), seed=0)
        assert (split.train, split.held_out[HELD_OUT]) == (train, own)
        assert split.stamp("test")  # which shares an image with training
        assert split.images_in_train[HELD_OUT] == frozenset()
    leaking = replace(made, splits={**parts, HELD_OUT: (*own, sample(40, "1.png"))})
    again = split_data(leaking, data(split_by="image"), seed=0)
    assert len(again.train) < 10


def test_an_official_split_that_shares_images_is_refused_or_stamped() -> None:
    made = dataset(["image-1", "image-2", "other"])
    with pytest.raises(DataError, match="2 of the 3 test images of made also occur in its train split"):
        split_data(made, data(split_by="official"), 0)
    allowed = split_data(made, data(split_by="official", allow_shared_images=True), 0)
    assert "2 of them are trained on" in allowed.stamp("test")


def test_test_rows_are_never_trained_on() -> None:
    made = dataset(["image-1", "other"])
    for split_by in ("image", "auto"):
        data_split = split_data(made, data(split_by=split_by), 0)
        assert not {each.id for each in data_split.train} & {each.id for each in made.splits["test"]}


def test_broken_rows_are_refused_unless_a_share_of_them_is_allowed() -> None:
    made = dataset(["other"], rejected=4)
    with pytest.raises(DataError, match="4 of 45 rows") as caught:
        split_data(made, data(), 0)
    assert "and 1 more" in caught.value.where
    split_data(made, data(max_rejected=float(caught.value.fix.rpartition("=")[2])), 0)


def test_a_patient_on_both_sides_of_an_official_split_is_refused() -> None:
    made = dataset(["other-1"])
    splits = {name: (replace(part[0], group="patient-7"), *part[1:]) for name, part in made.splits.items()}
    spec = data(split_by="official")
    data_split = split_data(replace(made, splits=splits), spec, 0)
    with pytest.raises(DataError, match="training on these data would be wrong"):
        validate_split(data_split, spec)


@pytest.mark.parametrize("split_by", ["image", "auto"])
def test_a_published_part_states_the_patients_that_are_trained_on(split_by: str) -> None:
    made = dataset(["other-1", "other-2"])
    splits = {
        "train": tuple(
            replace(each, group="patient-7") if int(each.id) < 30 else each for each in made.splits["train"]
        ),
        "test": (replace(made.splits["test"][0], group="patient-7"), made.splits["test"][1]),
    }
    spec = data(split_by=split_by)
    for seed in range(4):
        data_split = split_data(replace(made, splits=splits), spec, seed)
        trained_on = any(each.group == "patient-7" for each in data_split.train)
        assert data_split.stamp("test") == "; 1 of its patients are trained on" * trained_on
        assert data_split.stamp(HELD_OUT) == ""
        assert validate_split(data_split, spec) == ("1 of 1 test groups are trained on",) * trained_on
        assert training_questions_only(data_split, 5).stamp("train") == ""


def test_a_limit_applies_to_each_held_out_part() -> None:
    data_split = limited(split_data(dataset(["a", "b", "c"]), data(max_train_questions=5), 0), 2)
    assert len(data_split.train) == 5
    assert len(data_split.held_out["test"]) == 2


def test_evaluation_only_uses_all_held_out_rows_and_states_published_sharing() -> None:
    data_split = evaluation_only(dataset(["image-1", "other"]))
    assert data_split.images_in_train["test"] == frozenset()
    assert "the published split shares 1 with train" in data_split.stamp("test")
    alone = evaluation_only(
        DataSet("made", {"train": dataset([]).splits["train"]}, (), lambda _: Image.new("RGB", (28, 28)))
    )
    assert set(alone.held_out) == {"all"}


def test_a_share_of_the_training_questions_is_reserved_for_dev() -> None:
    made = dataset(["other-1"])
    by_image = split_data(made, data(dev=0.1), 0)
    assert (len(by_image.train), len(by_image.dev), len(by_image.held_out[HELD_OUT])) == (28, 4, 8)
    published = split_data(made, data(dev=0.1, split_by="official"), 0)
    assert (len(published.train), len(published.dev), set(published.held_out)) == (36, 4, {"test"})
    for data_split in (by_image, published):
        ids = [sample_id for part in data_split.ids().values() for sample_id in part]
        assert len(ids) == len(set(ids)) == 41
        assert {row.id for row in data_split.rows if row.part == "dev"} == {each.id for each in data_split.dev}


def test_without_dev_the_split_is_the_same_as_before() -> None:
    assert split_data(dataset(["other"]), data(dev=0), 3).ids() == split_data(dataset(["other"]), data(), 3).ids()


def test_the_published_validation_part_becomes_dev_and_is_no_longer_evaluated() -> None:
    made = dataset(["other-1"])
    validation = (sample(200, "other-2"), replace(sample(201, "other-3"), modality="CT"))
    made = replace(made, splits={**made.splits, "validation": validation})
    data_split = split_data(made, data(dev="published"), 0)
    assert data_split.dev == validation
    assert set(data_split.held_out) == {HELD_OUT, "test"}
    assert set(split_data(made, data(), 0).held_out) == {HELD_OUT, "test", "validation"}
    with pytest.raises(DataError, match="no published part `validation`"):
        split_data(dataset(["other-1"]), data(dev="published"), 0)


def test_a_published_dev_part_with_training_images_is_refused() -> None:
    made = dataset(["other-1"])
    made = replace(made, splits={**made.splits, "validation": (sample(200, "image-1"),)})
    spec = data(dev="published", split_by="official")
    with pytest.raises(DataError, match="1 images of the published dev part of made are trained on"):
        split_data(made, spec, 0)


def test_a_published_dev_part_with_the_patient_of_a_training_row_is_refused() -> None:
    made = dataset(["other-1"])
    train = (replace(made.splits["train"][0], group="patient-7"), *made.splits["train"][1:])
    made = replace(made, splits={**made.splits, "train": train, "validation": (sample(200, "other-2", "patient-7"),)})
    spec = data(dev="published", split_by="official")
    with pytest.raises(DataError, match="1 of 1 dev groups are trained on"):
        validate_split(split_data(made, spec, 0), spec)


def test_a_test_part_that_shares_images_with_dev_states_it_in_every_table() -> None:
    made = dataset(["image-1", "image-2", "other"])
    stamps = {seed: split_data(made, data(dev=0.4), seed).stamp("test") for seed in range(8)}
    assert any("1 of its images or patients are in dev" in stamp for stamp in stamps.values()), stamps


@pytest.mark.parametrize("dev", [-0.1, 1, True, "test", float("nan")])
def test_dev_is_a_share_or_the_published_part(dev: object) -> None:
    with pytest.raises(ValueError, match="a share from 0 to below 1, or `published`"):
        data(dev=dev)
    with pytest.raises(ValueError, match="leave no question to train on"):
        data(dev=0.5, held_out=0.5)


def test_a_gold_answer_that_reads_back_does_not_vouch_for_another_one() -> None:
    """Equal golds are read once, but not golds of questions that are read differently."""
    ordered = replace(sample(1, "a"), kind="open", answer="skin, muscle", question="Which layers, from outside in?")
    assert reads_back(ordered)
    assert reads_back(replace(ordered, question="Which layers?"))
    blood = replace(sample(2, "a"), kind="choice", answer="A", options=("B", "A"))
    assert not reads_back(blood)  # the letter of one option is the text of the other
    assert reads_back(replace(blood, options=("A", "B")))
