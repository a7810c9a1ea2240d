import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Lowmed = Callable[..., subprocess.CompletedProcess[str]]
SHARED = Path(__file__).parent.parent.parent / "shared"
FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session", autouse=True)
def user_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests out of the user's cache and configuration; one cache for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", os.environ.get("HF_HOME", str(Path.home() / ".cache/huggingface")))
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        yield


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
    """A part of the real VQA-RAD: all rows of 60 images."""
    return FIXTURES / "vqa-rad"


@pytest.fixture
def whole_vqa_rad() -> Path:
    """The complete VQA-RAD, where it is available."""
    folder = SHARED / "data" / "vqa-rad"
    if not folder.is_dir():
        pytest.skip("the real VQA-RAD is not at ../shared/data/vqa-rad")
    return folder
