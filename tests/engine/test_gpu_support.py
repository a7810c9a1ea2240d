"""GPUs that torch has no kernels for, and drivers that are too old for its CUDA."""

from pathlib import Path

import pytest

from lowmed.engine import gpu_support

WHEEL = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]  # of torch 2.14.1 with CUDA 13.0


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (10, 3), (12, 0), (12, 1)])
def test_kernels_run_on_their_own_and_later_minor_versions(capability: tuple[int, int]) -> None:
    assert gpu_support.kernels_error("a card", capability, WHEEL, "2.14.1") is None


@pytest.mark.parametrize("capability", [(6, 0), (7, 0), (7, 2), (11, 0), (13, 0)])
def test_a_gpu_without_kernels_is_an_error(capability: tuple[int, int]) -> None:
    error = gpu_support.kernels_error("Tesla V100", capability, WHEEL, "2.14.1")
    assert error is not None
    assert f"no kernels for Tesla V100 (compute capability {capability[0]}.{capability[1]})" in error.what
    assert "CUDA 12.6" in error.fix


def test_code_that_is_compiled_when_it_is_loaded_runs_on_later_gpus_only() -> None:
    assert gpu_support.kernels_error("a card", (13, 0), [*WHEEL, "compute_120"], "2.14.1") is None
    assert gpu_support.kernels_error("a card", (7, 0), [*WHEEL, "compute_120"], "2.14.1") is not None


def test_suffixes_and_unknown_kinds_of_gpus_are_no_error() -> None:
    assert gpu_support.kernels_error("a card", (9, 0), ["sm_90a"], "2.14.1") is None
    assert gpu_support.kernels_error("a card", (10, 3), ["sm_100f"], "2.14.1") is None
    assert gpu_support.kernels_error("a card", (9, 4), ["gfx942"], "2.14.1") is None


@pytest.mark.parametrize(
    ("driver", "cuda", "works"),
    [
        ("580.65.06", "13.0", True), ("575.57.08", "13.0", False), ("535.104.05", "13.0", False),
        ("535.104.05", "12.6", True), ("470.256.02", "12.6", False), (None, "13.0", True),
        ("535.104.05", None, True), ("535.104.05", "14.0", True),
    ],
)  # fmt: skip
def test_a_driver_that_is_too_old_is_named(driver: str | None, cuda: str | None, works: bool) -> None:
    problem = gpu_support.driver_problem(driver, cuda)
    assert (problem is None) == works
    assert works or f"driver {driver} is too old for CUDA {cuda}" in str(problem)


@pytest.mark.parametrize(
    ("content", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n", "580.65.06"),
        ("nothing to read\n", None),
        ("", None),
    ],
)
def test_the_version_of_the_driver_is_read_from_its_file(
    content: str, version: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_support, "DRIVER", tmp_path / "version")
    assert gpu_support.driver_version() is None
    (tmp_path / "version").write_text(content)
    assert gpu_support.driver_version() == version
