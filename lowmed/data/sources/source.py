"""What is known of a data set: what it holds, whose it is, what to download, and how its files are read."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lowmed.data.image.files import require_folder
from lowmed.data.ingest import hub
from lowmed.data.ingest.detect import ImportOptions, RowStream

Open = Callable[[Path, ImportOptions], RowStream]


@dataclass(frozen=True, slots=True)
class Source:
    """A known data set. `get` says what its folder must hold; `terms` what must be accepted first, "" for nothing."""

    name: str
    about: str
    size: str
    kinds: str
    licence: str
    citation: str
    url: str
    get: str
    open: Open
    terms: str = ""
    hub_id: str = ""
    hub_files: tuple[str, ...] = ()
    generated: bool = False

    def rows(self, path: str | None, wish: ImportOptions) -> RowStream:
        """Its rows, from a local copy or, where it has one, from the hub.

        Raises:
            DataError: the local copy is not what it should be.
            SetupError: the hub is needed and cannot be used.
        """
        if self.generated:
            return self.open(Path(), wish)
        instead = f"give --path to a folder that holds {self.get}"
        if path is not None and Path(path).expanduser().is_file():
            return self.open(Path(path).expanduser(), wish)
        if path is not None or not self.hub_id:
            return self.open(require_folder(path, self.name, self.get), wish)
        if self.hub_files:
            return self.open(hub.fetch(self.hub_id, self.hub_files, instead), wish)
        return hub.rows(self.hub_id, self.name, wish, instead)

    @property
    def here(self) -> str:
        """Whether this machine has it: `generated`, `hub cache`, or `no`."""
        if self.generated:
            return "generated"
        return "hub cache" if self.hub_id and _cached(self.hub_id) else "no"


def _cached(hub_id: str) -> bool:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache/huggingface"))
    owner, name = hub_id.split("/")
    return (home / f"hub/datasets--{owner}--{name}").is_dir() or (home / f"datasets/{owner}___{name.lower()}").is_dir()
