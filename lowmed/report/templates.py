"""What all pages share: one self-contained HTML file each, one script of our own, and nothing from another address."""

import base64
import functools
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lowmed.report.console import interval, percent

SCRIPT = (Path(__file__).parent / "pages" / "page.js").read_text(encoding="utf-8")
_DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
# The script of a page is allowed by its digest, so that no text of data or models can act as one, even unescaped.
CONTENT_SECURITY_POLICY = Markup(  # noqa: S704  a digest
    f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{_DIGEST}'; "
    "base-uri 'none'; form-action 'none'"
)


def render(template: str, **content: Any) -> str:
    """Render a page. All text of models and data is escaped.

    Args:
        template: a file of `pages`.
        content: its variables.
    """
    return _environment().get_template(template).render(**content)


@functools.cache
def _environment() -> Environment:
    pages = Environment(
        loader=PackageLoader("lowmed.report", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"interval": interval, "percent": percent}
    # Safe: files of this package.
    pages.globals |= {"content_security_policy": CONTENT_SECURITY_POLICY, "script": Markup(SCRIPT)}  # noqa: S704
    return pages
