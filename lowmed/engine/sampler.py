"""The completions of a training step. If memory runs out, they are sampled again in parts, with the same tokens."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from lowmed.engine import out_of_memory
from lowmed.engine.prefix.parts import InputsOf, generator_state, sample_in_parts, set_generator_state
from lowmed.engine.prefix.sampling import Sampling


def _no_less(step: int, rows: int) -> int:
    raise out_of_memory.sampling_error(step, rows)


class Sampler:
    """Samples completions, a limited number at once.

    Args:
        sampling: how the completions are sampled.
        rows_per_generate: most completions that are sampled at once.
        rows_per_draw: completions whose random numbers are drawn together, if they are sampled in parts.
        sample_less: called with the last step and the completions at once after memory ran out. It returns a smaller
            number, or raises an error.
    """

    def __init__(
        self,
        sampling: Sampling,
        rows_per_generate: int,
        rows_per_draw: int | None = None,
        sample_less: Callable[[int, int], int] = _no_less,
    ) -> None:
        self.sampling, self.sample_less = sampling, sample_less
        self.rows_per_generate, self.rows_per_draw = rows_per_generate, rows_per_draw

    def prepare(self, prompts: Sequence[Any], ids: Sequence[list[int]]) -> None:
        """Take the distinct prompts of the next batch; only a server needs them."""

    def completions(
        self, model: Any, prompt_of_row: Sequence[int], inputs_of: InputsOf, step: int
    ) -> tuple[list[list[int]], list[list[float]]]:
        """One completion for each row, and the log-probabilities of its tokens.

        Args:
            model: the model in training; it is in evaluation mode while it samples.
            prompt_of_row: for each completion the number of its prompt.
            inputs_of: the model inputs of some rows, which have different prompts.
            step: the last whole step.

        Raises:
            SamplingError: memory ran out again.
        """
        training = model.training
        model.eval()  # gradient checkpointing would turn off the KV cache
        state = generator_state(model.device)
        try:
            while True:
                rows = min(self.rows_per_generate, len(prompt_of_row))
                try:
                    return sample_in_parts(
                        model,
                        prompt_of_row,
                        inputs_of,
                        self.sampling,
                        rows_per_generate=rows,
                        rows_per_draw=self.rows_per_draw or rows,
                    )
                except torch.OutOfMemoryError:
                    self.rows_per_generate, self.rows_per_draw = self.sample_less(step, rows), rows
                # Outside of `except`, whose error refers to the tensors of the call. The decoder may have a cache.
                self.sampling.decoder.free()
                out_of_memory.free()
                set_generator_state(model.device, state)
        finally:
            self.sampling.decoder.end()
            model.train(training)
