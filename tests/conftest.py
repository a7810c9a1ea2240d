import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Lowmed = Callable[..., subprocess.CompletedProcess[str]]
SHARED = Path(__file__).parent.parent.parent / "shared"


@pytest.fixture
def lowmed(tmp_path: Path) -> Lowmed:
    """Run the command as a user would, in an empty folder."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lowmed", *arguments],
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def vqa_rad() -> Path:
    """The real VQA-RAD, where it is at hand."""
    folder = SHARED / "data" / "vqa-rad"
    if not folder.is_dir():
        pytest.skip("the real VQA-RAD is not at ../shared/data/vqa-rad")
    return folder
