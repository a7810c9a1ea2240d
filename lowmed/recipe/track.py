"""Tracking of a recipe: which tool shows the metrics of the run, and what it gets."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lowmed.section import Section


class TrackSpec(Section):
    """The tracker that also gets the metrics. It never changes the result, so it is not part of the recipe's digest."""

    to: Literal["tensorboard", "wandb", "mlflow", "trackio"] | None = Field(
        None,
        description="tool that gets metrics, recipe and digests, into the run directory; null = none",
    )
    online: bool = Field(
        False, description="send them to the server of wandb or mlflow instead; without it, nothing leaves the machine"
    )
    project: Annotated[str, Field(pattern=r"^[\w.-]+$")] = Field(
        "lowmed", description="project of the run, in mlflow its experiment"
    )
    completions: Annotated[int, Field(ge=0)] = Field(
        0, description="completions of each checkpoint's step that it also gets, with row and reward; GRPO only"
    )
    images: bool = Field(False, description="also the images of these completions, on this machine only")

    @model_validator(mode="after")
    def _require_what_the_tool_can(self) -> "TrackSpec":
        if self.online and self.to not in ("wandb", "mlflow"):
            raise ValueError("online needs a server: set track.to to wandb or mlflow, or leave track.online out")
        if self.images and self.online:
            raise ValueError("images of patients stay on this machine: leave track.images or track.online out")
        if self.images and (not self.completions or self.to == "trackio"):
            raise ValueError("images need track.completions above 0, and tensorboard, wandb or mlflow as track.to")
        return self
