"""Which column of a table is what: as the user says, else as the usual names have it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lowmed.data.ingest import cells
from lowmed.data.ingest.raw_sample import ImageRoot, RawSample, RowLocation
from lowmed.errors import RecipeError

# Our name to the usual ones, in the order in which they win.
COMMON_NAMES: dict[str, tuple[str, ...]] = {
    "image": (
        "images", "image", "image_path", "image_paths", "image_file", "image_name", "img", "imgs", "img_path",
        "img_name", "figure_path", "picture", "dicom", "file_name", "filename", "file", "path",
    ),
    "question": ("question", "query", "problem", "prompt", "instruction", "q"),
    "answer": ("short_answer", "answer", "gt_answer", "gold", "solution", "target", "output", "response", "a"),
    "letter": (
        "answer_label", "answer_letter", "correct_option", "correct_answer_label", "label", "correct", "answer_idx",
    ),
    "options": ("options", "choices", "candidates"),
    "id": ("id", "qid", "question_id", "sample_id", "uid", "index"),
    "group": ("group", "patient_id", "patientid", "patient", "subject_id", "subject", "case_id", "study_id"),
    "split": ("split", "partition", "subset"),
    "kind": ("kind", "answer_type", "question_kind"),
    "explanation": ("explanation", "rationale", "reasoning", "reason", "long_answer", "cot"),
    "modality": ("modality", "modality_type", "image_modality"),
    "topic": ("topic", "question_type", "content_type", "category"),
}  # fmt: skip
SPLITS = {
    "train": "train", "training": "train", "dev": "validation", "val": "validation", "valid": "validation",
    "validate": "validation", "validation": "validation", "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """Our name of each column to theirs; `options` may be several columns, one an option."""

    by_name: Mapping[str, str]
    option_columns: tuple[str, ...]
    guessed: frozenset[str]

    def describe(self) -> str:
        """What was taken for what, as one line."""
        told = [f"{ours}={theirs}{'?' * (ours in self.guessed)}" for ours, theirs in self.by_name.items()]
        if self.option_columns:
            told.append(f"options={'+'.join(self.option_columns)}?")
        return "  ".join(told)


def map_columns(names: Iterable[str], given: Mapping[str, str]) -> Columns:
    """The columns of a table that has these names; `given` maps our name to theirs, or to "" for none.

    Raises:
        RecipeError: a given name is not ours or not a column, or no column holds the questions or the answers.
    """
    there = list(names)
    fix = (
        f"say it with --map, e.g. --map question={there[0] if there else 'column'}; ours are {', '.join(COMMON_NAMES)}"
    )
    shown = f"the table has {', '.join(there) or 'no columns'}"
    for ours, theirs in given.items():
        if ours not in COMMON_NAMES:
            raise RecipeError(f"`{ours}` is not a field that a column can be mapped to", "--map", fix)
        if theirs and theirs not in there:
            raise RecipeError(f"there is no column `{theirs}`; {shown}", f"--map {ours}={theirs}", fix)
    taken = set(given.values())
    by_lower = {_plain(name): name for name in reversed(there) if name not in taken}
    guessed = {
        ours: next(by_lower[name] for name in usual if name in by_lower)
        for ours, usual in COMMON_NAMES.items()
        if ours not in given and any(name in by_lower for name in usual)
    }
    if "letter" in guessed and "answer" not in guessed and "answer" not in given and guessed["letter"] == "label":
        guessed["answer"] = guessed.pop("letter")  # a lone `label` is a text as often as a letter
    by_name = {ours: theirs for ours in COMMON_NAMES if (theirs := given.get(ours) or guessed.get(ours, ""))}
    by_name = {ours: theirs for ours, theirs in by_name.items() if given.get(ours) != ""}
    if "question" not in by_name or not {"answer", "letter"} & by_name.keys():
        lacking = "question" if "question" not in by_name else "answer"
        raise RecipeError(f"no column is known to hold the {lacking}; {shown}", "the table's columns", fix)
    result = () if "options" in by_name or given.get("options") == "" else _option_columns(there)
    return Columns(by_name, result, frozenset(guessed))


def to_raw_sample(
    row: Mapping[str, Any], columns: Columns, shelf: ImageRoot, where: RowLocation, source: str, split: str = "train"
) -> RawSample:
    """A table's row as a question.

    Raises:
        ValueError: it has no question or answer, no image where the table has a column of them, or a gold that is not
            among its options.
    """
    cell = {ours: row.get(theirs) for ours, theirs in columns.by_name.items()}
    question = cells.text(cell.get("question")).replace("<image>", "").strip()
    choices = cells.options(cell["options"]) if cell.get("options") is not None else ()
    if columns.option_columns:
        texts = (cells.text(row.get(name)) for name in columns.option_columns)
        choices = cells.without_letters(option for option in texts if option)
    written, bare = cells.lettered_options(question)
    if written and (not choices or written == choices):
        question, choices = (bare, written) if bare else (question, choices or written)
    answer = cells.text(cell.get("letter")) or cells.text(cell.get("answer"))
    if choices:
        answer = cells.gold(answer, choices, is_letter=bool(cells.text(cell.get("letter"))))
    shown = cell.get("image")
    images = [shown] if isinstance(shown, dict) else cells.listed(shown, ";|") if "image" in cell else []
    if "image" in cell and not images:
        raise ValueError("no image")
    named = cells.text(cell.get("split"))
    return RawSample(
        question=question,
        answer=answer,
        kind=cells.kind(cells.text(cell.get("kind")), answer, choices),
        images=tuple(shelf.picture(one, f"{where.file}:{where.line}-{at}") for at, one in enumerate(images)),
        split=SPLITS.get(named.casefold(), named) or split,
        id=cells.text(cell.get("id")),
        group=cells.text(cell.get("group")),
        options=choices,
        explanation=cells.text(cell.get("explanation")),
        modality=cells.text(cell.get("modality")),
        topic=cells.text(cell.get("topic")),
        source=source,
    )


def _plain(name: str) -> str:
    return "_".join(name.strip().casefold().replace("-", " ").split())


def _option_columns(names: list[str]) -> tuple[str, ...]:
    """Columns that hold one option each: `option_a`, `Choice B`, `opc`, or plain `A`, `B`, `C`."""
    for prefix in ("option_", "choice_", "option", "choice", "op", "opt_", ""):
        result = []
        for letter in "abcdefghij":
            column = next((name for name in names if _plain(name) == prefix + letter), None)
            if column is None:
                break
            result.append(column)
        if len(result) > 1:
            return tuple(result)
    return ()
