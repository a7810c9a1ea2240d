"""The base class of all recipe sections, and the number types that they share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """A section of a recipe. It is immutable and rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def counterpart(*arguments: str) -> JsonDict:
    """The arguments of other libraries that a recipe key sets, for `json_schema_extra` of its field.

    Args:
        arguments: `CLASS: ARGUMENT`, or `CLASS: EXPRESSION` over the arguments of that class.
    """
    return {"counterparts": list(arguments)}
