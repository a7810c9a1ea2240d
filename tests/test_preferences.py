"""A probe, pairs or labels of its completions, DPO or KTO on them, and an evaluation, as a user runs them."""

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
STEPS = ["method.max_steps=4", "method.prompts_per_step=3", "method.save_steps=2"]
SMALL = ["--nano", "data.pairs=pairs.jsonl", *STEPS]
LABELED = ["--nano", "data.unpaired=unpaired.jsonl", *STEPS]


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

    labeled = lowmed("data", "pairs", "probe", "--unpaired", "--out", "unpaired.jsonl")
    assert "lowmed kto --recipe kto data.unpaired=unpaired.jsonl" in labeled.stdout, labeled.stderr
    labels = [json.loads(line) for line in (tmp_path / "unpaired.jsonl").read_text().splitlines()]
    assert {line["id"] for line in lines} < {line["id"] for line in labels}
    checked = lowmed("check", "--recipe", "kto", *LABELED)
    assert f"trained  {len(labels)} labeled completions of" in checked.stdout, checked.stderr
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


def write_labels(folder: Path) -> None:
    """Right and wrong completions of phantom's first questions: every third one is good."""
    family = prompt.family("reasoning")
    texts = {sample.id: prompt.reference_completion(family, sample) for sample in phantom.samples("train", 40)}
    rows = [
        {"id": name, "completion": text if number % 3 == 0 else text.replace("<answer>", "<answer>not "),
         "label": number % 3 == 0}
        for number, (name, text) in enumerate(texts.items())
    ]  # fmt: skip
    (folder / "unpaired.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_labeled_completions_train_and_resume(lowmed: Lowmed, start: Start, tmp_path: Path) -> None:
    write_labels(tmp_path)
    kto = ["kto", "--recipe", "kto", *LABELED]
    trained = lowmed(*kto, "--out", "whole")
    assert trained.returncode == 0, trained.stderr
    assert "trained 40 labeled completions of 40 questions" in trained.stderr
    assert "14 good, 26 bad" in trained.stderr
    assert "is 0.54; KTO's authors recommend 1 to 1.5: set method.desirable_weight" in trained.stderr
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["kl"] == 0  # the model is its own reference
    assert {"loss", "kl", "entropy"} <= rows[-1].keys()
    assert {"rewards/margins", "rewards/chosen", "rewards/rejected"} <= {name for row in rows for name in row}

    file = tmp_path / "unpaired.jsonl"
    killed_after(3, tmp_path / "killed", kto, start)
    text = file.read_text()
    file.write_text(text.replace("<think>", "<think> ", 1))
    refused = lowmed("kto", "--resume", "killed")
    assert (refused.returncode, "the labeled completions have changed" in refused.stderr) == (2, True)
    file.write_text(text)
    resumed = lowmed("kto", "--resume", "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert adapter(tmp_path / "killed") == adapter(tmp_path / "whole")
    page = lowmed("report", "whole")
    assert page.returncode == 0, page.stderr
    assert "Reward of good and bad completions" in (tmp_path / "whole" / "report.html").read_text()
    assert "unpaired.jsonl" in (tmp_path / "whole" / "recipe.yaml").read_text()


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
    "no labels": (["--recipe", "kto", "--nano"], "names no file"),
    "pairs for KTO": (["--recipe", "kto", *SMALL], "the method kto trains on no pairs"),
    "labels for DPO": (["--recipe", "dpo", *LABELED], "the method dpo trains on no labeled completions"),
    "labels for prompts of another form": (
        ["--recipe", "kto", *LABELED, "prompts.train=direct", "prompts.infer=direct"],
        "good completions are not in the form",
    ),
    "KTO with unsloth": (["--recipe", "kto", *LABELED, "model.backend=unsloth"], "KTO runs with transformers only"),
    "a step of one completion": (["--recipe", "kto", *LABELED, "method.prompts_per_step=1"], "prompts_per_step"),
    "labels and questions that change": (
        ["--recipe", "kto", *LABELED, "data.task=extraction", "data.sample_keys=true"],
        "the labeled completions answer the stored one",
    ),
    "a held-out question with a label": (
        ["--recipe", "kto", *LABELED, "data.split_by=image", "data.held_out=0.99"], "holds out",
    ),
    "a held-out question": (["--recipe", "dpo", *SMALL, "data.split_by=image", "data.held_out=0.99"], "holds out"),
}  # fmt: skip


def test_check_and_training_refuse_the_same(lowmed: Lowmed, tmp_path: Path) -> None:
    family = prompt.family("reasoning")
    texts = {sample.id: prompt.reference_completion(family, sample) for sample in phantom.samples("train", 40)}
    rows = [{"id": name, "chosen": text, "rejected": f"{text} No."} for name, text in texts.items()]
    (tmp_path / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    write_labels(tmp_path)
    kinds = {"rl-plain": "grpo", "kto": "kto"}
    for name, (arguments, message) in REFUSED.items():
        kind = kinds.get(arguments[1], "dpo")
        for command in (["check"], [kind, "--out", "run"]):
            refused = lowmed(command[0], *arguments, *command[1:])
            assert refused.returncode == 2, name
            assert message in refused.stderr, (name, refused.stderr)
            assert len(refused.stderr.strip().splitlines()) >= 3, name
    assert not (tmp_path / "run").exists()
