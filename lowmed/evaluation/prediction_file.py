"""Read stored completions of any tool: JSON lines or a table, with that tool's own field names.

Names are matched as `lowmed data prepare` matches columns: as the user maps them, else lowmed's own, else common names
of LLaMA-Factory (`prompt`, `predict`, `label`), ms-swift (`response`, `labels`, `messages`), lmms-eval (`doc`,
`target`, `filtered_resps`), VLMEvalKit (`index`, `A` to `D`, `prediction`) and others.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lowmed.data.ingest import cells, columns, tables
from lowmed.data.ingest.listed_options import listed_options
from lowmed.data.strata import check_strata
from lowmed.errors import DataError, RecipeError
from lowmed.evaluation.score import FIX
from lowmed.sample import LETTERS

ROWS_FOR_FIELDS = 50  # rows whose fields are collected before they are mapped
SHOWN_IDS = 5
_SHARED = ("question", "options", "id", "kind", "modality", "topic", "split")
# lowmed's field -> common names in other tools' files, in order of precedence. lowmed's own name is always first.
FIELD_NAMES: dict[str, tuple[str, ...]] = {
    "completion": (
        "completion", "prediction", "predict", "predicted", "pred", "model_response", "model_output", "model_answer",
        "model_prediction", "predicted_answer", "pred_answer", "answer_pred", "hypothesis", "raw_output",
        "raw_response", "generated_text", "generated", "generation", "filtered_resps", "resps", "predictions",
        "response", "output", "outputs", "text",
    ),
    "answer": (
        "answer", "gt_answer", "gold_answer", "correct_answer", "true_answer", "expected_answer", "reference_answer",
        "ground_truth", "groundtruth", "gold", "gold_label", "gt", "truth", "target", "targets", "reference",
        "references", "label", "labels", "solution", "answer_label", "answer_letter", "correct_option", "answer_idx",
        "response", "output",
    ),
    **{field: (field, *columns.COMMON_NAMES[field]) for field in _SHARED},
    "group": (*columns.COMMON_NAMES["group"], *columns.COMMON_NAMES["image"]),
    "finish_reason": ("finish_reason", "stop_reason"),
    "strata": ("strata",),
}  # fmt: skip
FIELD_NAMES["question"] += ("input", "question_text", "text")
FIELD_NAMES["id"] += ("doc_id", "idx")
FIELD_NAMES["group"] = tuple(name for name in FIELD_NAMES["group"] if name != "subject")  # a school subject elsewhere
_REQUIRED = ("question", "answer", "completion")
_TRUTHS = ("gt_answer", "ground_truth", "groundtruth", "gt")  # next to one of these, `answer` is the model's
_CHAT_PROMPT = re.compile(r"(?:<\|im_start\|>|^|\n)user\n(.*?)(?:<\|im_end\|>|\nassistant\n?$|$)", re.DOTALL)
_USERS = ("user", "human")
_MEDIA = re.compile(r"<\|(?:vision_start|vision_end|image_pad|video_pad)\|>|<image>")


@dataclass(frozen=True)
class Predictions:
    """Stored completions with lowmed's field names.

    Attributes:
        rows: the rows; fields under other names are kept in addition.
        fields: lowmed's field -> the file's field, where their names differ.
    """

    rows: tuple[dict[str, Any], ...]
    fields: Mapping[str, str]


def read_predictions(path: Path, mapping: Mapping[str, str] | None = None) -> Predictions:
    """Read a file of completions.

    Args:
        path: a .jsonl file, or a table that `lowmed data prepare` reads.
        mapping: lowmed's field -> the file's field, or "" to ignore the file's.

    Raises:
        DataError: the file is missing or empty, a line is damaged, a required field has no place, or an id repeats.
        RecipeError: the mapping names an unknown field.
    """
    rows = [_unfold(row) for row in load(path)]
    if not rows:
        raise DataError("the file holds no completion", str(path), "write one JSON object a line")
    names = list(dict.fromkeys(name for row in islice(rows, ROWS_FOR_FIELDS) for name in row))
    mapping = mapping or {}
    fields = _map_fields(names, mapping, path)
    if "group" in fields and "group" not in mapping and _is_constant(rows, fields["group"]):
        del fields["group"]
    without = "options" in fields or mapping.get("options") == ""
    option_columns = () if without else columns.option_columns(names)
    result = []
    for number, row in enumerate(rows, 1):
        try:
            result.append(_convert(row, fields, option_columns, number))
        except ValueError as error:
            raise DataError(str(error), f"{path}:{number}", "correct the row, or set its fields with --map") from None
    _refuse_repeated_ids(result, path)
    check_strata((tuple(row.get("strata", {}).items()) for row in result), str(path))
    renamed = {field: name for field, name in fields.items() if field != name}
    if option_columns:
        renamed["options"] = "+".join(option_columns)
    return Predictions(tuple(result), renamed)


def load(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSON-lines file or a table.

    Raises:
        DataError: the file is missing, or a line is not one JSON object.
    """
    if not path.is_file():
        raise DataError("the file does not exist", str(path), "name a file with one JSON object a line")
    if path.suffix.lower() in tables.SUFFIXES and path.suffix.lower() not in (".jsonl", ".ndjson"):
        for location, row in tables.read_table(path):
            if isinstance(row, str):
                raise DataError(row, f"{path.parent / location.file}:{location.line}", "correct the row")
            yield dict(row)
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except (ValueError, RecursionError) as error:
                what = "the line is empty" if not line.strip() else f"the line is not JSON in UTF-8: {error}"
                raise DataError(what, f"{path}:{number}", "write one JSON object a line") from None
            if not isinstance(row, dict):
                raise DataError("the line is not a JSON object", f"{path}:{number}", FIX)
            yield row


