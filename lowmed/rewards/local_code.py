"""The code of a custom reward: its file and the modules of its folder that the file imports, found without running it.

A module is local if its file is in the folder of the reward's file or below it, and does not belong to an installed
package, such as one of a virtual environment in that folder.
"""

import ast
import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from lowmed.errors import RecipeError
from lowmed.rewards.trust import RewardFile, read_reward_file

MOST_MODULES = 1000
_IMPORTERS = ("import_module", "__import__")


@dataclass(frozen=True)
class RewardCode:
    """A file with rewards and the local modules that it imports, each read once.

    Attributes:
        main: the file.
        modules: the modules by their path.
    """

    main: RewardFile
    modules: dict[Path, RewardFile] = field(default_factory=dict)

    @cached_property
    def folders(self) -> tuple[Path, ...]:
        """The folder of the file; two of them if the file is a link."""
        return tuple(dict.fromkeys((_absolute(self.main.path).parent, self.main.path.resolve().parent)))

    @property
    def files(self) -> list[RewardFile]:
        """All files, the one with the rewards first."""
        return [self.main, *self.modules.values()]

    def is_local(self, path: str | os.PathLike[str]) -> bool:
        """Whether a file is in the folder of the reward and does not belong to an installed package."""
        for one in (_absolute(path), Path(path).resolve()):
            for folder in self.folders:
                if one.is_relative_to(folder):
                    inside = (root for root in _installed() if root.is_relative_to(folder))
                    return not any(one.is_relative_to(root) for root in inside)
        return False

    def find_spec(self, name: str, path: list[str] | None = None) -> ModuleSpec | None:
        """Where Python finds a module: on its path, and else in the folder of the reward."""
        if path is not None:
            return PathFinder.find_spec(name, path)
        if name in sys.builtin_module_names:
            return None
        return PathFinder.find_spec(name) or PathFinder.find_spec(name, [str(folder) for folder in self.folders])

    def name_of(self, path: Path) -> str:
        """The path of a local file relative to the folder of the reward."""
        for one in (_absolute(path), path.resolve()):
            for folder in self.folders:
                if one.is_relative_to(folder):
                    return one.relative_to(folder).as_posix()
        return path.name

    def digest_of(self, name: str) -> str | None:
        """The SHA-256 of a file of the folder by its name; None if it cannot be read."""
        for folder in self.folders:
            try:
                return read_reward_file(folder / name, name).digest
            except RecipeError:
                continue
        return None

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file by its name."""
        modules = {self.name_of(path): file.digest for path, file in sorted(self.modules.items())}
        return {self.main.path.name: self.main.digest, **modules}


def read_reward_code(path: Path, where: str) -> RewardCode:
    """Read a file with rewards and the local modules that it imports, without executing any.

    Args:
        path: the file.
        where: the key or option that names it, for error messages.

    Raises:
        RecipeError: there is no such file, or one of them is no Python file of a normal size.
    """
    code = RewardCode(read_reward_file(path, where))
    PathFinder.invalidate_caches()
    waiting: list[tuple[RewardFile, str]] = [(code.main, "")]
    while waiting and len(code.modules) < MOST_MODULES:
        file, package = waiting.pop()
        for name in _imported(file, package):
            for module, spec in _along(code, name):
                origin = _absolute(str(spec.origin))
                if origin not in code.modules and origin.suffix == ".py" and code.is_local(origin):
                    code.modules[origin] = read_reward_file(origin, where)
                    inner = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
                    waiting.append((code.modules[origin], inner))
    return code


def _along(code: RewardCode, name: str) -> Iterator[tuple[str, ModuleSpec]]:
    """The packages that contain a module, and the module, as far as they have files. Nothing is imported."""
    parts, path = name.split("."), None
    for count in range(1, len(parts) + 1):
        module = ".".join(parts[:count])
        try:
            spec = code.find_spec(module, path)
        except (ImportError, ValueError, UnicodeError, OSError):
            return
        if spec is None:
            return
        if spec.origin and spec.has_location:
            yield module, spec
        if spec.submodule_search_locations is None:
            return
        path = list(spec.submodule_search_locations)


def _imported(file: RewardFile, package: str) -> Iterator[str]:
    """The full names of the modules that a file may import, also within functions. A file with mistakes has none."""
    try:
        tree = ast.parse(file.content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".") if package else []
            if node.level > len(parents):
                continue  # Python refuses it
            above = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in _IMPORTERS and isinstance(node.args[0].value, str):
                yield node.args[0].value


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  Path.resolve would follow links


@cache
def _installed() -> tuple[Path, ...]:
    """Folders of the standard library, of installed packages, and of lowmed."""
    paths = sysconfig.get_paths()
    names = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    names += [*site.getsitepackages(), site.getusersitepackages(), str(Path(__file__).parents[1])]
    return tuple({one for name in names for one in (_absolute(name), Path(name).resolve())})
