import gc
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest
from commands import Commands, Started, imported_under, in_new_process
from commands import server as commands_server
from playwright.sync_api import Browser, sync_playwright

Lowmed = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., Started]
SHARED = Path(__file__).parent.parent.parent / "shared"
FIXTURES = Path(__file__).parent / "fixtures"

hypothesis.settings.register_profile("without_times", deadline=None)  # a busy machine is not a failure
hypothesis.settings.load_profile("without_times")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background of a shell; every command would ignore it too
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # under nohup; a command inherits what is ignored, not a handler
    signal.signal(signal.SIGHUP, lambda number, frame: None)

# The modules of the tests import more than a million objects; a collection would look at all of them each time.
# Tests import more, and collect less often than usual.
gc.set_threshold(30_000, 10, 10)
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Collect what the imports have left, and never look at the imported objects again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Distribute tests among processes.

    First the tests that need much memory, before the processes of other tests take theirs. Then the modules with slow
    tests, one test at a time. Then all others, the shortest last, so that no process waits long for another one. A
    module without a slow test stays in one process, which makes its fixtures once.
    """
    modules = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    for item in items:
        if item.path not in slow and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(item.config.rootpath))))

    def place(item: pytest.Item) -> float:
        if any(marker.args == ("large",) for marker in item.iter_markers("xdist_group")):
            return -1
        return 0 if item.path in slow else 1 / modules[item.path]

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def user_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests out of the user's cache and configuration; one cache for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", os.environ.get("HF_HOME", str(Path.home() / ".cache/huggingface")))
        for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        yield


@contextmanager
def restored_environment() -> Iterator[None]:
    """Undo what is left in the environment, with which every later command would be a new process."""
    before = imported_under()
    yield
    for name in imported_under().keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="module", autouse=True)
def environment_of_module() -> Iterator[None]:
    """Undo what the fixtures of a module leave in the environment."""
    with restored_environment():
        yield


@pytest.fixture(autouse=True)
def environment_of_test() -> Iterator[None]:
    """Undo what a test leaves in the environment."""
    with restored_environment():
        yield


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    """A server that imports the libraries once for all commands of this process."""
    with commands_server() as running:
        yield running


@pytest.fixture
def start(commands: Commands, tmp_path: Path) -> Iterator[Start]:
    """Start the command in an empty folder."""
    yield lambda *arguments: commands.start(tmp_path, *arguments)
    commands.kill_running()


@pytest.fixture
def lowmed(commands: Commands, tmp_path: Path) -> Iterator[Lowmed]:
    """Run the command as a user would, in an empty folder."""
    yield lambda *arguments, **environment: commands.run(tmp_path, *arguments, **environment)
    commands.kill_running()


@pytest.fixture(scope="session")
def reseeded_commands() -> Iterator[Commands]:
    """A server whose sets have another order than those of `commands`."""
    with commands_server(PYTHONHASHSEED="1") as running:
        yield running


@pytest.fixture
def reseeded(reseeded_commands: Commands, tmp_path: Path) -> Iterator[Lowmed]:
    """The same with another hash seed, for a result that must not depend on it."""
    yield lambda *arguments, **environment: reseeded_commands.run(tmp_path, *arguments, **environment)
    reseeded_commands.kill_running()


@pytest.fixture
def new_process(tmp_path: Path) -> Lowmed:
    """The same with imports and a hash seed of its own."""
    return lambda *arguments, **environment: in_new_process(tmp_path, *arguments, **environment)


@pytest.fixture
def forked_scripts(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script of transformers and PEFT that this process starts is a fork, too; other scripts are new processes."""
    monkeypatch.setattr(sys, "executable", str(commands.python))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium of this machine without a window; it makes no connection of its own."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium; on Debian and Ubuntu: apt-get install chromium")
    quiet = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=quiet)
        yield running
        running.close()


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
