"""The architecture of Qwen2-VL-2B, 4-bit, with random weights, on a CPU."""

import json
from pathlib import Path

import pytest
from conftest import SHARED, Lowmed

import lowmed as package

SKELETON = SHARED / "data" / "qwen2-vl-2b-skeleton"
# Random weights never answer in tags, so that the rewards of the recipe are equal. This one differs by completion.
REWARD = """from lowmed.rewards import Score

def letters(sample, completion):
    return Score(len(completion) % 10 / 10, "letters")
"""


@pytest.mark.slow
@pytest.mark.xdist_group("large")  # 11 GiB: never two at the same time
@pytest.mark.skipif(not SKELETON.is_dir(), reason="the config folder is not at ../shared/data/qwen2-vl-2b-skeleton")
def test_one_grpo_step_of_the_full_size_samples_and_trains(
    lowmed: Lowmed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.py").write_text(REWARD)
    package.trust_reward(tmp_path / "own.py")
    settings = (
        f"model.name={SKELETON}", "model.weights=random", "data.source=phantom", "data.split_by=official",
        "data.max_train_questions=4", "method.max_steps=1", "method.prompts_per_step=1", "method.num_generations=4",
        "method.max_completion_length=4", "method.mask_truncated_completions=false",
        "method.rewards=[{name: own.py:letters}]",
    )  # fmt: skip
    result = lowmed("grpo", "--recipe", "rarl", *settings, "--out", "run")
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    with capsys.disabled():
        print(f"\none step of the full size: {record['seconds']} s, peak {record['peak_gib']} GiB")
    assert record["status"] == "finished"
    config = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == 8
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert row["adapter_norm"] > 0
