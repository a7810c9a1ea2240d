"""The modules of its folder that a custom reward imports are approved with it, and no other one is executed."""

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Lowmed as Command

import lowmed
from lowmed.errors import RecipeError, RunError
from lowmed.files import config_folder
from lowmed.rewards import build, code_changes, code_digests
from lowmed.rewards.local_code import read_reward_code
from lowmed.rewards.trust import FILE
from lowmed.rewards.weighted import Weighted
from lowmed.sample import Sample

SAMPLE = Sample(id="1", question="Which side?", answer="left", kind="open", group="1", source="made")
TOUCH = 'from pathlib import Path\nPath(__file__).with_name("executed").touch()\n'
REWARD = """from lowmed.rewards import Score
{top}
def side(sample, completion):
    {inside}
    return Score(1.0, "")
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path / "own")


def write(**files: str) -> None:
    for name, text in files.items():
        file = Path(name.replace("__", "/") + ".py")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)


def reward(top: str = "", inside: str = "pass") -> str:
    return REWARD.format(top=top, inside=inside)


def loaded() -> Weighted:
    [built] = build([("own.py:side", 1.0, {})])
    return built


def executed() -> bool:
    return bool(list(Path().rglob("executed")))


IMPORTS = {
    "a module": ("import helper", ["helper.py"]),
    "a name of it": ("from helper import x", ["helper.py"]),
    "all names": ("from helper import *", ["helper.py"]),
    "in a try": ("try:\n    import helper\nexcept ImportError:\n    helper = None", ["helper.py"]),
    "by its name": ("from importlib import import_module\nimport_module('helper')", ["helper.py"]),
    "a folder without __init__": ("import loose.part", ["loose/part.py"]),
    "a package": ("import package.part", ["package/part.py", "package/__init__.py", "package/inner.py"]),
    "a part of it": ("from package import part", ["package/part.py", "package/__init__.py", "package/inner.py"]),
}


@pytest.mark.parametrize("within", ["the file", "the function"])
@pytest.mark.parametrize("case", IMPORTS)
def test_what_a_reward_imports_is_approved_with_it(case: str, within: str) -> None:
    text, names = IMPORTS[case]
    inside = text.replace("\n", "\n    ").replace("import *", "import x")
    write(
        own=reward(top=text) if within == "the file" else reward(inside=inside),
        helper=TOUCH + "x = 1",
        loose__part=TOUCH,
        package__part=TOUCH + "from . import inner",
        package__inner=TOUCH,
        unrelated="",
    )
    Path("package/__init__.py").touch()
    assert sorted(read_reward_code(Path("own.py"), "").digests()) == sorted(["own.py", *names])
    with pytest.raises(RecipeError, match="not been approved"):
        loaded()
    lowmed.trust_reward("own.py")
    assert not executed()
    built = loaded()
    assert built(SAMPLE, "left").value == 1.0
    assert executed()
    [digests] = code_digests([built])
    assert sorted(digests) == sorted(["own.py", *names])
    assert not {"helper", "package", "package.part", "loose"} & set(sys.modules)
    Path(names[0]).write_text("changed = 1\n")
    changes = code_changes([digests], [spec("own.py:side")])
    assert changes == [f"{names[0]} has changed, a module of own.py"]
    with pytest.raises(RecipeError, match=r"has changed since it was approved") as raised:
        loaded()
    assert raised.value.fix.endswith("lowmed rewards trust own.py")


def spec(name: str) -> "lowmed.methods.RewardSpec":
    from lowmed.methods import RewardSpec

    return RewardSpec(name=name)


HIDDEN = {
    "a name put together": "import importlib\n{}importlib.import_module('hel' + 'per')",
    "__import__ under another name": "get = __import__\n{}get('helper')",
    "its own path": "import sys\n{0}sys.path.insert(0, 'sub')\n{0}exec('import below')",
}


@pytest.mark.parametrize("within", ["the file", "the function"])
@pytest.mark.parametrize("case", HIDDEN)
@pytest.mark.parametrize("on_path", [False, True])
def test_an_import_that_the_text_hides_is_refused_before_it_is_executed(
    case: str, within: str, on_path: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, *([str(Path.cwd())] if on_path else [])])
    write(helper=TOUCH, sub__below=TOUCH)
    text = HIDDEN[case]
    indented = text.replace("\n", "\n    ").format("")
    write(own=reward(top=text.format("")) if within == "the file" else reward(inside=indented))
    lowmed.trust_reward("own.py")
    with pytest.raises(RecipeError, match=r"(helper|below)\.py is Python code that has not been approved") as raised:
        loaded()(SAMPLE, "left")
    assert not executed()
    module = "sub/below.py" if "path" in case else "helper.py"
    assert raised.value.fix.endswith(module)
    lowmed.trust_reward(module)
    built = loaded()
    assert built(SAMPLE, "left").value == 1.0
    assert executed()
    [digests] = code_digests([built])
    assert set(digests) == {"own.py", module}
    Path(module).unlink()
    assert code_changes([digests], [spec("own.py:side")]) == [f"{module} is missing, a module of own.py"]


@pytest.mark.parametrize("inside", [False, True])
def test_a_link_is_followed(inside: bool, tmp_path: Path) -> None:
    """A module that is a link, or a reward that is a link to a file next to its module."""
    (tmp_path / "shared").mkdir()
    if inside:
        write(own=reward(top="import helper"))
        (tmp_path / "shared/other.py").write_text(TOUCH)
        Path("helper.py").symlink_to(tmp_path / "shared/other.py")
    else:
        (tmp_path / "shared/real.py").write_text(reward(top="import helper"))
        (tmp_path / "shared/helper.py").write_text(TOUCH)
        Path("own.py").symlink_to(tmp_path / "shared/real.py")
    lowmed.trust_reward("own.py")
    [before] = code_digests([loaded()])
    assert set(before) == {"own.py", "helper.py"}
    (tmp_path / "shared" / ("other.py" if inside else "helper.py")).write_text("changed = 1")
    assert code_changes([before], [spec("own.py:side")]) == ["helper.py has changed, a module of own.py"]
    with pytest.raises(RecipeError, match="has changed since"):
        loaded()


def test_other_files_of_the_folder_are_neither_read_nor_refused() -> None:
    """Neither an installed package that is below the folder, nor data; a relative import of a file has no package."""
    write(own=reward(top="import json, numpy"), json="raise SystemExit", other="raise SystemExit")
    Path("table.csv").write_text("a")
    lowmed.trust_reward("own.py")
    [before] = code_digests([loaded()])
    assert set(before) == {"own.py"}
    write(own=reward(top="from . import other"))
    lowmed.trust_reward("own.py")
    with pytest.raises(RecipeError, match="attempted relative import"):
        loaded()


def test_code_that_cannot_be_compared_is_refused() -> None:
    write(own=reward(top="from importlib import import_module\nname = 'planted'\nimport_module(name)"))
    planted = Path("planted.pyc")
    write(planted="x = 1")
    import py_compile

    py_compile.compile("planted.py", cfile=str(planted), doraise=True)
    Path("planted.py").unlink()
    lowmed.trust_reward("own.py")
    with pytest.raises(RecipeError, match=r"planted\.pyc is not a Python file"):
        loaded()


def test_a_module_loaded_by_other_means_is_refused_and_forgotten() -> None:
    by_path = "import importlib.util as u, sys\nspec = u.spec_from_file_location('helper', 'helper.py')\n"
    by_path += "module = u.module_from_spec(spec)\nsys.modules['helper'] = module\nspec.loader.exec_module(module)"
    write(own=reward(top=by_path), helper="x = 1")
    lowmed.trust_reward("own.py")
    with pytest.raises(RecipeError, match=r"helper\.py as `helper` by other means than an import"):
        loaded()
    assert "helper" not in sys.modules


def test_two_rewards_have_their_own_modules_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "from lowmed.rewards import Score\nimport helper\ndef side(sample, completion):\n"
    text += "    import helper as again\n    assert again is helper\n    return Score(helper.x, '')\n"
    write(first__own=text, first__helper="x = 0.25", second__own=text, second__helper="x = 0.75", helper="x = 0.5")

    def values() -> list[float | None]:
        for folder in ("first", "second"):
            lowmed.trust_reward(f"{folder}/own.py")
        rewards = build([("first/own.py:side", 1.0, {}), ("second/own.py:side", 1.0, {})])
        return [one(SAMPLE, "").value for one in (*rewards, *rewards)]

    assert values() == [0.25, 0.75, 0.25, 0.75]
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path.cwd())])
    other = importlib.import_module("helper")
    assert values() == [0.5, 0.5, 0.5, 0.5]  # Python's path comes first
    assert sys.modules.pop("helper") is other


def test_a_module_that_the_process_has_loaded_before_is_not_the_approved_one(monkeypatch: pytest.MonkeyPatch) -> None:
    write(own=reward(top="import helper", inside="assert helper.x == 2"), helper="x = 1")
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path.cwd())])
    other = importlib.import_module("helper")
    write(helper="x = 2")
    lowmed.trust_reward("own.py")
    assert loaded()(SAMPLE, "").value == 1.0
    assert sys.modules.pop("helper") is other


def test_what_runs_is_what_was_compared() -> None:
    """Also if a module changes after the check, or if a compiled copy of it was planted."""
    write(own=reward(inside="import helper; assert helper.x == 1"), helper="x = 1")
    lowmed.trust_reward("own.py")
    built = loaded()
    write(helper="raise SystemExit")
    assert built(SAMPLE, "").value == 1.0


def test_the_command_lists_what_it_allows(lowmed: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(own=reward(top="import helper"), helper="x = 1")
    result = lowmed("rewards", "trust", "own.py", "--yes")
    assert result.returncode == 0
    assert f"file    {Path.cwd()}/own.py" in result.stderr
    assert f"imports {Path.cwd()}/helper.py\nsize    5 bytes\nSHA-256 " in result.stderr
    entries = [json.loads(line) for line in (config_folder() / FILE).read_text().splitlines()]
    assert [os.path.basename(entry["path"]) for entry in entries] == ["own.py", "helper.py"]  # noqa: PTH119


def test_a_run_keeps_the_digests_and_refuses_other_code(tmp_path: Path) -> None:
    from lowmed.api.preconditions import require_same_rewards
    from lowmed.api.verify import reward_checks
    from lowmed.recipe.io import load_recipe
    from lowmed.run import create_run

    write(own=reward(top="import helper"), helper="x = 1")
    lowmed.trust_reward("own.py")
    recipe = load_recipe("rarl", ["method.rewards=[{name: own.py:side}]", "method.max_steps=2"], nano=True)
    run = create_run(recipe, "run", out=str(tmp_path / "run"))
    require_same_rewards(run)  # an old run has none
    run.update(status="stopped", reward_code=code_digests([loaded()]))
    require_same_rewards(run)
    assert [check.passed for check in reward_checks(run)] == [True]
    write(helper="x = 2")
    lowmed.trust_reward("own.py")
    commands: list[Callable[[], object]] = [
        lambda: lowmed.resume_training(run),
        lambda: lowmed.train(recipe, run.folder, resume=True),
        lambda: lowmed.extend_training(run, ["method.max_steps=9"], tmp_path / "longer"),
    ]
    for command in commands:
        with pytest.raises(RunError, match="the code of the rewards has changed since this run started") as raised:
            command()
        assert raised.value.where == "helper.py has changed, a module of own.py"
    assert not (tmp_path / "longer").exists()
    [check] = reward_checks(run)
    assert (check.passed, check.detail) == (False, "helper.py has changed, a module of own.py")
    Path("own.py").unlink()
    assert not reward_checks(run)  # a run of another machine
    run.update(reward_code=[{}, {}])
    with pytest.raises(RunError, match="has changed"):
        require_same_rewards(run)
