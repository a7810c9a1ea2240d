"""The architecture of Qwen2-VL-2B, 4-bit, with random weights, on a CPU."""

import json
from pathlib import Path

import pytest
from conftest import SHARED, Lowmed

SKELETON = SHARED / "data" / "qwen2-vl-2b-skeleton"
COMMON = (
    f"model.name={SKELETON}", "model.weights=random", "data.source=phantom", "data.split_by=official",
    "data.max_train_questions=4", "method.max_steps=1", "method.prompts_per_step=1",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.xdist_group("large")  # 11 GiB each: never two at the same time
@pytest.mark.skipif(not SKELETON.is_dir(), reason="the config folder is not at ../shared/data/qwen2-vl-2b-skeleton")
@pytest.mark.parametrize(
    ("kind", "recipe", "small"),
    [("sft", "rarl-sft", ()), ("grpo", "rarl", ("method.num_generations=2", "method.max_completion_length=4"))],
)
def test_one_step_of_the_full_size_trains(
    kind: str,
    recipe: str,
    small: tuple[str, ...],
    lowmed: Lowmed,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = lowmed(kind, "--recipe", recipe, *COMMON, *small, "--out", "run")
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    with capsys.disabled():
        print(f"\n{kind}, one step of the full size: {record['seconds']} s, peak {record['peak_gib']} GiB")
    assert record["status"] == "finished"
    config = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == 8
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    # With random weights all rewards are equal, so GRPO has no gradient. SFT has one.
    assert (row["adapter_norm"] > 0) == (kind == "sft")
