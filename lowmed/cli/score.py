"""`lowmed score`: parse options, grade, print."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowmed.cli import options

if TYPE_CHECKING:
    from lowmed.evaluation.records import ScoreSummary

Predictions = Annotated[
    Path, typer.Argument(metavar="PREDICTIONS.jsonl", help="One JSON object a line, see above.", show_default=False)
]
Out = Annotated[Path | None, typer.Option("--out", help="New directory for scored.jsonl and summary.json.")]


def score(predictions: Predictions, out: Out = None, as_json: options.Json = False) -> None:
    """Grade stored completions without a model.

    \b
    lowmed score predictions.jsonl                    print a table
    lowmed score predictions.jsonl --out scored       also write every row with its grade
    lowmed score predictions.jsonl --json             print JSON

    A line holds id, question, answer (option letter, option text, text, or a list of acceptable texts) and completion.
    Optional: options (in the order shown), kind (choice, closed, open or json), finish_reason, group, modality.

    \b
    {"id": "1", "question": "Is there an effusion?", "answer": "yes", "completion": "<answer>Yes.</answer>"}
    {"id": "2", "question": "Which?", "options": ["CT", "MRI"], "answer": "B", "completion": "It is an MRI."}

    A completion without exactly one readable answer counts as unread, never as a guess; docs/reader.md has the rules.
    """
    from lowmed.api import score as api

    summary = api.score(predictions, out)
    if as_json:
        print(json.dumps(summary.as_json()))
    else:
        _show(summary)


def _show(summary: "ScoreSummary") -> None:
    from rich.console import Console
    from rich.table import Table

    from lowmed.report.field_table import field_rows

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("", "n", "accuracy", "strict", "unread", "truncated", "token F1"):
        table.add_column(heading, justify="left" if not heading else "right")
    modalities = {f"  {name}": cell for name, cell in summary.by_modality.items()}
    for name, cell in {"all": summary, **summary.by_kind, **modalities}.items():
        shares = (cell.accuracy, cell.strict_accuracy, cell.unread_rate, cell.truncated_rate, cell.token_f1)
        table.add_row(name, str(cell.n), *("-" if share is None else f"{share:.4f}" for share in shares))
    console = Console()
    console.print(table)
    if summary.fields:
        console.print(f"fields of {summary.fields.documents} JSON answers, 95 % bootstrap over groups")
    for label, cells in field_rows([summary.fields]):
        console.print(f"  {label:<36}{cells[0]}")
    console.print("accuracy: every answer that can be read without guessing. strict: answers in exactly one tag.")
    console.print("Research figures; not a diagnostic device, not for clinical use.")
