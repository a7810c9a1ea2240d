"""Generates and stores the completions of every condition, so that a killed evaluation can be resumed."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from lowmed import processes
from lowmed.data.answer_prior import AnswerPrior
from lowmed.data.split import DataSplit
from lowmed.evaluation import results_folder
from lowmed.evaluation.answerer import Answerer
from lowmed.evaluation.controls import (
    REAL,
    SAMPLED,
    SAMPLED_BLIND,
    Condition,
    choose_questions,
    conditions,
    contrastive,
)
from lowmed.evaluation.metrics import prediction
from lowmed.evaluation.records import EvalSettings
from lowmed.progress import Advance
from lowmed.records import read_record
from lowmed.sample import Sample, without_images


def list_conditions(
    data_split: DataSplit,
    *,
    controls: int = 0,
    contrasted: bool = False,
    samples: int = 0,
    temperature: float = 1.0,
) -> list[Condition]:
    """All completions to generate for a system: each question once, some again as controls, and sampled ones.

    Args:
        data_split: the questions.
        controls: number of questions repeated under controls, over all splits.
        contrasted: also decode the questions of the controls contrastively.
        samples: sampled completions per question, in addition to the greedy one.
        temperature: temperature of the sampled completions.
    """
    controlled = choose_questions(data_split.held_out, controls) if controls else {}
    result = []
    for split, samples_of_split in data_split.held_out.items():
        result.append(Condition(REAL, split, samples_of_split, data_split.open_image))
        if controls:
            result += conditions(split, controlled.get(split, ()), samples_of_split, data_split.open_image)
        if contrasted:
            result.append(contrastive(split, controlled.get(split, ()), data_split.open_image))
        if samples:
            result.append(Condition(SAMPLED, split, samples_of_split, data_split.open_image, samples, temperature))
    return result


def sampled_blind(real: Condition, samples: int, temperature: float) -> Condition:
    """The same questions sampled without their images: a baseline for guesses and learned answer priors."""
    blind = tuple(without_images(sample) for sample in real.samples)
    return Condition(SAMPLED_BLIND, real.split, blind, real.open_image, samples, temperature)


def total(conditions: Iterable[Condition]) -> int:
    """Number of completions."""
    return sum(len(condition.samples) * condition.copies for condition in conditions)


def run_conditions(
    folder: Path,
    system: str,
    conditions: Sequence[Condition],
    load_answerer: Callable[[], Answerer],
    *,
    train: Sequence[Sample],
    advance: Advance,
) -> None:
    """Generate the completions that are not stored yet, and store each one at once. Each process generates its share.

    Args:
        folder: folder of the evaluation.
        system: `base`, `tuned` or `endpoint`.
        conditions: conditions to generate.
        load_answerer: loads the model; called only if completions are missing.
        train: training samples, for the answer-prior baseline.
        advance: called with the number of stored completions and the condition.
    """
    answerer: Answerer | None = None
    prior = AnswerPrior(train) if train else None
    prompt_digest = read_record(folder / results_folder.SETTINGS, EvalSettings).prompt_digest
    done = 0
    for condition in conditions:
        file = results_folder.completions_file(folder, system, condition.name)
        missing = _missing(condition, processes.from_first(partial(results_folder.read_rows, file)))
        expected = len(condition.samples) * condition.copies
        done += expected - sum(copies * len(samples) for copies, samples in missing.items())
        for copies, samples in missing.items():
            answerer = answerer or load_answerer()
            options: dict[str, Any] = {"copies": copies, "temperature": condition.temperature}
            if condition.contrast:
                options["contrast"] = condition.contrast
            answer = partial(answerer, open_image=condition.open_image, **options)
            with closing(processes.divide(samples, answer)) as completions:  # an interruption ends its requests
                for completion in completions:
                    row = prediction(
                        completion.sample,
                        condition.split,
                        completion.completion,
                        completion.tokens,
                        completion.finish_reason,
                    )
                    row["prompt_digest"] = prompt_digest
                    if condition.name == REAL:
                        row["prior"] = prior.answer(completion.sample) if prior else None
                    if condition.copies > 1:
                        row["temperature"] = condition.temperature
                    if completion.prompt_tokens:
                        row["prompt_tokens"] = completion.prompt_tokens
                    results_folder.append_rows(file, [row])
                    done += 1
                    advance(done, f"{condition.split} {condition.name}")


def _missing(condition: Condition, stored: Sequence[dict[str, object]]) -> dict[int, list[Sample]]:
    """The samples that lack completions, by the number that they lack."""
    stored_counts = Counter(row["id"] for row in stored if row["split"] == condition.split)
    missing: dict[int, list[Sample]] = defaultdict(list)
    for sample in condition.samples:
        if stored_counts[sample.id] < condition.copies:
            missing[condition.copies - stored_counts[sample.id]].append(sample)
    return dict(missing)