def _unfold(row: dict[str, Any]) -> dict[str, Any]:
    """The row with the fields of lmms-eval's `doc`, and the question of a chat's `messages`, unless it has its own."""
    document = row.get("doc")
    if isinstance(document, dict):
        row = {**document, **row}
    turns = row.get("messages", row.get("conversations"))
    if isinstance(turns, list) and "question" not in row and (question := _last_question(turns)):
        row = {**row, "question": question}
    return row


def _last_question(turns: list[Any]) -> str:
    """The text of the user's last turn; "" if there is none."""
    questions = [turn for turn in turns if isinstance(turn, dict) and turn.get("role", turn.get("from")) in _USERS]
    return _message_text(questions[-1].get("content", questions[-1].get("value"))) if questions else ""


def _message_text(content: Any) -> str:
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _map_fields(names: Sequence[str], mapping: Mapping[str, str], path: Path) -> dict[str, str]:
    example = "--map question=prompt,answer=label,completion=predict"
    for field, name in mapping.items():
        if field not in FIELD_NAMES:
            raise RecipeError(f"`{field}` is not a field of a completion", "--map", f"use {', '.join(FIELD_NAMES)}")
        if name and not set(columns.split_columns(field, name, names)) <= set(names):
            raise RecipeError(
                f"the rows have no field `{name}`; they have {', '.join(names)}",
                f"--map {field}={name}",
                f"e.g. {example}",
            )
    fields = {field: name for field, name in mapping.items() if name}
    by_plain_name = {columns.plain_name(name): name for name in reversed(names)}
    for field, common in FIELD_NAMES.items():
        if field in mapping:
            continue
        candidates = [field] if field in names else [by_plain_name[one] for one in common if one in by_plain_name]
        free = [name for name in candidates if name not in fields.values()]
        if free:
            fields[field] = free[0]
    truth = next((by_plain_name[name] for name in _TRUTHS if name in by_plain_name), None)
    if truth and fields.get("completion") != "completion" and fields.get("answer") == "answer" and not mapping:
        fields = {"completion": "answer", **fields, "answer": truth}
    missing = [field for field in _REQUIRED if field not in fields]
    if missing:
        unplaced = [name for name in names if name not in fields.values()]
        what = f"no field of the rows holds the {' or the '.join(missing)}"
        placed = ", ".join(f"{field}={name}" for field, name in fields.items()) or "none"
        where = f"{path}\nplaced: {placed}\nnot placed: {', '.join(unplaced) or 'none'}"
        raise DataError(what, where, f"name the fields with --map, e.g. {example}")
    return fields


