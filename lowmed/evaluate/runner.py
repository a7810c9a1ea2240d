"""Every question asked once in every condition, and kept as it is answered, so that a killed evaluation can go on."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lowmed.data.answer_prior import AnswerPrior
from lowmed.data.split import DataSplit
from lowmed.evaluate import results_folder
from lowmed.evaluate.answerer import Answerer
from lowmed.evaluate.controls import (
    REAL,
    SAMPLED,
    SAMPLED_BLIND,
    Condition,
    choose_questions,
    conditions,
    without_images,
)
from lowmed.evaluate.metrics import prediction
from lowmed.files import read_json
from lowmed.sample import Sample

Advance = Callable[[int, str], None]


def list_conditions(
    data_split: DataSplit, *, controls: int = 0, samples: int = 0, temperature: float = 1.0
) -> list[Condition]:
    """What is asked of a model: every question once, some again as controls, all of them sampled where wanted.

    Args:
        split: the questions.
        controls: how many of them the controls ask again, over all splits.
        samples: sampled completions per question, beside the greedy one.
        temperature: of those.
    """
    again = choose_questions(data_split.held_out, controls) if controls else {}
    work = []
    for split, asked in data_split.held_out.items():
        work.append(Condition(REAL, split, asked, data_split.open_image))
        work += conditions(split, again.get(split, ()), asked, data_split.open_image) if controls else []
        if samples:
            work.append(Condition(SAMPLED, split, asked, data_split.open_image, samples, temperature))
    return work


def sampled_blind(real: Condition, samples: int, temperature: float) -> Condition:
    """The same questions sampled without their images: what guessing and habit alone reach."""
    alone = tuple(without_images(sample) for sample in real.samples)
    return Condition(SAMPLED_BLIND, real.split, alone, real.open_image, samples, temperature)


def total(work: Iterable[Condition]) -> int:
    """How many completions that is."""
    return sum(len(condition.samples) * condition.copies for condition in work)


def run_conditions(
    folder: Path,
    who: str,
    work: Sequence[Condition],
    ready: Callable[[], Answerer],
    *,
    train: Sequence[Sample],
    advance: Advance,
) -> None:
    """Ask what was not answered yet, and store each completion as it comes.

    Args:
        folder: of the evaluation.
        who: `base`, `tuned` or `endpoint`.
        work: what is asked.
        ready: makes the answerer; called only where something is left to ask, since loading a model takes its time.
        train: the training samples, whose answers are the floor.
        advance: told how many completions are there, and the condition.
    """
    answerer: Answerer | None = None
    prior = AnswerPrior(train) if train else None
    digest = read_json(folder / results_folder.SETTINGS)["prompt_digest"]
    done = 0
    for condition in work:
        file = results_folder.path(folder, who, condition.name)
        missing = _missing(condition, results_folder.read(file))
        done += len(condition.samples) * condition.copies - sum(copies * len(some) for copies, some in missing.items())
        for copies, samples in missing.items():
            answerer = answerer or ready()
            for completion in answerer(samples, condition.open_image, copies=copies, temperature=condition.temperature):
                row = prediction(
                    completion.sample,
                    condition.split,
                    completion.completion,
                    completion.tokens,
                    completion.finish_reason,
                )
                row["prompt_digest"] = digest
                if condition.name == REAL:
                    row["prior"] = prior.answer(completion.sample) if prior else None
                if condition.copies > 1:
                    row["temperature"] = condition.temperature
                results_folder.append(file, [row])
                done += 1
                advance(done, f"{condition.split} {condition.name}")


def _missing(condition: Condition, stored: Sequence[dict[str, object]]) -> dict[int, list[Sample]]:
    """The samples that lack completions, by how many they lack."""
    have = Counter(row["id"] for row in stored if row["split"] == condition.split)
    missing: dict[int, list[Sample]] = defaultdict(list)
    for sample in condition.samples:
        if have[sample.id] < condition.copies:
            missing[condition.copies - have[sample.id]].append(sample)
    return dict(missing)
