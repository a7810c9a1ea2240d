"""A probe, pairs of its completions, DPO on them, and visual reliance before and after, as a user runs them."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import Lowmed, Start

from lowmed import answer, prompt
from lowmed.nano import phantom
from lowmed.rewards.format import Format

pytestmark = pytest.mark.slow
SMALL = ["--nano", "data.pairs=pairs.jsonl", "method.max_steps=4", "method.prompts_per_step=3", "method.save_steps=2"]


def adapter(run: Path) -> bytes:
    return (run / "adapter" / "adapter_model.safetensors").read_bytes()


def killed_after(steps: int, run: Path, command: list[str], start: Start) -> None:
    process, metrics = start(*command, "--out", run.name), run / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < steps:
        try:
            raise AssertionError(f"the run ended before the signal, with {process.wait(timeout=0.02)}")
        except subprocess.TimeoutExpired:
            continue
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.fixture
def pairs(lowmed: Lowmed, tmp_path: Path) -> Path:
    """Pairs of a real probe."""
    probe = lowmed("probe", "nano", "--on", "phantom", "--questions", "16", "--samples", "6", "--out", "probe")
    assert probe.returncode in (0, 1), probe.stderr
    made = lowmed("data", "pairs", "probe", "--out", "pairs.jsonl")
    assert made.returncode == 0, made.stderr
    assert "lowmed dpo --recipe mdpo data.pairs=pairs.jsonl" in made.stdout
    return tmp_path / "pairs.jsonl"


def test_pairs_of_a_probe_train_resume_and_show_visual_reliance(
    pairs: Path, lowmed: Lowmed, start: Start, tmp_path: Path
) -> None:
    samples = {sample.id: sample for sample in phantom.samples("train", 960)}
    lines = [json.loads(line) for line in pairs.read_text().splitlines()]
    for line in lines:
        sample, texts = samples[line["id"]], (line["chosen"], line["rejected"])
        grades = [answer.grade(answer.read(text, sample), sample).strict_outcome for text in texts]
        assert grades == ["correct", "incorrect"]
        assert [Format()(sample, text).value for text in texts] == [1, 1]
    again = lowmed("data", "pairs", "probe", "--out", "pairs.jsonl")
    assert (again.returncode, "already" in again.stderr or "exists" in again.stderr) == (2, True)

    checked = lowmed("check", "--recipe", "mdpo", *SMALL)
    assert f"trained  {len(lines)} pairs of" in checked.stdout, checked.stderr
    mdpo = ["dpo", "--recipe", "mdpo", *SMALL]
    assert lowmed(*mdpo, "--out", "first").returncode == 0
    row = json.loads((tmp_path / "first" / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"loss", "rewards/margins", "rewards/accuracies", "rewards/image_margins"} <= row.keys()

    # From an adapter, the reference is a copy of it, which a checkpoint holds next to the trained one.
    going_on = [*mdpo, "lora.start=first"]
    assert lowmed(*going_on, "--out", "whole").returncode == 0
    killed_after(3, tmp_path / "killed", going_on, start)
    text = pairs.read_text()
    pairs.write_text(text.replace("<answer>", "<answer> "))
    refused = lowmed("dpo", "--resume", "killed")
    assert (refused.returncode, "the pairs have changed" in refused.stderr) == (2, True)
    pairs.write_text(text)
    resumed = lowmed("dpo", "--resume", "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert adapter(tmp_path / "killed") == adapter(tmp_path / "whole")
    first = json.loads((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["rewards/margins"] == 0  # the model is its own reference
    assert not list((tmp_path / "whole" / "adapter").glob("ref*"))

    shown = lowmed("eval", "first", "--with-base", "--questions", "12", "--controls", "12", "--json")
    report = json.loads(shown.stdout)
    for system in ("base", "tuned"):
        assert report["controls"][system]["shuffled"]["lenient"]["effect_by_image"]


REFUSED = {
    "no pairs": (["--recipe", "dpo", "--nano"], "names no file"),
    "pairs for another method": (["--recipe", "rl-plain", "--nano", "data.pairs=pairs.jsonl"], "trains on no pairs"),
    "prompts of another form": (
        ["--recipe", "dpo", *SMALL, "prompts.train=direct", "prompts.infer=direct"], "are not in the form",
    ),
    "unsloth": (["--recipe", "dpo", *SMALL, "model.backend=unsloth"], "with transformers only"),
    "mDPO's terms in SimPO": (["--recipe", "simpo", *SMALL, "method.image_weight=1"], "loss_type=simpo has none"),
    "gamma in DPO": (["--recipe", "dpo", *SMALL, "method.simpo_gamma=1"], "margin of loss_type=simpo"),
    "questions that change": (
        ["--recipe", "dpo", *SMALL, "data.task=extraction", "data.sample_keys=true"], "the pairs answer the stored one",
    ),
    "a held-out question": (["--recipe", "dpo", *SMALL, "data.split_by=image", "data.held_out=0.99"], "holds out"),
}  # fmt: skip


def test_check_and_training_refuse_the_same(lowmed: Lowmed, tmp_path: Path) -> None:
    family = prompt.family("reasoning")
    texts = {sample.id: prompt.reference_completion(family, sample) for sample in phantom.samples("train", 40)}
    rows = [{"id": name, "chosen": text, "rejected": f"{text} No."} for name, text in texts.items()]
    (tmp_path / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for name, (arguments, message) in REFUSED.items():
        kind = "grpo" if "rl-plain" in arguments else "dpo"
        for command in (["check"], [kind, "--out", "run"]):
            refused = lowmed(command[0], *arguments, *command[1:])
            assert refused.returncode == 2, name
            assert message in refused.stderr, (name, refused.stderr)
            assert len(refused.stderr.strip().splitlines()) >= 3, name
    assert not (tmp_path / "run").exists()
