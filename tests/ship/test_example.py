"""The script that comes with every export runs where lowmed is not."""

import subprocess
import sys
from pathlib import Path

import pytest
from ship import finished

from lowmed import nano
from lowmed.nano import phantom
from lowmed.run import Run
from lowmed.ship import adapter as adapters
from lowmed.ship import base as bases
from lowmed.ship import folder, merge

WITHOUT_LOWMED = "import runpy, sys; sys.modules['lowmed'] = None; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished.run(tmp_path_factory.mktemp("example") / "run", strength=0.001)


@pytest.mark.slow
def test_the_merged_and_the_adapter_folder_answer_alike(run: Run, tmp_path: Path) -> None:
    tensors, adapter = bases.tensors(nano.folder()), adapters.read(str(run.folder))
    work = merge.Work(nano.folder(), tensors, adapter, adapters.targets(adapter, tensors), "original")
    merge.write(work, tmp_path / "merged", lambda done, note: None)
    folder.complete(run, nano.folder(), tmp_path / "merged", "merged")
    folder.complete(run, nano.folder(), tmp_path / "adapter", "adapter")
    for file in run.adapter.iterdir():
        (tmp_path / "adapter" / file.name).write_bytes(file.read_bytes())
    sample = phantom.samples("test", 1)[0]
    phantom.picture(sample.images[0]).save(tmp_path / "picture.png")
    said = []
    for form, more in (("merged", []), ("adapter", [str(nano.folder())])):
        script = tmp_path / form / "example.py"
        arguments = [str(script), str(tmp_path / "picture.png"), sample.question, *more]
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_LOWMED, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.strip())
    assert all(reply.startswith("<think>") and reply.endswith("</answer>") for reply in said), said


def test_the_scripts_are_short_and_know_nothing_of_lowmed() -> None:
    for form in ("merged", "adapter"):
        lines = Path(folder.__file__).with_name(f"example_{form}.py").read_text().splitlines()
        code = [line for line in lines[1:] if line]
        assert len([line for line in code if not line.startswith(("import ", "from "))]) <= 15
        assert not any(line.startswith(("import lowmed", "from lowmed")) for line in code)
