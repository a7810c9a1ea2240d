"""The model card of an adapter: README.md with the Hugging Face metadata block, made from the run's own record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from lowmed.data.sources import KNOWN
from lowmed.report import eval_table
from lowmed.report.record import Record

TEMPLATE = Path(__file__).parent / "card.md.jinja"
UNKNOWN_LICENCE = "not known to lowmed; ask whoever gave you the data"


def render(record: Record) -> str:
    """The card as one Markdown text; names and texts of data and models are escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["interval"] = eval_table.interval
    source = KNOWN.get(record.recipe.data.source)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    body = template.render(
        run=record.run,
        recipe=record.recipe,
        evaluations=list(record.evaluations.values()),
        licence=source.licence if source else UNKNOWN_LICENCE,
        citation=source.citation if source else "",
        embedded=record.recipe.model.name == "nano",
        judged=any(report["judged"] for report in record.evaluations.values()),
        notice=eval_table.NOTICE,
    )
    return f"---\n{yaml.safe_dump(metadata(record), sort_keys=False, allow_unicode=True)}---\n\n{body}"


def metadata(record: Record) -> dict[str, Any]:
    """The metadata block; what is not known is left out rather than guessed."""
    recipe = record.recipe
    result: dict[str, Any] = {
        "library_name": "peft",
        "pipeline_tag": "image-text-to-text",
        "tags": ["lowmed", "lora", recipe.method.kind, "medical", "visual-question-answering"],
    }
    if "/" in recipe.model.name and not recipe.model.name.startswith((".", "/")):
        result["base_model"] = recipe.model.name
    if record.evaluations:
        results = [
            _result(report, split, part)
            for report in record.evaluations.values()
            for split, part in report["splits"].items()
            if "tuned" in part["results"]
        ]
        result["model-index"] = [{"name": str(record.run["name"]), "results": results}]
    return result


def _result(report: Mapping[str, Any], split: str, part: Mapping[str, Any]) -> dict[str, Any]:
    tuned = part["results"]["tuned"]
    stamp = " (shares images with training)" if part["images_trained_on"] else ""
    return {
        "task": {"type": "visual-question-answering"},
        "dataset": {"name": f"{report['source']} {split}{stamp}", "type": report["source"], "split": split},
        "metrics": [
            {
                "type": "accuracy",
                "name": f"{name} accuracy, 95 % {eval_table.interval(tuned[name]['by_image'])}, n={part['questions']}",
                "value": round(tuned[name]["accuracy"], 4),
            }
            for name in ("strict", "lenient")
        ],
    }
