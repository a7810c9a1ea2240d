import pytest

from lowmed.errors import RecipeError
from lowmed.plan import cards


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("T4", "T4"), ("t4", "T4"), ("3090", "RTX 3090"), ("rtx-4090", "RTX 4090"), ("NVIDIA RTX 5090", "RTX 5090"),
        ("a100-40gb", "A100-40"), ("A100-80", "A100-80"), ("h100", "H100"), ("L40S", "L40S"), ("l4", "L4"),
    ],
)  # fmt: skip
def test_a_gpu_is_found_in_any_spelling(written: str, name: str) -> None:
    assert cards.card_by_name(written).name == name


@pytest.mark.parametrize("written", ["A100", "4", "", "RTX", "H1000"])
def test_an_ambiguous_or_unknown_name_is_rejected(written: str) -> None:
    with pytest.raises(RecipeError, match="is unknown"):
        cards.card_by_name(written)


@pytest.mark.parametrize(
    ("reported", "gib", "name"),
    [
        ("Tesla T4", 14.56, "T4"),
        ("Tesla P100-PCIE-16GB", 15.89, "P100"),
        ("Tesla V100-SXM2-16GB", 15.77, "V100"),
        ("NVIDIA GeForce RTX 3060", 11.63, "RTX 3060"),
        ("NVIDIA GeForce RTX 4090", 23.5, "RTX 4090"),
        ("NVIDIA A10G", 22.06, "A10"),
        ("NVIDIA L4", 22.05, "L4"),
        ("NVIDIA L40S", 44.4, "L40S"),
        ("NVIDIA A100-SXM4-40GB", 39.39, "A100-40"),
        ("NVIDIA A100 80GB PCIe", 79.25, "A100-80"),
        ("NVIDIA H100 80GB HBM3", 79.1, "H100"),
        ("NVIDIA H200", 139.8, "H200"),
    ],
)
def test_the_name_that_torch_reports_is_recognized(reported: str, gib: float, name: str) -> None:
    assert cards.match_card(reported, gib).name == name


@pytest.mark.parametrize(("reported", "gib"), [("Tesla V100-SXM2-32GB", 31.7), ("NVIDIA B200", 178.0), ("CPU", 0.0)])
def test_an_unknown_gpu_keeps_its_name_and_has_no_estimated_time(reported: str, gib: float) -> None:
    result = cards.match_card(reported, gib)
    assert (result.name, result.gib, result.speed) == (reported, gib, None)
