"""The torch replacement of TRL's log-probability kernel agrees with the kernel in Triton's interpreter."""

import json
from pathlib import Path

import pytest
from commands import Commands

CODE = """
import json, torch
from trl.kernels import ChunkedLogProbFunction
from lowmed.engine.prefix.logprobs import TorchLogProb
torch.manual_seed(0)
weight = torch.randn(70, 16)
targets = torch.randint(0, 70, (11,))
differences = {}
for temperature in (1.0, 0.7):
    results = []
    outputs = ("log_probs", "entropy", "mean_logits", "is_top1")
    for kernel in (ChunkedLogProbFunction, TorchLogProb):
        hidden = torch.randn(11, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
        out = kernel.apply(hidden, weight, None, targets, temperature, 32, None, 1.0, outputs)
        (out[0] * torch.arange(11.0)).sum().backward()
        assert out[4].dtype == torch.bool
        results.append((out[0].detach(), out[1].detach(), out[3].detach(), out[4].float(), hidden.grad))
    differences[temperature] = [float((a - b).abs().max()) for a, b in zip(*results)]
print(json.dumps(differences))
"""


def test_the_replacement_agrees_with_the_kernel(commands: Commands, tmp_path: Path) -> None:
    started = commands.start(tmp_path, code=CODE, TRITON_INTERPRET="1")
    printed, errors = started.communicate()
    assert started.wait() == 0, errors[-2000:]
    for differences in json.loads(printed.splitlines()[-1]).values():
        log_probs, entropy, mean_logits, is_top1, gradient = differences
        assert log_probs < 1e-5
        assert mean_logits < 1e-5
        assert entropy < 1e-5
        assert is_top1 == 0
        assert gradient < 1e-4  # of gradients around 10


def test_unsupported_outputs_are_an_error() -> None:
    import torch

    from lowmed.engine.prefix.logprobs import TorchLogProb

    some = torch.zeros(2, 4)
    with pytest.raises(ValueError, match="log_sum_sq_probs"):
        TorchLogProb.apply(some, some, None, torch.zeros(2, dtype=torch.long), 1.0, 32, outputs=("log_sum_sq_probs",))
    with pytest.raises(ValueError, match="softcapped"):
        TorchLogProb.apply(some, some, None, torch.zeros(2, dtype=torch.long), 1.0, 32, 30.0)
