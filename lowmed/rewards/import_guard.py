"""What the code of a custom reward may import: of its own folder only content that the user has approved.

Python's own import finds the module, and the content that was compared is what runs. So an import that cannot be found
in the text of the file is refused before anything of the module is executed.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from lowmed.errors import LowmedError, RecipeError
from lowmed.rewards.local_code import RewardCode
from lowmed.rewards.trust import read_reward_file, require_approved


class RefusedImportError(ImportError):
    """A local module was not imported, because the user has not approved its content."""

    def __init__(self, error: LowmedError) -> None:
        super().__init__(error.what)
        self.error = error


class ImportGuard(MetaPathFinder):
    """Resolves the imports of one reward while its code runs, and keeps its modules apart from those of others.

    Args:
        code: the approved code. Modules that are found later, and are approved too, are added to it.
        where: the key that names the reward, for error messages.
    """

    def __init__(self, code: RewardCode, where: str) -> None:
        self.code, self.where = code, where
        self.modules: dict[str, ModuleType] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module that Python would import, with the approved content if it is a local one.

        Raises:
            RefusedImportError: the content is not approved.
        """
        others = (finder for finder in sys.meta_path if not isinstance(finder, ImportGuard))
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next(filter(None, specs), None) or self.code.find_spec(fullname, None if path is None else list(path))
        if spec is None or not spec.origin or not spec.has_location or not self.code.is_local(spec.origin):
            return spec
        try:
            content = self._approved(Path(spec.origin))
        except LowmedError as error:
            raise RefusedImportError(error) from error
        loader = _Approved(fullname, spec.origin, content)
        return spec_from_file_location(
            fullname, spec.origin, loader=loader, submodule_search_locations=spec.submodule_search_locations
        )

    def _approved(self, path: Path) -> bytes:
        file = self.code.modules.get(path) or read_reward_file(path, self.where)
        require_approved(file, self.where)
        self.code.modules[path] = file
        return file.content

    @contextmanager
    def active(self) -> Iterator[None]:
        """Guard the imports of a block.

        Raises:
            RecipeError: an import was refused, or the block loaded a local module by other means than an import.
        """
        hidden = {name: sys.modules.pop(name) for name in [*self.modules] if name in sys.modules}
        sys.modules.update(self.modules)
        before = set(sys.modules)
        sys.meta_path.insert(0, self)
        try:
            yield
        except RefusedImportError as error:
            raise error.error from error
        finally:
            sys.meta_path.remove(self)
            new = {name: module for name, module in sys.modules.items() if name not in before}
            local = {name: module for name, module in new.items() if self._is_local(module)}
            self.modules |= local
            for name in self.modules:
                sys.modules.pop(name, None)
            sys.modules.update(hidden)
        self._require_guarded(local)

    def first(self, run: Callable[[], None]) -> None:
        """Run the file for the first time: local modules that others have imported are not used.

        Raises:
            RecipeError: as `active`.
        """
        main = sys.modules.get("__main__")
        others = {
            name: module for name, module in [*sys.modules.items()] if module is not main and self._is_local(module)
        }
        for name in others:
            del sys.modules[name]
        try:
            with self.active():
                run()
        finally:
            sys.modules.update(others)

    def _is_local(self, module: Any) -> bool:
        spec = getattr(module, "__spec__", None)  # None of a module that somebody made
        file = spec.origin if spec and spec.has_location else getattr(module, "__file__", None)
        paths = [file] if file else [*getattr(module, "__path__", ())]  # a folder without __init__.py has no file
        return any(isinstance(path, str) and self.code.is_local(path) for path in paths)

    def _require_guarded(self, modules: dict[str, ModuleType]) -> None:
        for name, module in modules.items():
            if getattr(module, "__file__", None) and not isinstance(getattr(module, "__loader__", None), _Approved):
                raise RecipeError(
                    f"the reward loaded {module.__file__} as `{name}` by other means than an import",
                    self.where,
                    "import it, so that its content is compared",
                )


class _Approved(SourceFileLoader):
    """Runs the content that was compared, not the file, which may change, nor a compiled copy."""

    def __init__(self, name: str, path: str, content: bytes) -> None:
        super().__init__(name, path)
        self.content = content

    def get_data(self, path: str) -> bytes:
        """The approved content for the module's own file."""
        return self.content if path == self.path else super().get_data(path)

    def get_code(self, fullname: str) -> CodeType:
        """The compiled content."""
        return self.source_to_code(self.content, self.path)
