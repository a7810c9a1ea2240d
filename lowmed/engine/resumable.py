"""TRL's trainers with a resume that loads the trained adapter."""

from typing import Any

from trl import GRPOTrainer

from lowmed.engine.data_parallel import DataParallel


class LoadsTrainedAdapter:
    """A trainer with one correction of a method of transformers.

    transformers' `_load_from_checkpoint` loads only adapters in subfolders if there are any, since
    https://github.com/huggingface/transformers/pull/30505. TRL saves its copy of the initial adapter in a subfolder,
    and the trained adapter next to it. No report of this problem known.
    """

    model: Any

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
        if "ref" in self.model.peft_config:
            self.model.load_adapter(resume_from_checkpoint, "default", is_trainable=True)
            self.model.set_adapter("default")


class ResumableTrainer(DataParallel, LoadsTrainedAdapter, GRPOTrainer):  # type: ignore[misc]  # trl is untyped
    """TRL's trainer of GRPO, with that correction, for one process or several."""
