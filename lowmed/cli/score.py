"""`lowmed score`: anybody's stored completions graded by the same rules as ours."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lowmed.cli import options

Predictions = Annotated[
    Path, typer.Argument(metavar="PREDICTIONS.jsonl", help="One JSON object a line, see above.", show_default=False)
]
Out = Annotated[Path | None, typer.Option("--out", help="New folder for scored.jsonl and summary.json.")]


def score(predictions: Predictions, out: Out = None, as_json: options.Json = False) -> None:
    """Grade stored completions: no model, no images, no GPU.

    \b
    lowmed score predictions.jsonl                    the figures as a table
    lowmed score predictions.jsonl --out scored       and every row with its verdict
    lowmed score predictions.jsonl --json             the figures as JSON

    A line holds id, question, answer (option letter, option text, text, or a list of acceptable texts) and completion;
    and where there are: options (in shown order), kind (choice, closed, open or json), finish_reason, group, modality.

    \b
    {"id": "1", "question": "Is there an effusion?", "answer": "yes", "completion": "<answer>Yes.</answer>"}
    {"id": "2", "question": "Which?", "options": ["CT", "MRI"], "answer": "B", "completion": "It is an MRI."}

    A completion without one readable answer counts as unread, never as a guess: docs/reader.md has the rules.
    """
    from lowmed.errors import RunError
    from lowmed.evaluate.score import load, score_rows, summarize
    from lowmed.files import disk_errors, write_json, write_text

    if out and out.exists():
        raise RunError("the folder exists", str(out), "choose another --out, or remove it to score again")
    scored = list(score_rows(load(predictions), str(predictions)))
    summary = summarize(scored)
    if out:
        with disk_errors(out):
            out.mkdir(parents=True)
        lines = (json.dumps(row) + "\n" for row in scored)  # ASCII: a completion may hold what UTF-8 cannot
        write_text(out / "scored.jsonl", "".join(lines))
        write_json(out / "summary.json", summary)
    if as_json:
        print(json.dumps(summary))
    else:
        _table(summary)


def _table(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("", "n", "accuracy", "strict", "unread", "truncated", "token-F1"):
        table.add_column(title, justify="left" if not title else "right")
    cells = {"all": summary, **summary["by_kind"], **{f"  {name}": row for name, row in summary["by_modality"].items()}}
    for name, row in cells.items():
        shares = (row[key] for key in ("accuracy", "strict_accuracy", "unread_rate", "truncated_rate", "token_f1"))
        table.add_row(name, str(row["n"]), *("-" if share is None else f"{share:.4f}" for share in shares))
    console = Console()
    console.print(table)
    console.print("accuracy reads what can be read without guessing; strict wants one answer tag. Not for diagnosis.")
