"""Inputs of the memory and time estimates."""

from dataclasses import dataclass
from typing import Literal

from lowmed.models import FAMILIES, Architecture
from lowmed.plan.sequence_lengths import SequenceLengths
from lowmed.recipe import Recipe
from lowmed.rewards import needs

GIB = 2**30
EVAL_BATCH_SIZE = 64  # questions per evaluation batch, if they fit
CPU_EVAL_BATCH_SIZE = 128  # the same on a CPU

Terms = dict[str, float]  # name of a memory term -> bytes
VisionEncoding = Literal["cached", "stock"]
# Forward passes over the right completions that a need of a reward costs.
REWARD_PASSES = {"likelihood": 1, "image_log_ratio": 2}


@dataclass(frozen=True)
class Batch:
    """The split of an optimizer step into passes. It changes the result only by rounding.

    Attributes:
        per_device_train_batch_size: rows in one forward and backward pass. Divides the rows of a step.
        rows_per_generate: maximum number of rows in one call of generate.
        gradient_checkpointing: whether the backward pass recomputes activations.
        eval_batch_size: questions in one batch of an evaluation.
        keeps_kv_cache: whether the CUDA graphs of sampling and their KV cache stay in memory during training. Otherwise
            they are captured again in every step.
        dequantizes_rollouts: whether completions are sampled with a 16-bit copy of the weights of a 4-bit base.
    """

    per_device_train_batch_size: int
    rows_per_generate: int
    gradient_checkpointing: bool
    eval_batch_size: int = EVAL_BATCH_SIZE
    keeps_kv_cache: bool = False
    dequantizes_rollouts: bool = False


@dataclass(frozen=True)
class Workload:
    """The inputs of the memory and time estimates.

    Attributes:
        recipe: the recipe.
        model: dimensions of its model.
        lengths: tokens of the longest row.
        batch: rows per pass.
        value_bytes: bytes of a value: 2, or 4 where a CPU computes in 32 bits.
        vision: `cached` encodes each distinct image once, without gradients; `stock` is the code of transformers, which
            encodes the images of all rows in every pass.
        scoring: whether the pass is one without gradients, which may read more completions of each row.
        shards: processes that divide the decoder layers among them.
    """

    recipe: Recipe
    model: Architecture
    lengths: SequenceLengths
    batch: Batch
    value_bytes: int = 2
    vision: VisionEncoding = "cached"
    scoring: bool = False
    shards: int = 1

    @property
    def on_cpu(self) -> bool:
        """Whether the run computes in 32 bits in main memory."""
        return self.value_bytes == 4

    @property
    def shares_prompts(self) -> bool:
        """Whether lowmed's own loop over the layers runs the model, which reads each prompt once."""
        return FAMILIES[self.model.family].shared_prefix and self.recipe.model.backend != "unsloth"

    @property
    def uses_cuda_graphs(self) -> bool:
        """Whether completions are sampled by CUDA graphs."""
        possible = self.shares_prompts and not self.on_cpu and self.shards == 1
        return possible and self.recipe.model.rollout in ("auto", "cuda_graphs")

    @property
    def can_dequantize_rollouts(self) -> bool:
        """Whether a 16-bit copy of the language model could sample the completions."""
        recipe, possible = self.recipe, self.shares_prompts and self.shards == 1
        return bool(recipe.method.completions_per_prompt) and possible and recipe.model.load_in == "4bit"

    @property
    def keeps_pixels_in_main_memory(self) -> bool:
        """Whether pixels stay in main memory during training until their image is encoded."""
        method = self.recipe.method
        return self.shares_prompts and bool(method.completions_per_prompt or method.preferences)

    @property
    def shared_prompts(self) -> int:
        """Distinct prompts in a forward pass that computes each prompt once; 0 if every row computes its own prompt.

        Rows are in the order of their groups, but a pass may begin in the middle of a group.
        """
        method, rows = self.recipe.method, self.batch.per_device_train_batch_size
        if method.preferences and self.shares_prompts:
            return rows * method.prompts_per_row
        group = method.completions_per_prompt
        if not group or not self.shares_prompts:
            return 0
        aligned = rows % group == 0 or group % rows == 0
        return min(rows, -(-rows // group) + (0 if aligned else 1))

    @property
    def scoring_passes(self) -> int:
        """Forward passes without gradients over the rows of a step, for the loss and for rewards.

        Rewards read right completions only, so this is their upper bound.
        """
        of_rewards = sum(REWARD_PASSES.get(need, 0) for need in needs(self.recipe))
        return self.recipe.method.scoring_passes + of_rewards

    @property
    def exchanges_images(self) -> bool:
        """Whether a reward reads completions with the images of other questions too."""
        return "image_log_ratio" in needs(self.recipe)

    @property
    def tokens_per_forward(self) -> int:
        """Tokens that pass through the layers in one forward pass. With shared prompts there is no padding."""
        completions, lengths = self.completions_per_forward, self.lengths
        return (self.shared_prompts or completions) * lengths.prompt + completions * lengths.completion

    @property
    def completions_per_forward(self) -> int:
        """Completions in one forward pass: those of its rows, and with mixed references one per prompt."""
        method = self.recipe.method
        completions = self.batch.per_device_train_batch_size * self._completions_per_row
        return completions + (self.shared_prompts if method.mixes_references else 0)

    @property
    def questions_on_device(self) -> int:
        """Questions whose pixels are on the device during training. In GRPO these are all questions of a rollout."""
        method = self.recipe.method
        if not method.completions_per_prompt:
            rows = self.batch.per_device_train_batch_size
            return rows * (method.prompts_per_row if self.shares_prompts else self._completions_per_row)
        return method.prompts_per_step if self.shared_prompts else method.rows_per_step

    @property
    def _completions_per_row(self) -> int:
        method = self.recipe.method
        return method.scored_completions_per_row if self.scoring else method.completions_per_row
