"""Write docs/licenses.md: the license of every package that lowmed and its extras install, from their metadata.

python .ci/licenses.py        in an environment with the extras, e.g. .venv of `make test`
"""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

PAGE = Path(__file__).resolve().parent.parent / "docs" / "licenses.md"
INTRO = """# Licenses of dependencies

lowmed is under Apache-2.0. Written by `.ci/licenses.py` from the metadata of the packages of `constraints.txt`,
on Linux. A license is what the package itself states, shortened; it is not legal advice. Each package is listed
once, with the first set of packages that needs it.

**Copyleft.** `pylibjpeg-libjpeg` (extra `dicom`) is under GPL-3; `num2words` (extra `smolvlm`) and
`unsloth-zoo` (extra `unsloth`) are under the LGPL. lowmed contains no code of them, and imports them only if
they are installed.

- Without `pylibjpeg-libjpeg`, install the other packages of the extra by name: `pip install pydicom pylibjpeg
  pylibjpeg-openjpeg pyjpegls`. Lossless and 12-bit JPEG are then rejected with a reason.
- `pip install python-gdcm` (BSD) adds lossless JPEG, with the same pixels as `pylibjpeg-libjpeg` (compared with
  3.2.6 on pydicom's test file). pydicom 3.0 refuses 12-bit JPEG with it, so it does not replace
  `pylibjpeg-libjpeg` for all files. 8-bit lossy JPEG may differ by one gray level.
- The packages `nvidia-*` are under NVIDIA's own terms. They come with torch.

"""


def license_of(name: str) -> str:
    """The license that a package states, or `-` if it is not installed here."""
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return "-"
    classified = [
        value.rpartition(" :: ")[2] for key, value in metadata.items() if key == "Classifier" and "License ::" in value
    ]
    text = metadata.get("License-Expression") or ", ".join(classified) or metadata.get("License") or "not stated"
    first = text.strip().splitlines()[0] if text.strip() else "not stated"
    return re.sub(r"[|`]", "", first)[:70]


def needed(requirements: list[Requirement], extra: str, known: set[str]) -> set[str]:
    """All packages that these requirements install, those of `known` left out."""
    names: set[str] = set()
    stack = [requirement for requirement in requirements if applies(requirement, extra)]
    while stack:
        requirement = stack.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in names or name in known or name == "lowmed":
            continue
        names.add(name)
        try:
            inner = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        wanted = [Requirement(text) for text in inner]
        stack += [item for item in wanted if any(applies(item, extra) for extra in (requirement.extras or {""}) | {""})]
    return names


def applies(requirement: Requirement, extra: str) -> bool:
    """True if the marker of a requirement holds here, with this extra."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def main() -> None:
    """Write the page."""
    requirements = [Requirement(text) for text in distribution("lowmed").requires or []]
    extras = sorted(distribution("lowmed").metadata.get_all("Provides-Extra") or [])
    core = needed(requirements, "", set())
    parts = [("lowmed itself", core)]
    parts += [
        (f"Extra `{extra}`", needed(requirements, extra, core)) for extra in extras if extra not in ("dev", "docs")
    ]
    text = INTRO
    for title, names in parts:
        rows = [f"| {name} | {license_of(name)} |" for name in sorted(names) if license_of(name) != "-"]
        absent = sorted(name for name in names if license_of(name) == "-")
        text += f"## {title}\n\n"
        if rows:
            text += "\n".join(["| package | license |", "| --- | --- |", *rows]) + "\n\n"
        if absent:
            text += f"Not installed where this page was written: {', '.join(absent)}.\n\n"
    PAGE.write_text(text.rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
