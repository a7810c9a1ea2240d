"""An exponential moving average (EMA) of the adapter, and the likelihood of answers under it.

Only the adapter's tensors exist twice. The EMA copy changes places with the trained adapter for one forward pass.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lowmed import prompt
from lowmed.engine import chat
from lowmed.engine.checkpoints import load_errors
from lowmed.engine.load import Loaded
from lowmed.engine.prefix import packing
from lowmed.engine.training_data import TrainingRow
from lowmed.errors import RunError
from lowmed.files import disk_errors
from lowmed.rewards import Weighted
from lowmed.rewards.accuracy import Accuracy
from lowmed.rewards.score import LikelihoodReward

FILE = "ema_adapter.safetensors"


def ema_adapter(
    rewards: Sequence[Weighted],
    loaded: Loaded,
    rows: Sequence[TrainingRow],
    family: prompt.Family,
    per_device_train_batch_size: int,
) -> "EmaAdapter | None":
    """The EMA copy if one of the rewards needs it, or None.

    Args:
        rewards: rewards of the recipe.
        loaded: model with the adapter to train.
        rows: all rows of the run.
        family: prompt family.
        per_device_train_batch_size: completions in one forward pass.
    """
    options: Any = next((reward.reward for reward in rewards if "likelihood" in reward.needs), None)
    return EmaAdapter(loaded, rows, family, options, per_device_train_batch_size) if options else None


class EmaAdapter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """An exponential moving average of the adapter's weights.

    Add it before the callback that marks checkpoints as finished, because its file is part of a checkpoint.
    """

    def __init__(
        self,
        loaded: Loaded,
        rows: Sequence[TrainingRow],
        family: prompt.Family,
        options: LikelihoodReward,
        per_device_train_batch_size: int,
    ) -> None:
        self.loaded = loaded
        self.rows = rows
        self.family = family
        self.options = options
        self.per_device_train_batch_size = per_device_train_batch_size
        self.weights: dict[str, torch.Tensor] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start as a copy of the adapter, or with the weights of the checkpoint.

        Raises:
            RunError: the checkpoint has none.
        """
        self.weights = {name: weight.detach().clone() for name, weight in self._adapter()}
        if state.global_step:
            file = Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE
            if not file.is_file():
                raise RunError("the checkpoint has no EMA copy of the adapter", str(file), "start a new run")
            with load_errors(file.parent):
                saved = load_file(str(file))
                self.weights = {name: saved[name].to(weight) for name, weight in self.weights.items()}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Update the average every `options.every` steps."""
        if state.global_step % self.options.every == 0:
            for name, weight in self._adapter():
                self.weights[name].lerp_(weight.detach(), 1 - self.options.decay)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the average to the checkpoint."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        with disk_errors(folder):
            save_file({name: weight.contiguous() for name, weight in self.weights.items()}, str(folder / FILE))

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Use the average instead of the trained adapter inside the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def likelihood(
        self, numbers: list[int], images: list[Any], texts: list[str], ids: list[list[int]]
    ) -> list[float | None]:
        """The likelihood of each right answer under the average: exp of the mean log-probability of its tokens.

        Args:
            numbers: the row of each completion; completions of one prompt are adjacent.
            images: prepared images of each row.
            texts: texts of the completions.
            ids: their tokens.

        Returns:
            One value for each completion; None if its answer is wrong or has no tag.
        """
        likelihoods: list[float | None] = [None] * len(numbers)
        model, processor = self.loaded.model, self.loaded.processor
        opening = chat.assistant_start(processor, self.family).opening
        training = model.training
        model.eval()
        with self.swapped_in(), torch.no_grad():
            for number, group in groupby(range(len(numbers)), key=lambda index: numbers[index]):
                row = self.rows[number]
                right = [index for index in group if Accuracy()(row.sample, texts[index]).value == 1]
                spans = {index: answer_span(self.loaded.tokenizer, ids[index], opening) for index in right}
                scored = [index for index in right if spans[index]]
                for start in range(0, len(scored), self.per_device_train_batch_size):
                    batch = scored[start : start + self.per_device_train_batch_size]
                    values = self._forward(
                        row, images[batch[0]], [ids[index] for index in batch], [*map(spans.get, batch)]
                    )
                    for index, value in zip(batch, values, strict=True):
                        likelihoods[index] = value
        model.train(training)
        return likelihoods

    def _forward(
        self, row: TrainingRow, images: Any, completions: list[list[int]], answer_spans: list[Any]
    ) -> list[float]:
        """The likelihood of the answers in completions of one prompt, which is read once for all of them."""
        processor, device = self.loaded.processor, self.loaded.model.device
        text = chat.render(processor, self.family, row.sample, row.wording)
        if self.loaded.family.text_only:
            encoded = processor([text], add_special_tokens=False, return_tensors="pt")
        else:
            encoded = processor(text=[text], images=[*images] if images else None, return_tensors="pt")
        count, longest = len(completions), max(map(len, completions))
        padded = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in completions])
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in completions])
        columns = {"input_ids": padded, "attention_mask": mask, "mm_token_type_ids": torch.zeros_like(padded)}
        inputs: dict[str, Any] = {
            name: torch.cat([encoded[name].expand(count, -1), of_completions], dim=1).to(device)
            for name, of_completions in columns.items()
            if name in encoded
        }
        inputs |= {name: [encoded[name].to(device)] * count for name in packing.IMAGE_INPUTS if name in encoded}
        log_probs, _entropy = packing.log_probs(
            self.loaded.model, inputs, longest, temperature=1.0, gradient_checkpointing=False, autocast=nullcontext()
        )
        return [float(line[slice(*span)].mean().exp()) for line, span in zip(log_probs, answer_spans, strict=True)]

    def _adapter(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, weight) for name, weight in self.loaded.model.named_parameters() if weight.requires_grad]

    def _swap(self) -> None:
        for name, weight in self._adapter():
            weight.data, self.weights[name] = self.weights[name], weight.data


def answer_span(tokenizer: Any, ids: list[int], opening: str = "") -> tuple[int, int] | None:
    """The first token of the tagged answer and the token after its last one, or None if there is no such tag.

    A token may contain characters of the tag and of the answer. It belongs to the answer. `opening` is the part of the
    completion that stands in the prompt.
    """

    def decoded(count: int) -> str:
        return opening + str(tokenizer.decode(ids[:count], skip_special_tokens=True))

    text = decoded(len(ids))
    begin, end = text.rfind("<answer>") + len("<answer>"), text.rfind("</answer>")
    if begin < len("<answer>") or end <= begin:
        return None
    counts = range(len(ids) + 1)
    first = bisect_right(counts, begin, key=lambda count: len(decoded(count))) - 1  # tokens that end before the answer
    last = next(count for count in counts[first + 1 :] if decoded(count).startswith(text[:end]))
    return first, last
