"""The dials of the testbed: how its training samples differ from its test samples."""

from pydantic import Field, model_validator

from lowmed.section import Section, Share


class Dials(Section):
    """Settings of the training split of the source `testbed`. Its test splits always have the defaults."""

    marker: Share = Field(0.0, description="share of images whose corner marker follows from the answer, else random")
    style: Share = Field(0.0, description="share of images whose hospital style follows from the answer, else random")
    prior: Share = Field(0.0, description="share of questions with the first answer of their topic, else all equal")
    label_noise: Share = Field(0.0, description="share of answers that another answer of their topic replaces")
    unexplained: Share = Field(0.0, description="share of samples without an explanation")
    part_explained: Share = Field(0.0, description="share of samples with the first sentence of their explanation only")

    @model_validator(mode="after")
    def _explanations_add_up(self) -> "Dials":
        if self.unexplained + self.part_explained > 1:
            raise ValueError("unexplained and part_explained add up to more than 1")
        return self

    def __str__(self) -> str:
        """The dials that differ from their defaults, as in an image reference: `marker=0.9,prior=0.5`."""
        values = self.model_dump(exclude_defaults=True)
        return ",".join(f"{name}={value!r}" for name, value in values.items())
