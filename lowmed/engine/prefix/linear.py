"""The linear layers of a decoder in few kernels, with copies of their LoRA weights in the precision of the model.

PEFT multiplies a 32-bit adapter in 32 bits and casts input and output of each layer. In training, autocast casts the
adapter's weights instead. The copies are those casts, made once for a batch of completions instead of at every token.
Layers with a common input (query, key and value; gate and up) share one product with the first LoRA matrices.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit

BaseOf = Callable[[Any], Any]


class LinearGroup:
    """Linear layers with a common input.

    Args:
        layers: the layers, of PEFT if they have an adapter.
        dtype: precision of the copies.
        base_of: the layer that computes what a layer without its adapter does.
    """

    def __init__(self, layers: Sequence[Any], dtype: torch.dtype, base_of: BaseOf) -> None:
        self.layers = list(layers)
        self.bases = [base_of(layer.base_layer if is_plain_lora(layer) else layer) for layer in layers]
        self.adapted = [layer for layer in layers if is_plain_lora(layer)]
        self._downs = [layer.lora_A[_name(layer)].weight for layer in self.adapted]
        self._ups = [layer.lora_B[_name(layer)].weight for layer in self.adapted]
        self._ranks = [len(down) for down in self._downs]
        if self.adapted:
            self._down = torch.cat(self._downs).detach().to(dtype, copy=True)  # [sum of ranks, inputs]
        self._up = [up.detach().to(dtype, copy=True) for up in self._ups]  # [outputs, rank] of each adapted layer

    def renew(self) -> None:
        """Copy the weights of the adapter again, to the same addresses."""
        if self.adapted:
            for copy, down in zip(torch.split(self._down, self._ranks), self._downs, strict=True):
                copy.copy_(down)
        for copy, up in zip(self._up, self._ups, strict=True):
            copy.copy_(up)

    def __call__(self, inputs: torch.Tensor, residual: torch.Tensor | None = None) -> list[torch.Tensor]:
        """The output of each layer.

        Args:
            inputs: [rows, inputs].
            residual: [rows, outputs], added to each output.
        """
        if not self.adapted:
            return [_add(base, inputs, residual) for base in self.bases]
        low_rank = iter(torch.split(inputs @ self._down.t(), self._ranks, dim=1))
        ups = iter(self._up)
        outputs = []
        for layer, base in zip(self.layers, self.bases, strict=True):
            output = _add(base, inputs, residual)
            if layer in self.adapted:
                output = torch.addmm(output, next(low_rank), next(ups).t(), alpha=layer.scaling[_name(layer)])
            outputs.append(output)
        return outputs


class LayerLinears:
    """The linear layers of one decoder layer, grouped by their inputs."""

    def __init__(self, layer: Any, dtype: torch.dtype, base_of: BaseOf) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.query_key_value = LinearGroup((attention.q_proj, attention.k_proj, attention.v_proj), dtype, base_of)
        self.output = LinearGroup((attention.o_proj,), dtype, base_of)
        self.gate_up = LinearGroup((mlp.gate_proj, mlp.up_proj), dtype, base_of)
        self.down = LinearGroup((mlp.down_proj,), dtype, base_of)

    def renew(self) -> None:
        """Copy the weights of the adapter again."""
        for group in (self.query_key_value, self.output, self.gate_up, self.down):
            group.renew()


def is_plain_lora(layer: Any) -> bool:
    """Whether a layer has one active LoRA adapter, without dropout, bias or a variant such as DoRA."""
    if not hasattr(layer, "lora_A") or layer.disable_adapters or layer.merged:
        return False
    names = layer.active_adapters
    if len(names) != 1 or names[0] not in layer.lora_A:
        return False
    no_dropout = isinstance(layer.lora_dropout[names[0]], torch.nn.Identity) or not layer.training
    return no_dropout and names[0] not in layer.lora_variant and layer.lora_B[names[0]].bias is None


def adapter_state(language: Any) -> list[tuple[Any, ...]]:
    """A value that changes when other adapters become active, or their weights other tensors."""
    adapted = [layer for layer in language.modules() if hasattr(layer, "lora_A")]
    return [
        (*one.active_adapters, one.disable_adapters, one.merged, *(id(down.weight) for down in one.lora_A.values()))
        for one in adapted
    ]


def dequantized(layer: Any) -> Any:
    """A layer with the weights of a 4-bit layer in the precision that it computes in; other layers as they are.

    bitsandbytes multiplies many rows with exactly these weights, which it computes again each time.
    """
    if not isinstance(layer, Linear4bit):  # PEFT's own layers give the weight of their base as theirs
        return layer
    state = layer.weight.quant_state
    with torch.device("meta"):
        copy = torch.nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    weight = dequantize_4bit(layer.weight.data, state).to(layer.compute_dtype or state.dtype)
    copy.weight = torch.nn.Parameter(weight, requires_grad=False)
    copy.bias = layer.bias
    return copy


def _name(layer: Any) -> str:
    return str(layer.active_adapters[0])


def _add(layer: Any, inputs: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
    """A layer's output plus the residual, in one kernel if the layer is an ordinary one without a bias."""
    ordinary = layer.__class__ is torch.nn.Linear and layer.bias is None
    if residual is not None and ordinary:
        return torch.addmm(residual, inputs, layer.weight.t())
    outputs: torch.Tensor = layer(inputs)
    return outputs if residual is None else residual + outputs
