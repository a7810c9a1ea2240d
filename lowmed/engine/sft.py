"""SFT: TRL's trainer with the recipe's settings and the loss on the completion only."""

from typing import Any

from trl import SFTConfig, SFTTrainer

from lowmed.engine import argument_names, chat
from lowmed.engine.data_parallel import DataParallel
from lowmed.engine.job import TrainingJob


class DataParallelSFTTrainer(DataParallel, SFTTrainer):  # type: ignore[misc]  # trl is untyped
    """TRL's trainer, for one process or several."""


def build(job: TrainingJob) -> SFTTrainer:
    """The trainer. Its dataset has the columns that `training_data.as_dataset` describes."""
    ready: dict[str, Any] = {"skip_prepare_dataset": True} if job.loaded.family.text_only else {}
    arguments = SFTConfig(
        max_length=None,  # truncation would cut image tokens
        completion_only_loss=True,
        train_sampling_strategy="sequential",  # the rows are in training order already
        dataset_kwargs=ready,
        **argument_names.training_arguments(job.arguments),
    )
    trainer = SFTTrainer if job.loaded.backend == "unsloth" else DataParallelSFTTrainer  # unsloth rewrites TRL's class
    return trainer(
        model=job.loaded.model,
        args=arguments,
        train_dataset=job.dataset,
        processing_class=chat.with_prefill(job.loaded.processor, job.recipe.prompts.training),
    )
