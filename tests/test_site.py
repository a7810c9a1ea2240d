"""The documentation site: it builds without a warning, loads nothing from the network, and describes the public API."""

import os
import re
import subprocess
import sys
from pathlib import Path

import lowmed

ROOT = Path(__file__).parent.parent
# What a browser would load when it opens a page; plain links are not loaded.
LOADED = re.compile(
    r'<(?:script|img|iframe)[^>]*\ssrc="?(https?:[^"\s>]+)|<link[^>]*rel="?(?:stylesheet|preconnect)[^>]*https?:'
)


def test_the_site_builds_and_loads_nothing_from_the_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 40
    assert [page.name for page in pages if LOADED.search(page.read_text(encoding="utf-8"))] == []


def test_the_reference_lists_every_public_name() -> None:
    listed = re.findall(r"^::: lowmed\.\S*?(\w+)$", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(name for name in lowmed.__all__ if name != "__version__")
