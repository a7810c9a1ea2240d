"""Is the adapter what training left, does it do anything, and does a merged model still say the same."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from lowmed import answer
from lowmed.engine import device, load
from lowmed.recipe import ModelSpec
from lowmed.sample import Sample
from lowmed.ship import adapter as adapters
from lowmed.ship import merge, replies_and_logits
from lowmed.ship.adapter import Adapter
from lowmed.ship.merge import MergeWork
from lowmed.ship.replies_and_logits import Questions
from lowmed.ship.weights import TensorLocation, canonical, is_language_layer

PASS_MARK = 0.9  # share of answers that adapter and merged model must agree on; the toolkit's own choice
KEPT_MARK = 0.5  # share of the adapter that must be left after rounding; the toolkit's own choice


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be so; `told` says what was found."""

    name: str
    passed: bool
    told: str


@dataclass(frozen=True)
class Outputs:
    """What the adapter said on its own base: completions, what was read in them, and the logits on the way."""

    completions: list[list[int]]
    answers: list[str | None]
    logits: list[torch.Tensor]


def files(adapter: Adapter, base: dict[str, TensorLocation]) -> list[Check]:
    """What the adapter's file shows without loading a model: keys and numbers.

    Raises:
        RunError: it belongs to another base.
    """
    adapters.targets(adapter, base)
    missing = adapters.missing(adapter, base)
    odd = [*adapter.left_over, *missing]
    keys = f"{len(adapter.factors)} layers, {len(adapter.left_over)} keys left over, {len(missing)} layers missing"
    still, broken = [], []
    with safe_open(adapter.folder / adapters.FILE, "pt") as opened:
        for module in sorted(adapter.factors):
            down, up = (opened.get_tensor(f"base_model.model.{module}.lora_{side}.weight") for side in "AB")
            still += [] if up.any() else [module]
            broken += [] if down.isfinite().all() and up.isfinite().all() else [module]
    count = len(adapter.factors)
    zero = f"{len(still)} of {count} layers are zero, first {still[0]}" if still else f"none of {count} layers is zero"
    return [
        Check("keys match the base", not odd and count > 0, f"{keys}, first {odd[0]}" if odd else keys),
        Check("LoRA B is not zero", len(still) < count, zero),
        Check(
            "weights are finite", not broken, f"{len(broken)} layers are not, first {broken[0]}" if broken else "all"
        ),
    ]


def adapter(model: ModelSpec, base: Path, folder: Path, asked: Questions) -> tuple[list[Check], Outputs]:
    """Load the adapter on its base, as in training, and compare with the base alone and with plain peft.

    Raises:
        LowmedError: the machine or the model does not allow it.
    """
    loaded = load.with_adapter(load.load_base(model, device.find_device(model)), folder)
    completions = replies_and_logits.tokens(loaded, asked)
    tuned = replies_and_logits.logits(loaded, asked, completions)
    with loaded.model.disable_adapter():
        alone = replies_and_logits.logits(loaded, asked, completions)
    apart = [float((one - other).abs().max()) for one, other in zip(tuned, alone, strict=True)]
    changed = sum(each > 0 for each in apart)
    plain = replies_and_logits.replies_by_peft_alone(loaded, asked, base, folder, four_bit=model.load_in == "4bit")
    same = sum(one == other for one, other in zip(plain, completions, strict=False))
    checks = [
        Check(
            "logits differ from the base",
            changed == len(apart),
            f"on {changed} of {len(apart)} samples, at most by {max(apart):.4g}",
        ),
        Check("plain peft says the same", same == len(plain), f"{same} of {len(plain)} replies have the same tokens"),
    ]
    spoken = Outputs(completions, read(loaded, asked.samples, completions), tuned)
    del loaded
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return checks, spoken


def read(loaded: load.Loaded, samples: Sequence[Sample], completions: Sequence[list[int]]) -> list[str | None]:
    """The answers in the completions, None where unread."""
    texts = [replies_and_logits.text(loaded, completion) for completion in completions]
    return [answer.read(said, sample, finish).value for sample, (said, finish) in zip(samples, texts, strict=True)]


@dataclass(frozen=True, slots=True)
class Parity:
    """How a merged model agrees with the adapter: shares of samples, and differences of logits in nats."""

    reference: str
    samples: int
    answers: float
    tokens: float
    largest_logit: float
    mean_logit: float


def parity(
    model: ModelSpec, merged: Path, asked: Questions, spoken: Outputs, work: MergeWork | None = None
) -> list[Parity]:
    """The merged folder beside the adapter; with `work`, also as it would be over the work's reference instead.

    The other reference is not written: its tensors are put into the loaded model.

    Args:
        model: what the run was trained with; says the machine and the pixel policy.
        merged: folder of the merged model.
        asked: the samples.
        spoken: what the adapter said to them.
        work: a merge over another reference, or None.
    """
    # Weights that lie there in 4 bits are loaded as they are.
    as_it_lies = {"name": str(merged), "revision": None, "load_in": "16bit", "weights": "pretrained"}
    loaded = load.load_base(model.model_copy(update=as_it_lies), device.find_device(model))
    result = [_parity("as written", loaded, asked, spoken)]
    if work:
        weights = dict(loaded.model.named_parameters())
        with torch.no_grad():
            layers = {name for name, place in work.base.items() if is_language_layer(name, place)}
            for name in sorted(layers | set(work.targets)):
                tensor, _, _ = merge.merged(work, name)
                weights[canonical(name)].copy_(tensor)
        result.append(_parity(work.reference, loaded, asked, spoken))
    del loaded
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return result


def alike(result: Parity) -> Check:
    """Whether adapter and merged model answer alike, by the pass mark."""
    told = (
        f"{result.answers:.3f} of {result.samples} answers agree (pass mark {PASS_MARK}), {result.tokens:.3f} in every "
        f"token; logits differ at most by {result.largest_logit:.4g}, on average by {result.mean_logit:.4g}"
    )
    return Check("adapter and merged answer alike", result.answers >= PASS_MARK, told)


def survives(kept: float, into: str) -> Check:
    """Whether enough of the adapter is left in weights of that precision, by the pass mark."""
    told = f"{kept:.3f} of it is left in the {into} weights (pass mark {KEPT_MARK})"
    return Check("the adapter survives rounding", kept >= KEPT_MARK, told)


def document(checks: Sequence[Check], **more: Any) -> dict[str, Any]:
    """Checks as one JSON document."""
    return {"passed": all(check.passed for check in checks), "checks": [asdict(check) for check in checks], **more}


def _parity(reference: str, loaded: load.Loaded, asked: Questions, spoken: Outputs) -> Parity:
    completions = replies_and_logits.tokens(loaded, asked)
    answers = read(loaded, asked.samples, completions)
    apart = [
        (one - other).abs()
        for one, other in zip(replies_and_logits.logits(loaded, asked, spoken.completions), spoken.logits, strict=True)
    ]
    count = len(asked.samples)
    return Parity(
        reference=reference,
        samples=count,
        answers=sum(one == other for one, other in zip(answers, spoken.answers, strict=True)) / count,
        tokens=sum(one == other for one, other in zip(completions, spoken.completions, strict=True)) / count,
        largest_logit=max(float(each.max()) for each in apart),
        mean_logit=sum(float(each.mean()) for each in apart) / count,
    )
