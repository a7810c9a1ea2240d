"""Claims of papers: each names a comparison of the study, and its verdict follows from sign, intervals and p alone."""

import sys
from pathlib import Path

import pytest

from lowmed.study.read import load_study
from lowmed.study.records import StudyDifference

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))  # the benchmarks import each other by name
import claims  # noqa: E402
import support  # noqa: E402
from claims import Claim, of_claim, verdict  # noqa: E402


def difference(label: str, by_seed: list[float], p: float = 0.01) -> StudyDifference:
    mean = sum(by_seed) / len(by_seed)
    return StudyDifference(
        source="testbed", split="test", seen="seen in training", prompts="own", questions=1000, images=1000,
        seeds=len(by_seed), same_questions=True, few=False, label=label, first="a", second="b", first_prompts="own",
        first_accuracy=0.5, second_accuracy=0.5 + mean, difference=mean, by_image=(mean - 0.02, mean + 0.02),
        by_seed={str(seed): value for seed, value in enumerate(by_seed)}, seed_sd=0.01,
        over_seeds=claims.over_seeds(by_seed), p_by_image=p, p_holm=p, settings_differ=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sign", "mean", "interval", "p", "expected"),
    [
        (1, 0.1, (0.05, 0.15), 0.01, "reproduced"),
        (-1, -0.1, (-0.15, -0.05), 0.01, "reproduced"),
        (1, -0.1, (-0.15, -0.05), 0.01, "reversed"),
        (-1, 0.1, (0.05, 0.15), None, "reversed"),
        (1, 0.1, (-0.01, 0.21), 0.01, "not decided here"),  # differs from seed to seed
        (1, 0.1, (0.05, 0.15), 0.05, "not decided here"),
        (1, 0.0, (0.0, 0.0), 1.0, "not decided here"),
        (1, 0.1, None, 0.01, "not decided here"),  # one seed
    ],
)
def test_a_verdict_needs_sign_questions_and_seeds(
    sign: int, mean: float, interval: tuple[float, float] | None, p: float | None, expected: str
) -> None:
    assert verdict(sign, mean, interval, p) == expected


def test_a_claim_about_two_comparisons_is_about_their_difference_by_seed() -> None:
    rows = {
        ("with", "test"): difference("with", [0.20, 0.22, 0.21]),
        ("without", "test"): difference("without", [0.01, 0.03, 0.02]),
    }
    figures = of_claim(Claim("a paper", "less", -1, "test", "without", minus="with"), rows)
    assert figures is not None
    assert figures["difference"] == pytest.approx(-0.19)
    assert list(figures["by_seed"].values()) == pytest.approx([-0.19] * 3)
    assert figures["verdict"] == "reproduced"
    assert figures["by_image"] is None


def test_a_claim_without_its_comparison_has_no_figures() -> None:
    rows = {("with", "test"): difference("with", [0.2, 0.2])}
    assert of_claim(Claim("a paper", "more", 1, "unseen", "with"), rows) is None
    assert of_claim(Claim("a paper", "less", -1, "test", "with", minus="without"), rows) is None


def test_the_study_of_support_trains_every_base() -> None:
    spec = load_study(BENCHMARKS / "studies" / "support.yaml")
    assert set(support.BASES) <= {*spec.arms}
    assert set(support.BASES) == {*spec.eval.base}


def test_every_claim_names_comparisons_of_the_study() -> None:
    spec = load_study(BENCHMARKS / "studies" / "claims.yaml")
    labels = {comparison.label for comparison in spec.compare}
    named = {name for claim in claims.CLAIMS for name in (claim.comparison, claim.minus) if name}
    assert named <= labels
    assert {claim.split for claim in claims.CLAIMS} <= {"test", "unseen"}
