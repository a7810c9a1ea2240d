"""The tables of a study in LaTeX, with the rules of the package booktabs."""

import re
from collections.abc import Iterable

from lowmed.report import study_rows
from lowmed.report.console import NOTICE, interval
from lowmed.study.records import StudyRecord

MARK = "% lowmed study"
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    '"': "''", "|": r"\textbar{}", "`": r"\textasciigrave{}",
}  # fmt: skip
_CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")


def study_latex(record: StudyRecord) -> str:
    r"""Two tables: accuracies and differences, each row with its questions, images and seeds.

    The document needs `\usepackage{booktabs}`. All text of studies and data is escaped.
    """
    head = [
        f"{MARK}: {_line(record.about)}",
        f"% digest of all inputs {record.digest}",
        r"% needs \usepackage{booktabs}",
    ]
    head += [f"% not in the tables: {run.arm}, seed {run.seed} ({run.status})" for run in study_rows.unfinished(record)]
    caption = (
        f"{escape(record.about.rstrip('.'))}. {record.grade.capitalize()} accuracy. In brackets: "
        f"{escape(study_rows.BY_IMAGE)}. {escape(NOTICE)} Inputs: {record.digest[:16]}."
    )
    parts = study_rows.parts(record)
    lines = [*head, *_table("lllllrrl", caption, "study", _accuracies(parts))]
    if record.comparisons:
        about = f"Differences, second minus first. {escape(study_rows.TEST)}. Inputs: {record.digest[:16]}."
        lines += ["", *_table("llllllrrl", about, "study-differences", _comparisons(parts))]
    return "\n".join(lines) + "\n"


def escape(text: object) -> str:
    """A text as LaTeX that prints it; it cannot run a command."""
    return "".join(_SPECIAL.get(character, character) for character in _line(text))


def _line(text: object) -> str:
    return _CONTROLS.sub(" ", str(text))


def _table(columns: str, caption: str, name: str, rows: Iterable[str]) -> list[str]:
    begin = [r"\begin{table}", r"\centering", r"\small", rf"\caption{{{caption}}}", rf"\label{{tab:{name}}}"]
    end = [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return [*begin, rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *rows, *end]


def _row(cells: Iterable[str]) -> str:
    text = " & ".join(cells)
    return ("{}" if text.startswith(("[", "*")) else "") + text + r" \\"  # else an argument of the row break before it


def _heading(part: study_rows.Part, columns: int) -> list[str]:
    title = f"{part.source}, {part.split}" + (f": {part.seen}" if part.seen else "")
    warning = f"; {part.stamp}" if part.stamp else ""
    return [r"\midrule", rf"\multicolumn{{{columns}}}{{l}}{{\emph{{{escape(title + warning)}}}}} \\"]


def _accuracies(parts: Iterable[study_rows.Part]) -> list[str]:
    head = ("arm", "prompts", "accuracy, by image", "each seed", "over seeds", "questions", "images", "seeds")
    lines = [_row(head)]
    for part in parts:
        lines += _heading(part, len(head))
        for row in part.accuracies:
            figures = (
                f"{row.accuracy:.3f} {interval(row.by_image)}",
                study_rows.seeds_text(row),
                study_rows.over_seeds_text(row),
                *study_rows.counted(row),
            )
            lines.append(_row([escape(study_rows.label(row.arm)), escape(row.prompts), *map(_figure, figures)]))
    return lines


def _comparisons(parts: Iterable[study_rows.Part]) -> list[str]:
    head = (
        "comparison", "prompts", "difference, by image", "$p$, Holm", "each seed", "over seeds", "questions", "images",
        "seeds",
    )  # fmt: skip
    lines = [_row(head)]
    for part in parts:
        if part.comparisons:
            lines += _heading(part, len(head))
        for row in part.comparisons:
            prompts = row.prompts if row.first_prompts == row.prompts else f"{row.prompts} - {row.first_prompts}"
            figures = (
                f"{row.difference:+.3f} {interval(row.by_image)}",
                study_rows.p_text(row.p_holm),
                study_rows.seeds_text(row, "+"),
                study_rows.over_seeds_text(row),
                *study_rows.counted(row),
            )
            mark = "*" if row.settings_differ else ""
            lines.append(_row([escape(row.label) + mark, escape(prompts), *map(_figure, figures)]))
    if any(row.settings_differ for part in parts for row in part.comparisons):
        lines.append(r"\multicolumn{9}{l}{* different settings; only the shared questions are compared} \\")
    return lines


def _figure(text: str) -> str:
    """A text of numbers, with minus signs for hyphens before digits."""
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", escape(text))
