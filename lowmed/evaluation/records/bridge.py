"""Record of `lowmed bridge`: bridge.json."""

from typing import Annotated, Literal

from pydantic import Field

from lowmed.evaluation.records.metrics import Interval
from lowmed.records import Part, Record


class ProbeStage(Part):
    """A probe of a bridge, with the decision that followed."""

    stage: str
    """Folder of the probe."""
    kind: Literal["probe"]
    """Kind of stage."""
    questions: int
    """Number of questions."""
    k: int
    """Completions sampled per question."""
    acc_at_1: float
    """Strict greedy accuracy."""
    pass_at_k: float
    """Pass@K, unbiased."""
    gap: float
    """Pass@K minus Acc@1."""
    pass_at_k_by_guessing: float
    """Pass@K of guessing."""
    pass_at_k_blind: float | None
    """Pass@K without the image; null if too few such completions exist."""
    support: float
    """Share of questions correct more often than guessing and the blind model explain."""
    support_by_image: Interval
    """Its 95 % interval, by image."""
    support_needed: float
    """Threshold of the verdict."""
    verdict: Literal["RL", "SFT first", "neither"]
    """Recommended next stage."""
    reason: str
    """Reason of the verdict."""
    then: Literal["grpo", "sft", "stop"]
    """Next stage by the bridge rule."""
    why: str
    """Reason for the next stage."""


class TrainingStage(Part):
    """A finished training run of a bridge."""

    stage: str
    """Run directory."""
    kind: Literal["grpo", "sft"]
    """Training method."""
    start: str | None
    """Stage whose adapter the training started from; null for the recipe's own start."""


BridgeStage = Annotated[ProbeStage | TrainingStage, Field(discriminator="kind")]


class BridgeRecord(Record):
    """Stages of a bridge with their decisions."""

    status: Literal["running", "finished", "refused"]
    """`finished` after RL; `refused` if the rule decided against RL."""
    stages: tuple[BridgeStage, ...]
    """Probes and training runs, in order."""
