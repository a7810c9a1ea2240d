"""A EMA copy of the adapter beside the one that trains, and how likely it finds the answers of completions.

The base is shared: only the adapter's tensors are held twice, and change places for the length of one forward pass.
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
from lowmed.engine.load import Loaded
from lowmed.engine.prefix import packing
from lowmed.engine.training_data import TrainingRow
from lowmed.errors import RunError
from lowmed.files import disk_errors
from lowmed.rewards import Weighted
from lowmed.rewards.accuracy import Accuracy
from lowmed.rewards.score import LikelihoodReward

FILE = "slow_adapter.safetensors"


def ema_adapter(
    rewards: Sequence[Weighted],
    loaded: Loaded,
    rows: Sequence[TrainingRow],
    family: prompt.Family,
    per_device_train_batch_size: int,
) -> "EmaAdapter | None":
    """The EMA copy that the recipe's rewards ask for, or None."""
    options: Any = next((reward.reward for reward in rewards if "likelihood" in reward.needs), None)
    return EmaAdapter(loaded, rows, family, options, per_device_train_batch_size) if options else None


class EmaAdapter(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """An exponential moving average of the adapter's weights.

    Add it before the callback that marks checkpoints as finished: its file belongs to them.
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
        """Begin as a copy of the adapter, or with what the checkpoint holds.

        Raises:
            RunError: the checkpoint holds none.
        """
        self.weights = {name: weight.detach().clone() for name, weight in self._adapter()}
        if state.global_step:
            file = Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE
            if not file.is_file():
                raise RunError("the checkpoint holds no slow copy of the adapter", str(file), "start the run anew")
            saved = load_file(str(file))
            self.weights = {name: saved[name].to(weight) for name, weight in self.weights.items()}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Move the copy a little towards the adapter."""
        if state.global_step % self.options.every == 0:
            for name, weight in self._adapter():
                self.weights[name].lerp_(weight.detach(), 1 - self.options.decay)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Put the copy into the checkpoint."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        with disk_errors(folder):
            save_file({name: weight.contiguous() for name, weight in self.weights.items()}, str(folder / FILE))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the slow adapter instead of the one that trains."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def likelihood(
        self, numbers: list[int], images: list[Any], texts: list[str], ids: list[list[int]]
    ) -> list[float | None]:
        """The exponential of the mean log-probability of each right answer's tokens under the slow adapter.

        Args:
            numbers: the row of each completion; completions to one question stand next to each other.
            images: prepared images of each row.
            texts: of the completions.
            ids: their tokens.
        """
        result: list[float | None] = [None] * len(numbers)
        model = self.loaded.model
        training = model.training
        model.eval()
        with self.in_place(), torch.no_grad():
            for number, group in groupby(range(len(numbers)), key=lambda place: numbers[place]):
                row = self.rows[number]
                right = [place for place in group if Accuracy()(row.sample, texts[place]).value == 1]
                spans = {place: answer_span(self.loaded.processor.tokenizer, ids[place]) for place in right}
                known = [place for place in right if spans[place]]
                for start in range(0, len(known), self.per_device_train_batch_size):
                    part = known[start : start + self.per_device_train_batch_size]
                    values = self._forward(
                        row, images[part[0]], [ids[place] for place in part], [*map(spans.get, part)]
                    )
                    for place, value in zip(part, values, strict=True):
                        result[place] = value
        model.train(training)
        return result

    def _forward(self, row: TrainingRow, images: Any, completions: list[list[int]], spans: list[Any]) -> list[float]:
        """How likely the answers of completions to one question are, which is read once for all of them."""
        processor, device = self.loaded.processor, self.loaded.model.device
        text = processor.apply_chat_template(
            prompt.build_messages(self.family, row.sample, row.wording), add_generation_prompt=True
        )
        asked = processor(text=[text], images=[*images] if images else None, return_tensors="pt")
        count, longest = len(completions), max(map(len, completions))
        said = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in completions])
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in completions])
        columns = {"input_ids": said, "attention_mask": mask, "mm_token_type_ids": torch.zeros_like(said)}
        inputs: dict[str, Any] = {
            name: torch.cat([asked[name].expand(count, -1), after], dim=1).to(device)
            for name, after in columns.items()
            if name in asked
        }
        inputs |= {name: [asked[name].to(device)] * count for name in packing.IMAGE_INPUTS if name in asked}
        scores, _entropy = packing.log_probs(
            self.loaded.model, inputs, longest, temperature=1.0, gradient_checkpointing=False, autocast=nullcontext()
        )
        return [float(line[slice(*span)].mean().exp()) for line, span in zip(scores, spans, strict=True)]

    def _adapter(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, weight) for name, weight in self.loaded.model.named_parameters() if weight.requires_grad]

    def _exchange(self) -> None:
        for name, weight in self._adapter():
            weight.data, self.weights[name] = self.weights[name], weight.data


def answer_span(tokenizer: Any, ids: list[int]) -> tuple[int, int] | None:
    """Where the tokens of the answer in its tag begin and end; None where there is no such tag.

    Tokens do not end where the tag does, so those that hold any of the answer's characters count.
    """

    def said(count: int) -> str:
        return str(tokenizer.decode(ids[:count], skip_special_tokens=True))

    text = said(len(ids))
    begin, end = text.rfind("<answer>") + len("<answer>"), text.rfind("</answer>")
    if begin < len("<answer>") or end <= begin:
        return None
    counts = range(len(ids) + 1)
    first = bisect_right(counts, begin, key=lambda count: len(said(count))) - 1  # these tokens stop short of it
    last = next(count for count in counts[first + 1 :] if said(count).startswith(text[:end]))
    return first, last
