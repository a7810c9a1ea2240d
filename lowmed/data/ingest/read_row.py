"""Convert a row of a table to a raw sample: the one reader behind every container and every form of a record."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lowmed.answer import limits
from lowmed.answer.report import require_words
from lowmed.data.ingest import cells, golds, placeholders
from lowmed.data.ingest.boxes import BoxUnit
from lowmed.data.ingest.columns import SPLITS, Columns, row_strata
from lowmed.data.ingest.conversations import Turn
from lowmed.data.ingest.golds import chosen_option
from lowmed.data.ingest.image_cells import ImageReader
from lowmed.data.ingest.listed_options import ListedOptions, listed_options, one_line, read_listed
from lowmed.data.ingest.raw_sample import ImageRoot, ImageSource, RawSample, RowLocation
from lowmed.errors import RecipeError
from lowmed.sample import PLACEHOLDER, Turns

REPORT_QUESTION = "Write a radiology report of this image."
INSTRUCTION_CUT = "an instruction how to answer was removed from the question"


class RowReader:
    """Reads the rows of one table."""

    def __init__(
        self,
        columns: Columns,
        root: ImageRoot,
        source: str,
        split: str = "train",
        *,
        image_optional: bool = False,
        boxes: BoxUnit | None = None,
        group_pattern: str | None = None,
    ) -> None:
        """Set up the reader.

        Args:
            columns: the column mapping.
            root: where the images are.
            source: the source's name in the samples.
            split: the split of a row that names none.
            image_optional: whether a row with an empty image cell is a question without an image.
            boxes: unit of the boxes in questions and answers.
            group_pattern: regular expression of the patient in an image's path; its first group, if it has one.

        Raises:
            RecipeError: it is not a regular expression, or the table has a column of patients.
        """
        self.boxes = boxes
        self.group_pattern = _compiled(group_pattern, columns) if group_pattern else None
        self.columns, self.source, self.split, self.image_optional = columns, source, split, image_optional
        self.images = ImageReader(root)

    def read(self, row: Mapping[str, Any], location: RowLocation) -> RawSample:
        """Convert a row.

        Args:
            row: the row.
            location: where the row is; names an image that a cell holds.

        Raises:
            ValueError: a text is destroyed, images are missing or differ in number from their placeholders, the answer
                matches none of the options, or it is a letter without options.
        """
        cell = {field: row.get(column) for field, column in self.columns.by_field.items()}
        label = cells.text(cell.get("kind")) or self.columns.kind
        row_id = cells.plain(cell.get("id"))
        images = self.images.read(cell.get("image"), str(location), row_id) if "image" in cell else []
        history, question, images = self._place(row, cell, images)
        read = _read_texts(row, cell, self.columns, question, label)
        split_name = cells.plain(cell.get("split"))
        lower, upper = cells.text(cell.get("lower")), cells.text(cell.get("upper"))
        unit, tolerance = cells.text(cell.get("unit")), cells.text(cell.get("tolerance"))
        if tolerance:
            if lower or upper:
                raise ValueError("it has limits and a tolerance; leave one of them out")
            lower, upper = limits(read.answer, unit, tolerance)
        return replace(
            read,
            kind=cells.kind(label or ("number" if lower and upper else ""), read.answer, read.options),
            images=tuple(images),
            split=SPLITS.get(split_name.casefold(), split_name) or self.split,
            id=row_id,
            group=self._group(cell),
            modality=cells.plain(cell.get("modality")),
            topic=cells.plain(cell.get("topic")),
            unit=unit,
            lower=lower,
            upper=upper,
            strata=row_strata(row, self.columns.by_field.get("strata", "")),
            source=self.source,
            history=history,
            boxes=self.boxes,
            conversation=row.conversation if isinstance(row, Turn) else "",
            notes=(*read.notes, *(row.notes if isinstance(row, Turn) else ())),
        )

    def _group(self, cell: Mapping[str, Any]) -> str:
        if self.group_pattern is None:
            return cells.plain(cell.get("group"))
        match = self.group_pattern.search(str(cell.get("image") or ""))
        if match is None:
            raise ValueError("the path of its image does not match --group-pattern")
        return match[1] if self.group_pattern.groups and match[1] else match[0]

    def _place(
        self, row: Mapping[str, Any], cell: Mapping[str, Any], images: list[ImageSource]
    ) -> tuple[Turns, str, list[ImageSource]]:
        """The earlier turns, the question with its line ends, and the images up to it, each at its place."""
        history = cells.turns(cell.get("history"))
        default = REPORT_QUESTION if self.columns.kind == "report" else ""
        users = (*(user for user, _ in history), cells.lines(cell.get("question")) or default)
        number = len(history)
        if isinstance(row, Turn):
            users, number = row.users, len(row["history"])
        marked = any(map(placeholders.marks_images, users))
        if "image" in cell and not images and (not self.image_optional or marked):
            raise ValueError("no image")
        option_cells = [cell.get("options"), *(row.get(name) for name in self.columns.option_columns)]
        everywhere = placeholders.place_images(users, len(images), " ".join(map(str, option_cells)))
        placed = everywhere[: number + 1]
        if any(PLACEHOLDER in text for text in everywhere):
            images = images[: sum(text.count(PLACEHOLDER) for text in placed)]
        if not history:  # of a conversation whose earlier turns are left out, all images come first
            earlier_images = sum(text.count(PLACEHOLDER) for text in placed[:-1])
            placed = (placed[-1].replace(PLACEHOLDER, " ") if earlier_images else placed[-1],)
        *earlier, question = placeholders.images_first(placed)
        answers = (assistant for _, assistant in history)
        return tuple(zip(map(one_line, earlier), answers, strict=True)), question, images


def _compiled(pattern: str, columns: Columns) -> re.Pattern[str]:
    if "group" in columns.by_field:
        column = columns.by_field["group"]
        raise RecipeError(
            f"the table has patients in its column `{column}`", "--group-pattern", "remove it, or state --map group="
        )
    try:
        return re.compile(pattern)
    except re.error as error:
        raise RecipeError(
            f"not a regular expression: {error}", f"--group-pattern {pattern}", "write e.g. 'patient[0-9]+'"
        ) from None


def _read_texts(
    row: Mapping[str, Any], cell: Mapping[str, Any], columns: Columns, question: str, label: str
) -> RawSample:
    """Question, answers, options and explanation of a row; the kind is not determined yet."""
    if label.casefold() == "report":
        return _read_report(cell, question)
    dates = label.casefold() == "date"
    answers = golds.gold_texts(cell.get("answer"), dates=dates)
    letters = golds.gold_texts(cell.get("letter"), dates=dates)
    if not dates:
        for text in answers:
            cells.require_no_made_date(text)
    options = cells.options(cell["options"]) if cell.get("options") is not None else cells.Options()
    if columns.option_columns:
        options = cells.labelled([cells.text(row.get(name)) for name in columns.option_columns])

    def names_an_option(listed: ListedOptions) -> bool:
        if options.texts:
            return listed.options == options.texts
        return _names_one(letters or answers, listed, is_letter=bool(letters))

    question, listed, instruction = read_listed(question, names_an_option)
    if listed and not options.texts:
        if listed.text_after:
            raise ValueError(f"text follows the last option in the question: {listed.text_after[:60]}")
        options = cells.Options(listed.options, listed.labels)
    if options.texts:
        answer = chosen_option(letters or answers, options, is_letter=bool(letters))
        if letters and answers and answers[0] in options.texts and answers[0] != answer:
            raise ValueError("the letter and the text of the answer name two options")
        answers = (answer,)
    else:
        answers = answers or letters
        if any(map(golds.is_lone_letter, answers)) and listed_options(question):
            raise ValueError("the answer is none of the options in the question")
        golds.require_no_lone_letter(answers)
        golds.require_agreement(answers)
    thought = golds.split_tags(str(cell["answer"]))[1] if isinstance(cell.get("answer"), str) else ""
    return RawSample(
        question=question,
        answer=placeholders.without_marks(answers[0]) if answers else "",
        kind="open",
        options=tuple(map(placeholders.without_marks, options.texts)),
        accepted=tuple(map(placeholders.without_marks, answers[1:])),
        explanation=cells.text(_explanation(cell.get("explanation"))) or thought,
        notes=(INSTRUCTION_CUT,) if instruction else (),
    )


def _read_report(cell: Mapping[str, Any], question: str) -> RawSample:
    """A question for a report, which keeps its lines.

    Raises:
        ValueError: the report is empty, or has only marks of de-identification.
    """
    report = placeholders.without_marks(golds.split_tags(cells.lines(cell.get("answer")))[0])
    require_words(report)
    return RawSample(
        question=one_line(question),
        answer="\n".join(line.strip() for line in report.splitlines()).strip(),
        kind="report",
        explanation=cells.text(_explanation(cell.get("explanation"))),
    )


def _explanation(cell: Any) -> Any:
    """An explanation cell, which may repeat the answer in tags: the reasoning of it."""
    thought = golds.split_tags(cell)[1] if isinstance(cell, str) else ""
    return thought or cell


def _names_one(answers: tuple[str, ...], listed: ListedOptions, *, is_letter: bool) -> bool:
    """Whether the gold answers name options of this list; several right ones are refused later."""
    try:
        chosen_option(answers, cells.Options(listed.options, listed.labels), is_letter=is_letter)
    except ValueError as error:
        return str(error) == golds.SEVERAL
    return True
