"""`lowmed score`: parse options, grade, print."""

import json
from pathlib import Path
from typing import Annotated

import typer

from lowmed.cli import options

Predictions = Annotated[
    Path, typer.Argument(metavar="PREDICTIONS", help="JSON lines or a table, see above.", show_default=False)
]
Fields = Annotated[
    str | None,
    typer.Option("--map", metavar="FIELD=NAME,...", help="Names of the fields, e.g. answer=label,completion=predict"),
]
Out = Annotated[Path | None, typer.Option("--out", help="New directory for scored.jsonl and summary.json.")]


def score(predictions: Predictions, fields: Fields = None, out: Out = None, as_json: options.Json = False) -> None:
    """Grade stored completions without a model.

    \b
    lowmed score predictions.jsonl                    print a table
    lowmed score predictions.jsonl --out scored       also write every row with its grade
    lowmed score generated_predictions.jsonl --map question=prompt,answer=label,completion=predict
    lowmed score predictions.jsonl --json             print JSON

    A row holds id, question, answer (option letter, option text, text, or a list of acceptable texts) and completion.
    Optional: options (in the order shown), kind (choice, closed, open or json), finish_reason, group (image or
    patient), modality, strata (such as site and sex: --map strata=site+sex). Field names of LLaMA-Factory, ms-swift,
    lmms-eval and VLMEvalKit are recognized.

    \b
    {"id": "1", "question": "Is there an effusion?", "answer": "yes", "completion": "<answer>Yes.</answer>"}
    {"id": "2", "question": "Which?", "options": ["CT", "MRI"], "answer": "B", "completion": "It is an MRI."}

    A completion without exactly one readable answer counts as unread, never as a guess; docs/reader.md has the rules.
    """
    from lowmed.api import score as api

    summary = api.score(predictions, out, fields=options.parse_mapping(fields))
    if as_json:
        print(json.dumps(summary.as_json()))
        return
    from lowmed.report import score_table

    score_table.show(summary)
