"""Build base models of the testbed: `python -m lowmed.testbed.build BASE [BASE ...] --out FOLDER`.

| base  | sees  | reasons in steps | answers              | what should help                    |
| ----- | ----- | ---------------- | -------------------- | ----------------------------------- |
| habit | well  | yes              | mostly from the prior | reinforcement learning sharpens it |
| steps | well  | one step only    | by its reasoning      | SFT opens it, then RL sharpens it  |
| weak  | badly | yes              | by its reasoning      | neither: its tower is frozen       |

part-100, part-200 and part-300 see well and learned questions for that many steps only.
"""

import argparse
import copy
import dataclasses
import datetime
import functools
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lowmed.nano import model
from lowmed.testbed import samples as testbed
from lowmed.testbed.teach import Phase, caption_chat, chat, teach
from lowmed.testbed.tower import teach_tower

SEED = 0
THREADS = 2
VOCABULARY_SIZE = 1024
TOKENIZER_SAMPLES = 4000
TOWER_IMAGES, TOWER_LEARNING_RATE = 64, 1e-2
_CAPTIONS = Phase("captions", steps=200, rows=32, captions=32, learning_rate=1e-2, seed=2)
_QUESTIONS = Phase("questions", steps=450, rows=40, captions=8, learning_rate=1e-2, seed=3)
_HABIT = Phase("habit", steps=100, rows=32, captions=0, learning_rate=3e-3, seed=4, habit_share=0.6)


@dataclass(frozen=True, slots=True)
class Base:
    """A base model: training steps of its vision tower, then the phases of the complete model."""

    tower_steps: int
    phases: tuple[Phase, ...]


BASES: dict[str, Base] = {
    "habit": Base(800, (_CAPTIONS, _QUESTIONS, _HABIT)),
    "steps": Base(800, (_CAPTIONS, dataclasses.replace(_QUESTIONS, most_steps=1))),
    "weak": Base(100, (_CAPTIONS, _QUESTIONS)),
} | {
    # Less of the same training: points between `weak` and `habit` for the gain of RL against the support of its base.
    f"part-{steps}": Base(800, (_CAPTIONS, dataclasses.replace(_QUESTIONS, steps=steps)))
    for steps in (100, 200, 300)
}


def build(base: Base, report: Callable[[str], None]) -> tuple[Any, Any, dict[str, float]]:
    """The trained model, its processor, and the accuracies of the classifiers on its tower."""
    trained, processor, seen = copy.deepcopy(_begun(base.tower_steps, base.phases[0], report))
    for phase in base.phases[1:]:
        teach(trained, processor, phase, report)
    return trained, processor, seen


@functools.cache
def _begun(tower_steps: int, phase: Phase, report: Callable[[str], None]) -> tuple[Any, Any, dict[str, float]]:
    """The same after the first phase, which bases with the same tower share."""
    import torch

    torch.manual_seed(SEED)
    generator = np.random.Generator(np.random.PCG64(SEED))
    pool = testbed.samples("pretrain", TOKENIZER_SAMPLES)
    chats = [chat(sample, _QUESTIONS, generator) for sample in pool]
    texts = [f"{messages[0]['content'][-1]['text']}\n" for messages, _ in chats]
    texts += [completion for _, completion in chats] + [caption_chat(sample)[1] for sample in pool]
    texts += ["system\nYou are a helpful assistant.", "user\n", "assistant\n"] * TOKENIZER_SAMPLES
    processor = model.new_processor(texts, VOCABULARY_SIZE)
    trained = model.new_model(processor.tokenizer, SEED)
    seen = teach_tower(
        trained.model.visual,
        processor,
        steps=tower_steps,
        images=TOWER_IMAGES,
        learning_rate=TOWER_LEARNING_RATE,
        report=report,
    )
    teach(trained, processor, phase, report)
    return trained, processor, seen


def main(arguments: list[str] | None = None) -> int:
    """Build models, each into a folder of its name."""
    parser = argparse.ArgumentParser(prog="python -m lowmed.testbed.build", description="Build bases of the testbed.")
    parser.add_argument("bases", nargs="+", choices=BASES)
    parser.add_argument("--out", type=Path, required=True, help="folder in which each base gets one of its name")
    options = parser.parse_args(arguments)
    for name in options.bases:  # before minutes of training
        try:
            (options.out / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"--out: {options.out / name} cannot be a folder ({error.strerror})")
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Threads that spin while they wait make a step ten times slower as soon as another process uses a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(THREADS)

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    for name in options.bases:
        started = time.monotonic()
        trained, processor, seen = build(BASES[name], report)
        minutes = (time.monotonic() - started) / 60
        _write(
            trained, processor, {"base": name, "teaching_minutes": round(minutes, 1), "tower": seen}, options.out / name
        )
        report(f"{name} written to {options.out / name} after {minutes:.1f} minutes")
    return 0


def _write(trained: Any, processor: Any, record: dict[str, Any], out: Path) -> None:
    """Save to a temporary folder, then copy all files to theirs."""
    base = BASES[record["base"]]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model.save(trained, processor, folder)
        record |= {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "processor": platform.processor() or platform.machine(),
            "versions": {name: version(name) for name in ("numpy", "tokenizers", "torch", "transformers")},
            "tower_steps": base.tower_steps,
            "phases": [dataclasses.asdict(phase) for phase in base.phases],
        }
        (folder / "build.json").write_text(json.dumps(record, indent=2) + "\n")
        for file in sorted(folder.iterdir()):
            shutil.copyfile(file, out / file.name)


if __name__ == "__main__":
    sys.exit(main())
