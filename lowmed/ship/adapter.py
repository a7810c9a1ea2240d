"""The change that a LoRA adapter makes to each weight of its base."""

from collections.abc import Mapping

import torch
from safetensors import safe_open

from lowmed.adapter.fit import require_fit
from lowmed.adapter.intake import Adapter
from lowmed.adapter.tensor_file import TensorLocation
from lowmed.ship.weights import loaded_names


def base_shapes(base: Mapping[str, TensorLocation]) -> dict[str, tuple[int, ...]]:
    """Layer of a base, by its name in the loaded model -> shape of its weight."""
    return {module: base[name].shape for module, name in _weights(base).items()}


def target_tensors(adapter: Adapter, base: Mapping[str, TensorLocation]) -> dict[str, str]:
    """The tensors of the base that the adapter changes: tensor -> module.

    Raises:
        RunError: a layer is missing from the base or has another shape there: the adapter belongs to another base.
    """
    require_fit(adapter, base_shapes(base))
    tensors = _weights(base)
    return {tensors[module]: module for module in adapter.layers}


def factors(adapter: Adapter, module: str) -> dict[str, torch.Tensor]:
    """`lora_A` (rank x in), `lora_B` (out x rank) and, for DoRA, `lora_magnitude_vector` of a layer, float32."""
    with safe_open(adapter.file, "pt") as stream:
        return {part: stream.get_tensor(key).float() for part, key in adapter.layers[module].keys.items()}


def weight_delta(adapter: Adapter, module: str, reference: torch.Tensor) -> torch.Tensor:
    """The adapter's change of a layer's weight, float32.

    LoRA adds scale * B A. DoRA (arXiv:2402.09353) then scales each row to its trained length, so its change depends on
    the weight.

    Args:
        adapter: the adapter.
        module: the layer.
        reference: its weight in the base, float32.
    """
    layer, parts = adapter.layers[module], factors(adapter, module)
    low_rank = (parts["lora_B"].flatten(1) @ parts["lora_A"].flatten(1) * layer.scale).reshape(layer.shape)
    if "lora_magnitude_vector" not in parts:
        return low_rank
    changed = reference + low_rank
    lengths = torch.linalg.vector_norm(changed, dim=1, keepdim=True)
    delta: torch.Tensor = changed * (parts["lora_magnitude_vector"][:, None] / lengths) - reference
    return delta


def _weights(base: Mapping[str, TensorLocation]) -> dict[str, str]:
    """Layer by its name in the loaded model -> tensor of its weight."""
    return {loaded.removesuffix(".weight"): name for name, loaded in loaded_names(base).items() if _is_weight(name)}


def _is_weight(name: str) -> bool:
    return name.endswith(".weight")
