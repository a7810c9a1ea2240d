"""Build the embedded model from scratch: `python -m lowmed.nano.build [--out FOLDER] [--base shortcut|blind]`.

There are two bases. "shortcut" is shipped. It is trained until it describes images well, and then for a short time on
completions with right reasoning whose answer is mostly the most frequent one of the topic. So it describes the image
correctly but answers from the prior, which reinforcement learning can correct. "blind" is trained too briefly to
describe images: its reasoning is right for 0.39 of 500 samples.
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
from lowmed.sample import Sample

SEED = 0
THREADS = 2
TOKENIZER_SAMPLES = 4000
MEASURED_SAMPLES = 500
MEASURED_TRIES = 8

_SEE = Phase(
    "see",
    steps=900,
    batch_size=32,
    learning_rate=2e-2,
    habit_share=0.0,
    direct_share=0.15,
    first_sample=0,
    letter_questions=32,
)
_HABIT = Phase(
    "habit",
    steps=240,
    batch_size=32,
    learning_rate=1e-2,
    habit_share=0.60,
    direct_share=0.15,
    first_sample=_SEE.end,
)
BASES: dict[str, tuple[Phase, ...]] = {
    "shortcut": (_SEE, _HABIT),
    "blind": (dataclasses.replace(_SEE, steps=40),),
}


def recipe_digest(base: str) -> str:
    """Twelve hex digits that depend on the model, the prompts, the phases and the source code of `teach`."""
    settings = (SEED, TOKENIZER_SAMPLES, model.SPECIAL_TOKENS, model.VOCABULARY_SIZE, model.CHAT_TEMPLATE, model.TEXT)
    families = [prompt.family(name).digest for name in ("diverse", "direct")]
    text = repr((settings, model.VISION, families, BASES[base], phantom.HABITS))
    return hashlib.sha256(text.encode() + Path(teach.__file__).read_bytes()).hexdigest()[:12]


def _content(sample: Sample) -> tuple[object, ...]:
    """The fields that phantom fills in."""
    text = (sample.id, sample.question, sample.answer, sample.kind, sample.group, sample.explanation, sample.modality)
    return (*text, sample.topic, sample.images, sample.options)


def data_digest() -> str:
    """Twelve hex digits that depend on the samples and images of phantom."""
    digest = hashlib.sha256()
    for split in phantom.SPLITS:
        for sample in phantom.samples(split, 100):
            digest.update(repr(_content(sample)).encode() + phantom.open_image(sample.images[0]).tobytes())
    return digest.hexdigest()[:12]


def build(base: str, report: Callable[[str], None]) -> tuple[Any, Any]:
    """The trained model and its processor."""
    import torch

    torch.set_num_threads(THREADS)
    phases = BASES[base]
    generator = np.random.Generator(np.random.PCG64(SEED))
    chats = [teach.chat(sample, _SEE, generator) for sample in phantom.samples("pretrain", TOKENIZER_SAMPLES)]
    texts = [f"{messages[0]['content'][-1]['text']}\n" for messages, _ in chats] + [
        completion for _, completion in chats
    ]
    template_texts = ["system\nYou are a helpful assistant.", "user\n", "assistant\n"] * TOKENIZER_SAMPLES
    processor = model.new_processor(texts + template_texts)
    trained = model.new_model(processor.tokenizer, SEED)
    for phase in phases:
        teach.teach(trained, processor, phase, report)
    return trained, processor


def measure_folder(folder: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Accuracies of the saved model on the first samples of the test split, in bfloat16 and with NF4 text layers."""
    import torch

    samples = phantom.samples("test", MEASURED_SAMPLES)
    result: dict[str, Any] = {}
    for name, four_bit in (("bfloat16", False), ("nf4", True)):
        loaded, processor = measure.load(folder, four_bit)
        torch.manual_seed(SEED)
        result[name] = dataclasses.asdict(measure.accuracies(samples, measure.completions(loaded, processor, samples)))
        sampled = measure.completions(loaded, processor, samples, tries=MEASURED_TRIES, temperature=1.0, rows=16)
        result[name][f"pass_at_{MEASURED_TRIES}"] = measure.pass_at(samples, sampled)
        report(f"measured in {name}: {json.dumps(result[name])}")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Build and measure the model, then copy all files to their folder."""
    parser = argparse.ArgumentParser(prog="python -m lowmed.nano.build", description="Build the embedded model.")
    parser.add_argument("--out", type=Path, default=nano.folder(), help="where to write it (default: the package)")
    parser.add_argument("--base", choices=BASES, default="shortcut")
    options = parser.parse_args(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Threads that spin while they wait make a step ten times slower as soon as another process uses a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        trained, processor = build(options.base, report)
        minutes = (time.monotonic() - started) / 60
        model.save(trained, processor, folder)
        record = {
            "base": options.base,
            "recipe": recipe_digest(options.base),
            "data": data_digest(),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "teaching_minutes": round(minutes, 1),
            "processor": platform.processor() or platform.machine(),
            "versions": {name: version(name) for name in ("numpy", "tokenizers", "torch", "transformers")},
            "phases": [dataclasses.asdict(phase) for phase in BASES[options.base]],
            "test": measure_folder(folder, report),
        }
        (folder / "build.json").write_text(json.dumps(record, indent=2) + "\n")
        options.out.mkdir(parents=True, exist_ok=True)
        for file in sorted(folder.iterdir()):
            shutil.copyfile(file, options.out / file.name)
    report(f"{options.base} base written to {options.out} after {(time.monotonic() - started) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
