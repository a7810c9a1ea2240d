"""The report recipes on nano, from SFT to the comparison."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Lowmed = Callable[..., subprocess.CompletedProcess[str]]
FEW = ("method.prompts_per_step=4",)


@pytest.mark.slow
def test_reports_are_trained_evaluated_and_compared(lowmed: Lowmed, tmp_path: Path) -> None:
    """SFT and GRPO for a few steps, then all that shows their reports."""

    def run(*arguments: str) -> str:
        done = lowmed(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    sft = ("sft", "--recipe", "report-sft", "--nano", "method.max_steps=12", *FEW, "--out", "sft")
    run(*sft)
    start = ("lora.start=sft", "method.max_steps=1", "method.num_generations=4")
    run("grpo", "--recipe", "report", "--nano", *start, *FEW, "--out", "grpo")
    shown = run("eval", "sft", "--questions", "12", "--with-base", "--full")
    assert "does not apply to reports" in shown
    assert "another patient's" in shown
    run("eval", "grpo", "--questions", "12")
    report = json.loads((tmp_path / "grpo/evals/phantom-report/report.json").read_text())
    tuned = report["splits"]["test"]["results"]["tuned"]
    assert (tuned["strict"], tuned["lenient"], tuned["reports"]["reports"]) == (None, None, 12)
    assert tuned["reports"]["constant"]["rouge_l"]["value"] > 0.5
    assert "reports, ROUGE-L" in run("compare", "sft", "grpo", "--full")
    run("report", "grpo")
    assert "Accuracy does not apply to reports" in (tmp_path / "grpo/adapter/README.md").read_text()
    assert "same report for all" in (tmp_path / "grpo/report.html").read_text()
    assert "phantom-report" in run("runs", "show", "grpo")
