"""The decoder layers of a frozen base, divided among the processes of a run by FSDP2.

The linear layers of the language model are most of a large model, and no optimizer updates them. So they alone are
divided; a layer is gathered for its forward and its backward pass. Adapter, gradient and optimizer stay in every
process, as without sharding: rows, completions, checkpoints and the adapter are the same.

A gather needs all processes, but their work differs: one samples more tokens, another has no rows to train. So each
process announces a pass over the layers before it. A process without one takes part in the gathers of the others, until
all of them wait for an exchange of results.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from lowmed import processes
from lowmed.models import FAMILIES


def shard_layers(model: Any, device: str) -> None:
    """Divide the decoder layers of a model among all processes, and put everything else on the device.

    Args:
        model: the base, or a PeftModel around it, in main memory or on the device; equal in all processes. Weights that
            are trained are not divided.
        device: `cuda` or `cpu`, where the model computes.
    """
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    family = FAMILIES[core.config.model_type]
    layers = core.get_submodule(family.language_model).layers
    mesh = init_device_mesh(device, (processes.size(),))
    for layer in layers:
        layer.to(device)
        for module in layer.modules():
            if state := getattr(getattr(module, "weight", None), "quant_state", None):
                module.quant_state = (
                    state  # a gathered weight is a plain tensor; bitsandbytes takes the state from here
                )
        adapter = {weight for name, weight in layer.named_parameters() if "lora_" in name}
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=adapter)
    model.to(device)
    if device == "cuda":
        core.hf_device_map = {"": 0}  # accelerate refuses to train a 4-bit model that was loaded elsewhere
    layers[0].register_forward_pre_hook(partial(_begin, layers), prepend=True)  # before the hook that gathers
    processes.before_exchange(partial(_wait, layers))


def in_turn(layers: Sequence[Any]) -> Iterator[Any]:
    """The layers of a model one after the other, for a pass that does not call them. Each is gathered meanwhile.

    Args:
        layers: all of them, divided or not.
    """
    if not isinstance(layers[0], FSDPModule):
        yield from layers
        return
    _begin(layers)
    for layer in layers:
        with _gathered(layer):
            yield layer


@contextmanager
def _gathered(layer: Any) -> Iterator[None]:
    layer.unshard()
    try:
        yield
    finally:
        layer.reshard()


def _begin(layers: Sequence[Any], *_: Any) -> None:
    """Announce a pass, and take part in all passes that come before it: those without gradients.

    Passes with gradients begin together, so that their backward passes do, too.
    """
    if torch._C._current_graph_task_id() != -1:  # the backward pass repeats the forward pass of a layer
        return
    trains = torch.is_grad_enabled()
    while True:
        reading, _training = _announced(reads=not trains, trains=trains)
        if not reading or not trains:
            return
        _take_part_in(layers, backward=False)


def _wait(layers: Sequence[Any]) -> None:
    """Take part in the passes of the other processes until all wait."""
    while True:
        reading, training = _announced()
        if not reading and not training:
            return
        _take_part_in(layers, backward=not reading)


def _announced(*, reads: bool = False, trains: bool = False) -> tuple[int, int]:
    """How many processes begin a pass without gradients, and with gradients."""
    counts = torch.tensor([int(reads), int(trains)])
    processes.sum_at_once(counts)
    return int(counts[0]), int(counts[1])


def _take_part_in(layers: Sequence[Any], *, backward: bool) -> None:
    """Take part in the gathers of a pass."""
    for layer in (*layers, *(reversed(layers) if backward else ())):
        with _gathered(layer):
            pass
