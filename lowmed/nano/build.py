"""Rebuild the embedded model from nothing: `python -m lowmed.nano.build [--out FOLDER] [--base shortcut|blind]`.

Two bases. "shortcut" is shipped: it is taught until it sees well, and then for a short while on completions whose reasoning
is right but whose answer is mostly the family's habitual one. So it knows, and answers from the prior: what
reinforcement learning repairs. "blind" is taught too briefly to see: its reasoning is right for 0.39 of 500 samples.
"""

import argparse
import dataclasses
import datetime
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lowmed import nano, prompt
from lowmed.nano import measure, model, phantom, teach
from lowmed.nano.teach import Phase

SEED = 0
THREADS = 2
TOKENIZER_SAMPLES = 4000
MEASURED_SAMPLES = 500
MEASURED_TRIES = 8

_SEE = Phase(
    "see",
    updates=900,
    batch_size=32,
    learning_rate=2e-2,
    habit_share=0.0,
    direct_share=0.15,
    first_sample=0,
    letter_questions=32,
)
_HABIT = Phase(
    "habit",
    updates=240,
    batch_size=32,
    learning_rate=1e-2,
    habit_share=0.60,
    direct_share=0.15,
    first_sample=_SEE.end,
)
BASES: dict[str, tuple[Phase, ...]] = {
    "shortcut": (_SEE, _HABIT),
    "blind": (dataclasses.replace(_SEE, updates=40),),
}


def recipe_digest(base: str) -> str:
    """Twelve hex digits that change with the model, the prompts, the phases or the code that teaches."""
    settings = (SEED, TOKENIZER_SAMPLES, model.SPECIAL_TOKENS, model.VOCABULARY_SIZE, model.CHAT_TEMPLATE, model.TEXT)
    families = [prompt.family(name).digest for name in ("diverse", "direct")]
    text = repr((settings, model.VISION, families, BASES[base], phantom.HABITS))
    return hashlib.sha256(text.encode() + Path(teach.__file__).read_bytes()).hexdigest()[:12]


def data_digest() -> str:
    """Twelve hex digits that change with what phantom says or paints."""
    digest = hashlib.sha256()
    for split in phantom.SPLITS:
        for sample in phantom.samples(split, 100):
            digest.update(repr(sample).encode() + phantom.picture(sample.images[0]).tobytes())
    return digest.hexdigest()[:12]


def build(base: str, report: Callable[[str], None]) -> tuple[Any, Any]:
    """The taught model and its processor."""
    import torch

    torch.set_num_threads(THREADS)
    phases = BASES[base]
    chance = np.random.Generator(np.random.PCG64(SEED))
    chats = [teach.asked(sample, _SEE, chance) for sample in phantom.samples("pretrain", TOKENIZER_SAMPLES)]
    turns = [f"{messages[0]['content'][-1]['text']}\n" for messages, _ in chats] + [
        completion for _, completion in chats
    ]
    frame = ["system\nYou are a helpful assistant.", "user\n", "assistant\n"] * TOKENIZER_SAMPLES
    processor = model.fresh_processor(turns + frame)
    taught = model.fresh_model(processor.tokenizer, SEED)
    for phase in phases:
        teach.teach(taught, processor, phase, report)
    return taught, processor


def measured(folder: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Figures of the saved model on the first samples of the test split, in bfloat16 and with NF4 text layers."""
    import torch

    samples = phantom.samples("test", MEASURED_SAMPLES)
    result: dict[str, Any] = {}
    for name, four_bit in (("bfloat16", False), ("nf4", True)):
        loaded, processor = measure.load(folder, four_bit)
        torch.manual_seed(SEED)
        result[name] = dataclasses.asdict(measure.figures(samples, measure.replies(loaded, processor, samples)))
        tries = measure.replies(loaded, processor, samples, tries=MEASURED_TRIES, temperature=1.0, rows=16)
        result[name][f"pass_at_{MEASURED_TRIES}"] = measure.pass_at(samples, tries)
        report(f"measured in {name}: {json.dumps(result[name])}")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Build, measure, and put the files in place when all of them are there."""
    parser = argparse.ArgumentParser(prog="python -m lowmed.nano.build", description="Rebuild the embedded model.")
    parser.add_argument("--out", type=Path, default=nano.folder(), help="where to write it (default: the package)")
    parser.add_argument("--base", choices=BASES, default="shortcut")
    chosen = parser.parse_args(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Threads that spin while they wait make an update ten times slower when somebody else uses a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        ready = Path(scratch)
        taught, processor = build(chosen.base, report)
        minutes = (time.monotonic() - begun) / 60
        model.save(taught, processor, ready)
        record = {
            "base": chosen.base,
            "recipe": recipe_digest(chosen.base),
            "data": data_digest(),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "teaching_minutes": round(minutes, 1),
            "processor": platform.processor() or platform.machine(),
            "versions": {name: version(name) for name in ("numpy", "tokenizers", "torch", "transformers")},
            "phases": [dataclasses.asdict(phase) for phase in BASES[chosen.base]],
            "test": measured(ready, report),
        }
        (ready / "build.json").write_text(json.dumps(record, indent=2) + "\n")
        chosen.out.mkdir(parents=True, exist_ok=True)
        for file in sorted(ready.iterdir()):
            shutil.copyfile(file, chosen.out / file.name)
    report(f"{chosen.base} base written to {chosen.out} after {(time.monotonic() - begun) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
