"""Folders of probes with given completions."""

from collections.abc import Sequence
from pathlib import Path

from lowmed import prompt
from lowmed.data.split import DataSplit, training_questions_only
from lowmed.evaluation import results_folder
from lowmed.evaluation.controls import REAL, SAMPLED
from lowmed.evaluation.metrics import prediction
from lowmed.evaluation.report import eval_settings
from lowmed.nano import phantom
from lowmed.recipe import ModelSpec
from lowmed.sample import Sample

SAMPLE = Sample("1", "Is there a lesion?", "yes", "closed", "g1", "phantom")
OTHER = Sample("2", "Where is the lesion?", "upper left", "open", "g2", "phantom")
SPLIT = DataSplit("phantom", (SAMPLE, OTHER), {}, {}, {}, phantom.open_image, "digest")
Completion = tuple[str, int] | tuple[str, int, str]


def turn(thought: str, text: str) -> str:
    return f"<think>{thought}</think><answer>{text}</answer>"


RIGHT, WRONG = turn("I see a bright lesion.", "yes"), turn("I see dark lung only.", "no")


def probed(folder: Path, *completions: Sequence[Completion], split: DataSplit = SPLIT) -> Path:
    """A probe's folder with these completions of the first questions: text, tokens, and finish reason if not stop."""
    data_split = training_questions_only(split, 10) if split is SPLIT else split
    settings = eval_settings(ModelSpec(), prompt.family("reasoning"), data_split, max_new_tokens=64, seen="")
    results_folder.open_folder(folder, settings)
    [part] = data_split.held_out
    for sample, of_sample in zip((SAMPLE, OTHER), completions, strict=False):
        rows = [prediction(sample, part, text, tokens, *(end or ("stop",))) for text, tokens, *end in of_sample]
        results_folder.append_rows(results_folder.completions_file(folder, "base", SAMPLED), rows)
        results_folder.append_rows(results_folder.completions_file(folder, "base", REAL), rows[:1])
    return folder


UNUSED: dict[str, Completion] = {
    "truncated": (RIGHT, 20, "length"),
    "not in full form": ("<answer>yes</answer>", 20),
    "unread": (turn("I see a bright lesion.", "maybe or maybe not"), 20),
    "reasoning comes to another answer": (turn("There is no lesion. The answer is no.", "yes"), 20),
}
