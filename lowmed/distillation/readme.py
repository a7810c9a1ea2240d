"""README.md of a distilled data set."""

from lowmed.distillation.records import DistilRecord, SamplingCounts

_CAUTION = """
Only rows of `train` differ from the source. Their stratum `distilled` is `sampled`, or `rationalized` if the prompt
showed the answer. All other splits are those of the source.

A right answer does not show that its reasoning is right, or that it comes from the image. Compare `lowmed eval` with
its control that shows another image. Questions that the teacher did not answer right are missing, so the others are
easier than the source. The license is that of the source; the license of the teacher may restrict training on its
completions.

Research data; not for clinical use.
"""


def readme(record: DistilRecord) -> str:
    """The page: teacher, settings, counts, and what they do not show.

    Args:
        record: a record with its result.
    """
    result, teacher = record.result, record.teacher
    assert result is not None
    limit = f"at most {record.max_new_tokens} tokens"
    facts = {
        "source": f"`{record.source}`, digest {record.data_digest[:12]}",
        "teacher": f"`{teacher.name}`{_details(record)}",
        "prompts": f"`{record.prompts}`, digest {record.prompt_digest}",
        "prompt with the answer": record.hint_digest and f"digest {record.hint_digest}",
        "sampling": f"{record.samples} completions a question, temperature {record.temperature:g}, {limit}",
        "kept": f"at most {record.keep} a question",
        "questions": f"{result.questions:,}; {result.questions_kept:,} of them with a kept completion",
        "rows": ", ".join(f"{split} {rows:,}" for split, rows in result.rows.items()),
        "cost": None if result.cost is None else f"{result.cost:.4f}, in the currency of the prices",
        "lowmed": f"{record.lowmed}, answer rules {record.answer_rules}",
    }
    table = ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in facts.items() if value)]
    head = ["# Distilled data set", "", "Written by `lowmed data distil`: explanations are reasoning of a teacher.", ""]
    parts = [*head, *table, "", *_counts("Completions of the questions as they are", result.sampled)]
    if result.rationalized:
        parts += ["", *_counts("Completions with the gold answer shown", result.rationalized)]
    return "\n".join(parts) + "\n" + _CAUTION


def _details(record: DistilRecord) -> str:
    teacher = record.teacher
    adapter = teacher.adapter_sha256 and teacher.adapter_sha256[:12]
    details = {"at": teacher.host, "revision": teacher.revision, "adapter": adapter}
    return "".join(f", {name} {value}" for name, value in details.items() if value)


def _counts(title: str, counts: SamplingCounts) -> list[str]:
    every = max(counts.completions, 1)
    rows = {"all": counts.completions, "right": counts.right, "kept": counts.kept}
    rows |= {f"dropped: {why}": number for why, number in counts.dropped.items()}
    return [
        f"## {title}",
        "",
        "| completions | | share |",
        "| --- | --- | --- |",
        *(f"| {name} | {number:,} | {number / every:.3f} |" for name, number in rows.items()),
        "",
        f"Tokens: prompts {counts.prompt_tokens or 'not counted'}, completions {counts.completion_tokens}.",
    ]
