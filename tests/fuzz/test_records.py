"""Any record in any form is a question, or rejected with a reason; nothing else is raised."""

from pathlib import Path
from typing import Any

from fuzz.mutate import search
from hypothesis import given
from hypothesis import strategies as st

from lowmed.data.ingest import columns, records, tables
from lowmed.data.ingest.answer_instructions import cut_instruction
from lowmed.data.ingest.boxes import fit_boxes, has_boxes
from lowmed.data.ingest.detect import ROWS_FOR_COLUMNS
from lowmed.data.ingest.listed_options import listed_options
from lowmed.data.ingest.placeholders import images_first, place_images
from lowmed.data.ingest.raw_sample import ImageRoot, RowLocation
from lowmed.data.ingest.read_row import RowReader
from lowmed.errors import RecipeError

PIECES = (
    "<image>", "<image 1>", "<image 2>", "<|vision_start|><|image_pad|><|vision_end|>", "<|im_end|>", "A) CT B) MRI",
    "a. x b. y", "1) 2) 3)", "(A)", "[1, 2, 3, 4]", "(1,2),(3,4)", "<answer>A</answer>", "<think>", "\\boxed{", "#N/A",
    "A,C", "B", "yes", "Answer with a letter.", "data:image/png;base64,", "iVBORw0KGgo" + "A" * 60, "[{", "\0",
    "\ud800",
    "04-Mar", "中文、。", "\n", "{}" * 5, "-" * 40, "1" * 30,
)  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=5).map(" ".join)
plain = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=9)
block_keys = st.sampled_from(
    ["type", "text", "image", "image_url", "url", "content", "value", "source", "data", "path"]
)
cells = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(block_keys, inner, max_size=3),
    max_leaves=8,
)
roles = st.sampled_from(["user", "human", "assistant", "gpt", "system", "tool", "", "model"])
messages = st.lists(
    st.fixed_dictionaries({}, optional={"role": roles, "from": roles, "content": cells, "value": cells}), max_size=5
)
names = st.sampled_from(
    ["image", "images", "image_1", "question", "answer", "solution", "label", "options", "option_a", "option_b", "id",
     "kind", "split", "history", "prompt", "completion", "reward_model", "instruction", "input", "explanation"]
)  # fmt: skip
rows = st.builds(
    lambda fields, key, talk: {**fields, **({key: talk} if key else {})},
    st.dictionaries(names, cells, max_size=8),
    st.sampled_from(["", "messages", "conversations", "prompt"]),
    messages,
)


@search(150)
@given(st.lists(rows, min_size=1, max_size=3))
def test_any_record_is_a_question_or_rejected_with_a_reason(raw: list[dict[str, Any]]) -> None:
    questions = [question for row in raw for question in records.questions(row)]
    usable = [question for question in questions if not isinstance(question, str)][:ROWS_FOR_COLUMNS]
    assert all(question for question in questions if isinstance(question, str))
    try:
        mapped = columns.map_columns(tables.column_names((RowLocation("t"), row) for row in usable), {})
    except RecipeError:
        return
    reader = RowReader(mapped, ImageRoot(Path("/missing")), "own")
    for number, row in enumerate(usable):
        try:
            sample = reader.read(row, RowLocation("t", number))
        except ValueError as error:
            assert str(error)
            continue
        assert sample.kind != "choice" or sample.answer in sample.options


@search(150)
@given(texts, st.integers(0, 4))
def test_any_text_of_a_question_is_read(text: str, images: int) -> None:
    cut_instruction(text, with_options=True)
    assert all(len(listed.options) > 1 and all(listed.options) for listed in listed_options(text))
    try:
        placed = place_images([text, text], images)
    except ValueError:
        return
    assert sum(part.count("<image>") for part in images_first(placed)) in (0, images) or images == 0


@search(150)
@given(texts, texts, st.sampled_from([None, "pixels", "relative", "thousandths"]))
def test_any_box_is_scaled_or_refused(question: str, answer: str, unit: Any) -> None:
    if has_boxes(question, answer):
        try:
            [fitted] = fit_boxes([answer], question, unit, [((100, 100), (50, 50))])
        except ValueError:
            return
        assert fitted
