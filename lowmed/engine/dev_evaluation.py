"""Evaluation on dev questions during training: figures, the best adapter, early stop.

It changes nothing about the training: it draws no random numbers and restores the model's mode.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lowmed import processes
from lowmed.engine import chat, generate
from lowmed.engine.adapter import copy_adapter, write_adapter
from lowmed.engine.job import TrainingJob
from lowmed.engine.load import Loaded
from lowmed.errors import RunError
from lowmed.evaluation import dev
from lowmed.evaluation.answerer import OpenImage
from lowmed.evaluation.metrics import prediction, scored
from lowmed.files import disk_errors
from lowmed.prompt import Family
from lowmed.sample import Sample

BEST = "best"  # folder of the best adapters, one subfolder for each step
CHUNK = 64  # tokens whose probabilities over the vocabulary are in memory at once


class DevEvaluation(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Evaluates every `dev.eval_steps` steps, keeps the adapter with the highest accuracy, and stops without progress.

    Add it before the callback that stops the run for its deadline, so that its time counts.

    An evaluation is stored before the checkpoint of its step. Best adapters stay until a checkpoint follows that no
    longer needs them, so that a run that resumes from any of its checkpoints finds the best adapter of that time.
    """

    def __init__(
        self,
        job: TrainingJob,
        questions: Sequence[Sample],
        digest: str,
        open_image: OpenImage,
        log: Callable[[str], None],
    ) -> None:
        """Prepare the evaluation.

        Args:
            job: the run.
            questions: the same in every evaluation.
            digest: names these questions; evaluations of other questions are not compared with.
            open_image: opens their images.
            log: gets one line for each evaluation.
        """
        self.job = job
        self.questions = questions
        self.digest = digest
        self.open_image = open_image
        self.log = log

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The evaluations of these questions so far."""
        return [line for line in self.job.run.rows(dev.FILE) if line["questions_digest"] == self.digest]

    @property
    def stopped(self) -> bool:
        """Whether training ends because the accuracy no longer rises."""
        return dev.is_exhausted(self.lines, self.job.recipe.dev.patience)

    def rewind(self, step: int) -> None:
        """Forget everything after a step, from which the run resumes.

        Raises:
            RunError: the best adapter until then is missing.
        """
        for name in (dev.FILE, dev.COMPLETIONS):
            self.job.run.rewind(name, step)
        for folder in self._best_folders():
            if _step(folder) > step:
                shutil.rmtree(folder)
        best, record = self.best_adapter(), self.job.run.record
        if best is None or best.is_dir():
            return
        if record.adapter_step != _step(best) or not self.job.run.adapter.is_dir():
            raise RunError(
                "the best adapter so far is missing",
                str(best),
                "restore the folder, or start a new run; dev.keep=last would not need it",
            )
        copy_adapter(self.job.run.adapter, best)  # the run had finished

    def remove_best_adapters(self) -> None:
        """Remove the best adapters, because the run has its own copy of the one that it keeps."""
        shutil.rmtree(self.job.run.folder / BEST, ignore_errors=True)

    def best_adapter(self) -> Path | None:
        """The folder of the adapter with the highest accuracy; None if the last one is to be kept."""
        best = dev.best_line(self.lines)
        if self.job.recipe.dev.keep == "last" or best is None:
            return None
        return self._folder(best["step"])

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Evaluate the model before the first step."""
        if state.global_step == 0 and processes.from_first(lambda: not self.lines):
            self._evaluate(0)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Evaluate if due, and end the training if the accuracy no longer rises."""
        if self.job.recipe.dev.is_due(state.global_step, state.max_steps):
            self._evaluate(state.global_step)
            if processes.from_first(lambda: self.stopped):
                control.should_training_stop = True
                control.should_save = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Remove the best adapters that no checkpoint needs."""
        checkpoints = {_step(folder) for folder in self.job.run.complete_checkpoints()}
        needed = set()
        for checkpoint in (*checkpoints, state.global_step):
            if best := dev.best_line([line for line in self.lines if line["step"] <= checkpoint]):
                needed.add(best["step"])
        for folder in self._best_folders():
            if _step(folder) not in needed:
                shutil.rmtree(folder)

    def _evaluate(self, step: int) -> None:
        started = time.monotonic()
        loaded, family = self.job.loaded, self.job.recipe.prompts.asking
        training = loaded.model.training
        try:
            completions = list(
                generate.generate_ids(
                    loaded,
                    self.questions[processes.place().rank :: processes.size()],
                    family,
                    self.open_image,
                    max_new_tokens=self.job.recipe.eval.max_new_tokens,
                    batch_size=self.job.size.eval_batch_size,
                )
            )
            statistics = token_statistics(loaded, completions, family, self.open_image)
        finally:
            loaded.model.train(training)
        completions = [one for share in processes.gather(completions) for one in share]
        if not processes.is_first():
            return
        opening = chat.assistant_start(loaded.processor, family).opening
        texts = [generate.as_completion(loaded, sample, ids, opening) for sample, ids in completions]
        rows = scored(prediction(one.sample, "dev", one.completion, one.tokens, one.finish_reason) for one in texts)
        line = {
            "step": step,
            "questions_digest": self.digest,
            **dev.figures(rows),
            **dev.mean_rewards(self.job.rewards, [(one.sample, one.completion, one.tokens) for one in texts]),
            **statistics,
            "seconds": round(time.monotonic() - started, 2),
        }
        run = self.job.run
        run.append(dev.COMPLETIONS, [_stored(step, row) for row in rows])
        best = dev.best_line([*self.lines, line])
        if best is line and self.job.recipe.dev.keep == "best":
            with disk_errors(run.folder):
                write_adapter(loaded.model, self._folder(step))
        run.append(dev.FILE, [line])
        self.log(f"dev     {dev.line_text(line)}")

    def _folder(self, step: int) -> Path:
        return self.job.run.folder / BEST / f"step-{step}"

    def _best_folders(self) -> list[Path]:
        return list((self.job.run.folder / BEST).glob("step-*"))


