"""The log-probabilities of sampled tokens in training and in sampling are compared in every step."""

import logging

import pytest
import torch

from lowmed.engine import agreement


def _inputs(log_probs: list[list[float]]) -> dict[str, torch.Tensor]:
    return {"sampling_per_token_logps": torch.tensor(log_probs), "completion_mask": torch.tensor([[1, 1], [1, 0]])}


def test_mean_and_largest_difference_are_recorded_without_padding(caplog: pytest.LogCaptureFixture) -> None:
    metrics: dict[str, list[float]] = {}
    compared = agreement.Agreement()
    trained = torch.tensor([[-1.0, -2.0], [-3.0, -50.0]])
    compared.record(metrics, _inputs([[-1.0, -2.03], [-3.0, 0.0]]), trained)
    compared.record(metrics, _inputs([[-1.0, -2.0], [-3.0, 0.0]]), trained)
    assert metrics[agreement.MEAN] == [pytest.approx(0.01, abs=1e-6), 0.0]
    assert metrics[agreement.MAX] == [pytest.approx(0.03, abs=1e-6)]
    assert not caplog.records


def test_a_large_difference_is_stated_once_a_run(caplog: pytest.LogCaptureFixture) -> None:
    compared = agreement.Agreement()
    with caplog.at_level(logging.WARNING, logger="lowmed"):
        for _ in range(2):
            compared.record({}, _inputs([[-1.5, -2.0], [-3.0, 0.0]]), torch.full((2, 2), -1.0))
    [record] = caplog.records
    assert "1.17 nats" in record.getMessage()


def test_nothing_is_recorded_of_a_batch_without_completions() -> None:
    metrics: dict[str, list[float]] = {}
    inputs = {"sampling_per_token_logps": torch.zeros(1, 2), "completion_mask": torch.zeros(1, 2)}
    agreement.Agreement().record(metrics, inputs, torch.ones(1, 2))
    assert not metrics
