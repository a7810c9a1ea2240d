"""A small finished run with everything that a report shows, made without a model."""

from pathlib import Path

import pytest
from predictors import Look, constant, division, evaluated, question_only, tagged

from lowmed.nano import phantom
from lowmed.recipe.io import load_recipe
from lowmed.run import Run, create_run
from lowmed.sample import Sample

PLANTED = (
    "<think>Look</think><answer><script>document.title='planted'</script>"
    "<img src=x onerror=\"document.title='planted'\"></answer>"
)
TEST = phantom.samples("test", 60)


@pytest.fixture
def finished(tmp_path: Path) -> Run:
    """A run of two steps. The base answers test questions with scripts, and the tuned model ignores the image."""
    run = create_run(load_recipe("rarl", [], nano=True), "rarl-nano", out=str(tmp_path / "run"))
    run.update(
        status="finished", steps=2, seconds=12.5, peak_gib=1.5, card="CPU", precision="fp32", backend="transformers",
        python="3.11.7", versions={"torch": "2.14.1"}, data_digest="d" * 64, image_pixels=[3136, 200704],
    )  # fmt: skip
    run.append(
        "metrics.jsonl",
        [
            {
                "step": at, "loss": 0.1 / at, "reward": 0.5 * at, "entropy": 0.3, "tokens": 20.0, "clipped": 0.0,
                "zero_spread_groups": 0.5, "seconds": 2.0, "adapter_norm": 0.1 * at, "rewards/accuracy": 0.25 * at,
                "rewards/reasoning": 0.5, "rewards/format": 1.0,
            }
            for at in (1, 2)
        ],
    )  # fmt: skip
    scores = {"accuracy": {"value": 0.0, "why": "<script>document.title='planted'</script>"}}
    rollout = {"step": 2, "row": 0, "id": TEST[0].id, "wording": 0, "completion": PLANTED, "tokens": 9}
    run.append("rollouts.jsonl", [{**rollout, "finish_reason": "stop", "scores": scores}])
    run.adapter.mkdir()

    def tuned(sample: Sample, look: Look) -> str:
        return "nothing to read" * (sample.topic == "size") or question_only(sample, look)

    def base(sample: Sample, look: Look) -> str:
        del look
        return PLANTED if sample.topic != "count" else tagged(sample, sample.answer)

    data_split = division(TEST, phantom.samples("train", 60))
    evaluated(run.folder / "evals" / "phantom", data_split, base, controls=0, system="base")
    evaluated(run.folder / "evals" / "phantom", data_split, tuned, controls=0, system="tuned")
    return run


@pytest.fixture
def yes_sayer(tmp_path: Path) -> Path:
    """An evaluation outside of a run."""
    evaluated(tmp_path / "yes", division(TEST), constant("<answer>yes</answer>"), controls=0)
    return tmp_path / "yes"
