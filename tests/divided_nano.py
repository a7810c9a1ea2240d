"""One of two processes that divide nano: prints what it holds and what it computed, as one line of JSON.

The first process makes three passes without gradients and a training step, the other one pass and no step.
"""

import json

import torch

from lowmed import processes
from lowmed.engine import device, load
from lowmed.recipe import LoraSpec, ModelSpec


def main() -> None:
    """Load, divide, compute."""
    processes.join()
    first = processes.is_first()
    spec = ModelSpec(name="nano", shard="fsdp")
    loaded = load.load_base(spec, device.find_device(spec))
    torch.manual_seed(0)
    load.with_trainable_adapter(loaded, LoraSpec(), "nano")
    layers = loaded.model.get_base_model().model.language_model.layers
    frozen = [weight for name, weight in layers.named_parameters() if "lora_" not in name]
    before = sum(weight.nbytes for weight in frozen)
    ids = torch.arange(20, 52)[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def trained() -> tuple[float, list[torch.Tensor]]:
        loaded.model.zero_grad()
        loss = loaded.model(**inputs).logits.float().logsumexp(-1).mean()
        loss.backward()
        return float(loss), [weight.grad.clone() for weight in loaded.model.parameters() if weight.requires_grad]

    loss, gradient = trained()
    load.sharded(loaded, spec)
    held = sum(weight.to_local().nbytes for name, weight in layers.named_parameters() if "lora_" not in name)
    with torch.no_grad():
        losses = [float(loaded.model(**inputs).logits.float().logsumexp(-1).mean()) for _ in range(3 if first else 1)]
    difference = 0.0
    if first:
        divided_loss, divided = trained()
        losses.append(divided_loss)
        difference = max(float((a - b).abs().max()) for a, b in zip(gradient, divided, strict=True))
    values = processes.gather(len(losses))
    print(
        json.dumps(
            {"before": before, "held": held, "loss": loss, "losses": losses, "gradient": difference, "passes": values}
        )
    )


main()
