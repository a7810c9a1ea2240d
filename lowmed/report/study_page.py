"""The page of a study: one self-contained HTML file without scripts."""

from lowmed.report import study_rows
from lowmed.report.console import NOTICE, interval
from lowmed.report.escape import CONTENT_SECURITY_POLICY
from lowmed.study.records import StudyRecord


def study_page(record: StudyRecord) -> str:
    """Render the page of a study. All text of studies and data is escaped; the page has no script."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("lowmed.report", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["interval"] = interval
    return pages.get_template("study.html").render(
        content_security_policy=CONTENT_SECURITY_POLICY,
        study=record,
        parts=study_rows.parts(record),
        unfinished=study_rows.unfinished(record),
        versions=study_rows.versions(record.runs),
        rows=study_rows,
        notice=NOTICE,
    )
