"""Hook of mkdocs: a link that leaves docs/ becomes one to the repository, so that one text serves both."""

import posixpath
import re
from typing import Any

REPOSITORY = "https://github.com/lowmed/lowmed/blob/main/"
LINK = re.compile(r"\]\((\.\./[^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Rewrite the links of one page."""
    folder = posixpath.dirname(page.file.src_uri)

    def target(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, match[1]))
        return match[0] if path.startswith("docs/") else f"]({REPOSITORY}{path})"

    return LINK.sub(target, markdown)