def _is_constant(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a field has one value in several rows, such as the name of the file that holds them all."""
    return len(rows) > 1 and len({str(row.get(name)) for row in rows}) == 1


def _convert(
    row: Mapping[str, Any], fields: Mapping[str, str], option_columns: Sequence[str], number: int
) -> dict[str, Any]:
    """The row with lowmed's fields; a field that the row lacks stays absent."""
    values = {field: row[name] for field, name in fields.items() if name in row}
    result = {**row, "id": str(number), **values}
    if "completion" in values:
        result["completion"] = _text_of(values["completion"])
    if isinstance(result.get("question"), list):
        result["question"] = _last_question(result["question"])
    elif fields["question"] != "question" and isinstance(result.get("question"), str):
        result["question"] = _bare_prompt(result["question"])
    if fields["answer"] != "answer":
        result["answer"] = _single(result.get("answer"))
    options = cells.labelled([cells.text(row.get(name)) for name in option_columns])
    if isinstance(values.get("options"), str | dict):
        options = cells.options(values["options"])
    if options.texts:
        result["options"] = list(options.texts)
        label = str(result.get("answer")).strip().upper()
        if label in options.labels and options.labels != tuple(LETTERS[: len(options.labels)]):
            result["answer"] = options.texts[options.labels.index(label)]
    if "kind" in fields and fields["kind"] != "kind":
        result["kind"] = _kind(result)
    if strata := columns.row_strata(row, fields.get("strata", "")):
        result["strata"] = dict(strata)
    else:
        result.pop("strata", None)
    if "group" in values:
        result["group"] = _group(values["group"])
    for field in ("group", "kind", "modality", "topic"):
        if field in result and (result[field] is None or result[field] == ""):
            del result[field]
    return result


def _single(value: Any) -> Any:
    """The value inside nested lists of one, as lmms-eval writes them."""
    while isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return value


def _text_of(value: Any) -> Any:
    """A completion as text: out of lists of one, a number written out; anything else is returned as it is."""
    value = _single(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _bare_prompt(prompt: str) -> str:
    """The user's last turn of a prompt with its chat template; a prompt without one as it is."""
    turns = _CHAT_PROMPT.findall(prompt)
    return str(_MEDIA.sub("", turns[-1] if turns else prompt)).strip() or prompt


def _kind(row: Mapping[str, Any]) -> str | None:
    """The kind by another tool's label, such as CLOSED or OPEN; None to infer it."""
    label, gold = row.get("kind"), row.get("answer")
    if not isinstance(label, str) or not isinstance(gold, str) or row.get("options"):
        return None
    if listed_options(str(row.get("question"))):
        return None
    return cells.kind(label, gold, ())


def _group(value: Any) -> str | None:
    """The image or patient as one text; None for a value that names none, such as the bytes of an image."""
    value = _single(value)
    if isinstance(value, dict):
        value = value.get("path")
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return " ".join(value)
    return str(value) if isinstance(value, str | int) else None


def _refuse_repeated_ids(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    counts = Counter((str(row.get("split", "")), str(row["id"])) for row in rows)
    repeated = [name for (_, name), count in counts.items() if count > 1]
    if repeated:
        left = f" and {len(repeated) - SHOWN_IDS} more" if len(repeated) > SHOWN_IDS else ""
        raise DataError(
            f"{len(repeated)} ids occur more than once",
            f"{path}: {', '.join(repeated[:SHOWN_IDS])}{left}",
            "keep one completion per question, or number the rows with `--map id=`",
        )
