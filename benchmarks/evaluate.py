"""Time of an evaluation: scoring and statistics of stored completions, and completions of the embedded model.

    python benchmarks/evaluate.py            both
    python benchmarks/evaluate.py --stored   the stored completions only, without a model

`stored` is `lowmed eval --rescore` of 10,000 questions, in CPU seconds of one process: parsing, grading, confidence
intervals, baselines, controls, strata. `answering` is `lowmed eval nano` with 1,000 phantom questions, including the
time to load the model, and then with the default controls. It also records the load of the machine before the start.
Results are printed and written to benchmarks/results/evaluate.json.
"""

import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lowmed import answer, prompt
from lowmed.data.load import load
from lowmed.data.split import evaluation_only
from lowmed.evaluation import results_folder, runner
from lowmed.evaluation.metrics import prediction
from lowmed.evaluation.report import eval_settings, report
from lowmed.nano import phantom
from lowmed.recipe import ModelSpec

RESULT = Path(__file__).parent / "results" / "evaluate.json"
QUESTIONS = 10_000
ANSWERED = 1_000


def stored(folder: Path, controls: int) -> dict[str, Any]:
    data_split = evaluation_only(load("phantom", sizes={"test": QUESTIONS}))
    family = prompt.family("reasoning")
    settings = eval_settings(ModelSpec(name="nano"), family, data_split, max_new_tokens=64, seen="")
    results_folder.open_folder(folder, settings)
    completions = 0
    for condition in runner.list_conditions(data_split, controls=controls):
        rows = []
        for sample in condition.samples:
            habit = phantom.HABITS[sample.topic]
            letter = "ABC"[sample.options.index(habit)] if habit in sample.options else habit
            completion = f"<think>The image shows it.</think><answer>{letter}</answer>"
            rows.append({**prediction(sample, condition.split, completion, 12, "stop"), "prior": habit})
        results_folder.append_rows(results_folder.completions_file(folder, "base", condition.name), rows)
        completions += len(rows)
    started = time.process_time()
    result = report(folder)
    seconds = time.process_time() - started
    assert result.splits["test"].results["base"].questions == QUESTIONS
    return {"questions": QUESTIONS, "completions_with_controls": completions, "cpu_seconds": round(seconds, 2)}


def answering(folder: Path) -> dict[str, Any]:
    from lowmed.engine import evaluator

    model, family = ModelSpec(name="nano"), prompt.family("reasoning")
    data_split = evaluation_only(load("phantom", sizes={"test": ANSWERED}))
    results_folder.open_folder(folder, eval_settings(model, family, data_split, max_new_tokens=64, seen=""))
    result: dict[str, Any] = {
        "questions": ANSWERED,
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
    }
    for name, controls in (("seconds", 0), ("seconds_for_controls_of_200", 200)):
        started = time.monotonic()
        runner.run_conditions(
            folder,
            "base",
            runner.list_conditions(data_split, controls=controls),
            lambda: evaluator.answerer(model, None, family, 64),
            train=data_split.train,
            advance=lambda done, note: None,
        )
        report(folder)
        result[name] = round(time.monotonic() - started, 1)
    return result


def main(arguments: list[str]) -> None:
    result = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    result |= {
        "date": datetime.now(UTC).date().isoformat(),
        "rules_version": answer.RULES_VERSION,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()}",
    }
    with tempfile.TemporaryDirectory() as folder:
        result["stored"] = stored(Path(folder) / "default", 200)
        result["stored_all_controlled"] = stored(Path(folder) / "all", QUESTIONS)
        if "--stored" not in arguments:
            result["answering"] = answering(Path(folder) / "nano")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
