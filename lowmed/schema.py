"""The base class of every section of a recipe, and the number types that sections use."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A section of a recipe: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
