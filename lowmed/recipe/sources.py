"""Several data sets in one training run: their names, and what the shares of a recipe must fulfil."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, field_validator

from lowmed.section import Positive, Section, counterpart

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
ROUNDING = 0.01  # shares such as 0.33, 0.33, 0.33 are meant to add up to 1


class SourceSpec(Section):
    """One of several data sets that a run trains on."""

    source: str = Field(description="name of a known data set, or `folder`")
    path: str | None = Field(None, description="local copy of the source")
    name: str | None = Field(
        None, description="name in tables, metrics and ids; null = the source, numbered if several entries have it"
    )
    share: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="share of the training draws; all entries have one, or none has",
        json_schema_extra=counterpart("interleave_datasets: probabilities"),
    )
    train_limit: Positive | None = Field(
        None, description="train on a random subset of this size, drawn by `seed`; null = all"
    )

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, name: str | None) -> str | None:
        if name is not None and not NAME.fullmatch(name):
            raise ValueError(f"{name!r} should have 1 to 40 letters, digits, dots, dashes or underscores")
        return name


def unique_names(specs: Sequence[SourceSpec]) -> tuple[str, ...]:
    """The name of each entry; entries without one are named after their source, and numbered if several share it."""
    count = Counter(spec.source for spec in specs if spec.name is None)
    seen: Counter[str] = Counter()
    names = []
    for spec in specs:
        seen[spec.source] += spec.name is None
        numbered = f"{spec.source}-{seen[spec.source]}" if count[spec.source] > 1 else spec.source
        names.append(spec.name or numbered)
    return tuple(names)


def mistake_in_sources(specs: Sequence[SourceSpec], *, mixing_temperature: float | None) -> str | None:
    """What is wrong with the entries as a whole: repeated names, or shares that are incomplete or no shares of 1."""
    names = unique_names(specs)
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        return f"several entries of sources are named `{repeated[0]}`; give each another name"
    shares = [spec.share for spec in specs if spec.share is not None]
    if shares and mixing_temperature is not None:
        return "sources have shares, and mixing_temperature would derive them from the sizes; keep one of the two"
    if shares and len(shares) < len(specs):
        without = next(name for name, spec in zip(names, specs, strict=True) if spec.share is None)
        return f"`{without}` has no share and other sources have one; give all of them a share, or none"
    if shares and abs(sum(shares) - 1) > ROUNDING:
        total = sum(shares)
        scaled = ", ".join(f"{name} {share / total:.3g}" for name, share in zip(names, shares, strict=True))
        return f"the shares of sources add up to {total:g}, not 1; in proportion they would be {scaled}"
    return None