@torch.no_grad()
def token_statistics(
    loaded: Loaded, completions: Sequence[tuple[Sample, list[int]]], family: Family, open_image: OpenImage
) -> dict[str, float]:
    """The mean entropy of the model's distribution over tokens, and its mean KL divergence from the base model.

    Both are exact sums over the vocabulary in nats, averaged over the tokens of the completions of all processes. Empty
    for unsloth, whose rewritten layers return no logits.

    Args:
        loaded: the model with an adapter, in evaluation mode.
        completions: samples and the tokens of their completions.
        family: the prompts of the completions.
        open_image: opens the samples' images.
    """
    if loaded.backend == "unsloth":
        return {}
    entropy = divergence = 0.0
    count = 0
    for sample, ids in completions:
        inputs = generate.encode(loaded, [sample], family, open_image)
        inputs = _with_completion(inputs, ids)
        policy = loaded.model(**inputs, logits_to_keep=len(ids) + 1, use_cache=False).logits[0, :-1]
        with loaded.model.disable_adapter():
            base = loaded.model(**inputs, logits_to_keep=len(ids) + 1, use_cache=False).logits[0, :-1]
        for start in range(0, len(ids), CHUNK):
            log_p = policy[start : start + CHUNK].float().log_softmax(dim=-1)
            log_q = base[start : start + CHUNK].float().log_softmax(dim=-1)
            p = log_p.exp()
            entropy -= float((p * log_p).sum())
            divergence += float((p * (log_p - log_q)).sum())
        count += len(ids)
    shares = processes.gather((entropy, divergence, count))
    entropy, divergence, count = (sum(values) for values in zip(*shares, strict=True))
    return {"entropy": entropy / count, "kl_base": divergence / count} if count else {}


def _with_completion(inputs: Any, ids: list[int]) -> dict[str, Any]:
    """The inputs of one prompt, followed by the tokens of its completion."""
    added = {
        "input_ids": inputs["input_ids"].new_tensor([ids]),
        "attention_mask": inputs["attention_mask"].new_ones((1, len(ids))),
    }
    if "mm_token_type_ids" in inputs:
        added["mm_token_type_ids"] = inputs["mm_token_type_ids"].new_zeros((1, len(ids)))
    return {**inputs, **{name: torch.cat([inputs[name], rest], dim=1) for name, rest in added.items()}}


def _stored(step: int, row: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "completion", "tokens", "finish_reason", "strict_outcome")
    return {"step": step, **{name: row[name] for name in names}}


def _step(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])
