"""The adapter's model card: README.md with a Hugging Face metadata block, rendered from the run's records."""

import functools
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined, Template

from lowmed.data.sources import KNOWN
from lowmed.evaluation.records import EvalReport, SplitReport
from lowmed.report.console import NOTICE, interval
from lowmed.report.escape import code, markdown
from lowmed.report.report_rows import LABELS, NOT_APPLICABLE, report_rows
from lowmed.report.run_report import RunReport

TEMPLATE = Path(__file__).parent / "card.md.jinja"
UNKNOWN_LICENSE = "unknown to lowmed; ask the provider of the data"


def render(content: RunReport) -> str:
    """Render the card as Markdown; texts of data and models are escaped."""
    spec = content.recipe.data
    sources = {name: KNOWN.get(entry.source) for name, entry in zip(spec.names, spec.entries, strict=True)}
    body = _template().render(
        run=content.run,
        recipe=content.recipe,
        evaluations=list(content.evaluations.values()),
        licenses=[(name, source.license if source else UNKNOWN_LICENSE) for name, source in sources.items()],
        citations=[(name, source.citation) for name, source in sources.items() if source],
        embedded=content.recipe.model.name == "nano",
        judged=any(report.judged for report in content.evaluations.values()),
        notice=NOTICE,
        report_rows=report_rows,
        not_applicable=NOT_APPLICABLE,
    )
    return f"---\n{yaml.safe_dump(metadata(content), sort_keys=False, allow_unicode=True)}---\n\n{body}"


@functools.cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"interval": interval, "md": markdown, "code": code}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def metadata(content: RunReport) -> dict[str, Any]:
    """The metadata block; unknown fields are left out."""
    recipe = content.recipe
    result: dict[str, Any] = {
        "library_name": "peft",
        "pipeline_tag": "image-text-to-text",
        "tags": ["lowmed", "lora", recipe.method.kind, "medical", "visual-question-answering"],
    }
    if "/" in recipe.model.name and not recipe.model.name.startswith((".", "/")):
        result["base_model"] = recipe.model.name
    if content.evaluations:
        results = [
            _result(report, split, part)
            for report in content.evaluations.values()
            for split, part in report.splits.items()
            if "tuned" in part.results
        ]
        result["model-index"] = [{"name": str(content.run.name), "results": results}]
    return result


def _result(report: EvalReport, split: str, part: SplitReport) -> dict[str, Any]:
    tuned = part.results["tuned"]
    stamp = " (shares images with training)" if part.images_trained_on else ""
    return {
        "task": {"type": "visual-question-answering"},
        "dataset": {"name": f"{report.source} {split}{stamp}", "type": report.source, "split": split},
        "metrics": [
            {
                "type": "accuracy",
                "name": f"{name} accuracy, 95 % {interval(accuracy.by_image)}, n={part.questions}",
                "value": round(accuracy.accuracy, 4),
            }
            for name, accuracy in (("strict", tuned.strict), ("lenient", tuned.lenient))
            if accuracy
        ]
        + [
            {
                "type": kind,
                "name": f"{LABELS[name]} of reports, 95 % {interval(estimate.by_image)}, n={tuned.reports.reports}",
                "value": round(estimate.value, 4),
            }
            for name, kind in (("rouge_l", "rouge"), ("google_bleu", "google_bleu"), ("f1", "f1"))
            if tuned.reports and (estimate := getattr(tuned.reports.written, name))
        ],
    }
