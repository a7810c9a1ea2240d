"""Boxes in answers: what is read, how boxes overlap, and coordinates that come back to the same pixel."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed.boxes import (
    MAX_BOXES,
    Box,
    all_right,
    boxes_text,
    gold_mistake,
    iou,
    matched,
    on_grid,
    parse_boxes,
)

LIVER = Box((1.0, 2.0, 3.0, 4.0), "liver")
SPLEEN = Box((5.0, 6.0, 7.0, 8.0), "spleen")


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ('[{"bbox_2d": [1, 2, 3, 4], "label": "liver"}]', (LIVER,)),
        ('{"bbox_2d": [1, 2, 3, 4], "label": " liver "}', (LIVER,)),
        ('```json\n[{"bbox": [1.0, 2, 3, 4], "name": "liver"}]\n```', (LIVER,)),
        ("[1, 2, 3, 4]", (Box((1, 2, 3, 4)),)),
        ("[[1, 2, 3, 4], [5, 6, 7, 8]]", (Box((1, 2, 3, 4)), Box((5, 6, 7, 8)))),
        ("<|object_ref_start|>liver<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>", (LIVER,)),
        ("liver(1,2),(3,4) spleen(5, 6), (7, 8)", (LIVER, SPLEEN)),
        ("(1,2),(3,4)", (Box((1, 2, 3, 4)),)),
        ("[]", ()),
        ("None.", ()),
        ("no lesion", ()),
    ],
)
def test_boxes_are_read_in_the_forms_that_models_write(text: str, boxes: tuple[Box, ...]) -> None:
    assert parse_boxes(text) == (boxes, "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no_boxes"),
        ("upper left", "no_boxes"),
        ("The box is [1, 2, 3, 4]", "no_boxes"),
        ("It is not in (1,2),(3,4)", "no_boxes"),
        ("(1,2),(3,4) or (5,6),(7,8)", "no_boxes"),
        ("[1, 2, 3]", "no_boxes"),
        ("[true, 1, 2, 3]", "no_boxes"),
        ('["1", "2", "3", "4"]', "no_boxes"),
        ("[NaN, 1, 2, 3]", "no_boxes"),
        ("[1, 2, 3, 1e999]", "no_boxes"),
        ('{"bbox_2d": [1, 2, 3, 4], "box": [1, 2, 3, 4]}', "no_boxes"),
        ('[{"bbox_2d": [1, 2, 3, 4], "label": 7}]', "no_boxes"),
        ('[{"bbox_2d": [1, 2, 3, 4]}, "none"]', "no_boxes"),
        ("[3, 4, 1, 2]", "bad_box"),
        ("[1, 2, 1, 4]", "bad_box"),
        ("(3,4),(1,2)", "bad_box"),
        (str([[0, 0, 1, 1]] * (MAX_BOXES + 1)), "too_many_boxes"),
        ("[" * 100_000, "no_boxes"),
        ("(1,2)" + " " * 50_000, "no_boxes"),
        ("[" + "1" * 5000 + ",1,2,3]", "no_boxes"),
    ],
)
def test_other_texts_are_not_boxes(text: str, problem: str) -> None:
    assert parse_boxes(text) == (None, problem)


@given(st.text(alphabet='[]{}()",.:- 0123456789bbox_2dlabelnone<|>', max_size=80))
def test_any_text_is_read_or_refused_without_an_exception(text: str) -> None:
    boxes, problem = parse_boxes(text)
    assert (boxes is None) == bool(problem)


@given(
    st.tuples(st.integers(1, 2000), st.integers(1, 2000)).flatmap(
        lambda size: st.tuples(
            st.just(size),
            st.integers(0, size[0] - 1).flatmap(lambda x: st.tuples(st.just(x), st.integers(x + 1, size[0]))),
            st.integers(0, size[1] - 1).flatmap(lambda y: st.tuples(st.just(y), st.integers(y + 1, size[1]))),
        )
    ),
    st.sampled_from([(1000, 1000), (448, 588)]),
)
def test_a_box_comes_back_within_one_unit_of_the_grid(
    case: tuple[tuple[int, int], tuple[int, int], tuple[int, int]], grid: tuple[int, int]
) -> None:
    size, (left, right), (top, bottom) = case
    [written] = on_grid([Box((left, top, right, bottom))], size, grid)
    assert all(value == int(value) for value in written.corners)
    assert written.corners[0] < written.corners[2]
    assert written.corners[1] < written.corners[3]
    assert min(written.corners) >= 0
    assert written.corners[2] <= grid[0]
    assert written.corners[3] <= grid[1]
    back = written.scaled(size[0] / grid[0], size[1] / grid[1])
    for at, (before, after) in enumerate(zip((left, top, right, bottom), back.corners, strict=True)):
        unit = size[at % 2] / grid[at % 2]
        assert abs(before - after) <= max(1.0, unit) * (1 + 1e-9)


@pytest.mark.parametrize("size", [(84, 84), (333, 517), (999, 1000), (1000, 641)])
def test_thousandths_bring_every_pixel_of_a_usual_image_back_exactly(size: tuple[int, int]) -> None:
    for left in range(size[0] - 1):
        [written] = on_grid([Box((left, 0, left + 1, size[1]))], size, (1000, 1000))
        back = written.scaled(size[0] / 1000, size[1] / 1000)
        assert tuple(map(round, back.corners)) == (left, 0, left + 1, size[1])


def test_overlap_is_the_intersection_over_the_union() -> None:
    first, second = Box((0, 0, 2, 2)), Box((1, 1, 3, 3))
    assert iou(first, second) == pytest.approx(1 / 7)
    assert iou(first, first) == 1.0
    assert iou(first, Box((2, 0, 4, 2))) == 0.0
    assert iou(first.scaled(3, 5), second.scaled(3, 5)) == pytest.approx(1 / 7)


def test_each_predicted_box_counts_for_one_gold_box() -> None:
    gold = [Box((0, 0, 10, 10)), Box((1, 1, 11, 11))]
    assert sum(matched(gold, [Box((0, 0, 10, 10))])) == 1.0
    assert matched(gold, list(reversed(gold))) == [1.0, 1.0]
    assert matched(gold, []) == [0.0, 0.0]
    assert matched([], gold) == []


def test_labels_decide_where_gold_boxes_have_several() -> None:
    gold = [Box((0, 0, 10, 10), "left lung"), Box((20, 0, 30, 10), "right lung")]
    exchanged = [Box((0, 0, 10, 10), "right lung"), Box((20, 0, 30, 10), "left lung")]
    assert all_right(gold, gold)
    assert not all_right(gold, exchanged)
    assert all_right(gold[:1], [Box((0, 0, 10, 10))])
    assert not all_right(gold[:1], [])
    assert not all_right(gold[:1], [Box((0, 0, 10, 10)), Box((20, 0, 30, 10))])


@pytest.mark.parametrize(
    ("text", "size", "word"),
    [
        ("[0, 0, 10, 10]", (0, 0), "unknown"),
        ("[0, 0, 11, 10]", (10, 10), "outside"),
        ("[-1, 0, 5, 10]", (10, 10), "outside"),
        ("[5, 0, 1, 10]", (10, 10), "exchanged"),
        ("a lesion", (10, 10), "not a list of boxes"),
        ('[{"bbox_2d": [0, 0, 1, 1], "label": "a"}, [0, 0, 1, 1]]', (10, 10), "others have none"),
    ],
)
def test_gold_boxes_that_cannot_be_right_are_named(text: str, size: tuple[int, int], word: str) -> None:
    assert word in gold_mistake(text, size)


def test_boxes_are_written_as_they_are_read() -> None:
    boxes = (LIVER, Box((0.5, 1.25, 3.0, 4.0), "ü"))
    assert parse_boxes(boxes_text(boxes)) == (boxes, "")
