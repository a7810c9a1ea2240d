"""What the memory and the time of a run follow from."""

from dataclasses import dataclass
from typing import Literal

from lowmed.models import FAMILIES, Architecture
from lowmed.plan.sequence_lengths import SequenceLengths
from lowmed.recipe import Recipe

GIB = 2**30
EVALUATION_ROWS = 64  # questions answered at once where they fit
CPU_ROWS = 128  # and where no card's memory says how many

Terms = dict[str, float]
Tower = Literal["once", "stock"]


@dataclass(frozen=True)
class Batch:
    """How the rows of an update are cut for a card: none of it changes what is learnt, up to rounding.

    Attributes:
        per_device_train_batch_size: rows in one forward and backward pass; divides the rows of an update.
        rows_per_generate: rows in one call of generate at the most.
        gradient_checkpointing: whether the backward pass computes the activations anew.
        rows_per_answer: questions that an evaluation asks at once.
    """

    per_device_train_batch_size: int
    rows_per_generate: int
    gradient_checkpointing: bool
    rows_per_answer: int = EVALUATION_ROWS


@dataclass(frozen=True)
class Workload:
    """What memory and time follow from; `width` is the bytes of a value: 2, or 4 where a CPU computes in 32 bits."""

    recipe: Recipe
    model: Architecture
    lengths: SequenceLengths
    batch: Batch
    width: int = 2
    tower: Tower = "once"

    @property
    def on_cpu(self) -> bool:
        """Whether the run computes in 32 bits in this process's own memory."""
        return self.width == 4

    @property
    def shared_prompts(self) -> int:
        """Prompts that one forward reads for all of their completions, 0 where every row brings its own.

        Rows stand group by group, but a forward need not begin with a group.
        """
        method, rows = self.recipe.method, self.batch.per_device_train_batch_size
        packed = FAMILIES[self.model.family].shared_prefix and self.recipe.model.backend != "unsloth"
        group = method.completions_per_prompt
        if not group or not packed:
            return 0
        whole = rows % group == 0 or group % rows == 0
        return min(rows, -(-rows // group) + (0 if whole else 1))

    @property
    def tokens_per_forward(self) -> int:
        """Tokens that go through the layers in one forward pass: no padding where prompts are shared."""
        rows, lengths = self.batch.per_device_train_batch_size, self.lengths
        return (self.shared_prompts or rows) * lengths.prompt + rows * lengths.completion

    @property
    def questions_held(self) -> int:
        """Questions whose pixels lie on the device while it trains: those of a whole generation in GRPO."""
        method = self.recipe.method
        if not method.completions_per_prompt:
            return self.batch.per_device_train_batch_size
        return method.prompts_per_step if self.shared_prompts else method.rows_per_step
