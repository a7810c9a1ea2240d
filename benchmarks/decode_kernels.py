"""GPU kernels of a decoding step of Qwen2-VL-2B, counted without a GPU: `python benchmarks/decode_kernels.py`.

Fake tensors on the device `cuda` pass through the step, and every operation that is not a view is counted as one
kernel. Attention counts as one, as its memory-efficient kernel does. Of `transformers` the layers of one step with a
dynamic cache are counted, without the work of `generate` around them. A count is not a time.
"""

# ruff: noqa: TID253

from collections import Counter
from typing import Any

import torch
from machine import store
from page import put
from peft import LoraConfig, get_peft_model
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DynamicCache, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from update_table import PAGE

from lowmed.engine.prefix import decode
from lowmed.engine.prefix.linear import LayerLinears
from lowmed.models import FAMILIES

ROWS, LENGTH = 64, 512
NO_KERNEL = {
    "_unsafe_view", "alias", "as_strided", "detach", "device", "empty", "empty_like", "empty_strided", "expand",
    "lift_fresh", "new_empty", "new_empty_strided", "permute", "reshape", "select", "slice", "split",
    "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze", "view",
}  # fmt: skip


class Kernels(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations that compute something."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name not in NO_KERNEL:
            self.names[name] += 1
        return function(*args, **(kwargs or {}))


def language_model(rank: int) -> Any:
    """Qwen2-VL-2B on the meta device, with one layer of its vision tower; rank 0 is without an adapter."""
    config = Qwen2VLConfig(
        text_config={
            "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
            "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        },
        vision_config={"depth": 1, "hidden_size": 1536},
    )  # fmt: skip
    with torch.device("meta"):
        model: Any = Qwen2VLForConditionalGeneration(config).to(torch.bfloat16).eval()
        if rank:
            model = get_peft_model(model, LoraConfig(r=rank, target_modules=FAMILIES["qwen2_vl"].lora_pattern))
    return model


def on_fake_gpu(model: Any) -> None:
    """Replace all weights by fake ones on a GPU."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                fake = torch.empty(weight.shape, dtype=weight.dtype)
                module._parameters[name] = torch.nn.Parameter(fake, requires_grad=False)
        for name, buffer in module._buffers.items():
            module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def one_kernel(query: torch.Tensor) -> torch.Tensor:
    """Takes the place of an attention kernel."""
    return query.clone(memory_format=torch.contiguous_format)


def of_lowmed(core: Any) -> Counter[str]:
    """The kernels of lowmed's step."""
    layers = core.model.language_model.layers
    shape = ROWS, 2, LENGTH, 128
    keys, values = ([torch.zeros(shape, dtype=torch.bfloat16) for _ in layers] for _ in range(2))
    linears = [LayerLinears(layer, torch.bfloat16, lambda base: base) for layer in layers]
    tokens, position = torch.zeros(ROWS, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    rotation, bias = (torch.zeros(size, dtype=torch.bfloat16) for size in ((2, ROWS, 1, 128), (ROWS, 1, 1, LENGTH)))
    attention = "scaled_dot_product_attention"
    original = getattr(decode, attention)
    setattr(decode, attention, lambda query, *_others, **_options: one_kernel(query))
    try:
        with Kernels() as kernels:
            decode.decode_step(core, linears, tokens, rotation, bias, position, keys, values)
    finally:
        setattr(decode, attention, original)
    names: Counter[str] = kernels.names
    return names


def of_transformers(core: Any) -> Counter[str]:
    """The kernels of the same step by the layers of transformers."""
    language = core.model.language_model
    language.config._attn_implementation = "one_kernel"
    ALL_ATTENTION_FUNCTIONS.register(
        "one_kernel", lambda _module, query, *_others, **_options: (one_kernel(query.transpose(1, 2)), None)
    )
    cache = DynamicCache()
    for number in range(len(language.layers)):
        cache.update(*(torch.zeros((ROWS, 2, LENGTH, 128), dtype=torch.bfloat16) for _ in range(2)), number)
    embedded = torch.zeros((ROWS, 1, 1536), dtype=torch.bfloat16)
    positions = torch.zeros((3, ROWS, 1), dtype=torch.long)
    mask = torch.zeros((ROWS, 1, 1, LENGTH + 1), dtype=torch.bfloat16)
    with Kernels() as kernels:
        hidden = language(
            inputs_embeds=embedded,
            position_ids=positions,
            attention_mask={"full_attention": mask},
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        core.lm_head(hidden)
    names: Counter[str] = kernels.names
    return names


def measure() -> dict[str, dict[str, int]]:
    """Kernels a token by way and adapter."""
    figures: dict[str, dict[str, int]] = {}
    for adapter, rank in (("no adapter", 0), ("LoRA", 8)):
        model = language_model(rank)
        with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"), torch.no_grad():
            on_fake_gpu(model)
            core = model.get_base_model() if rank else model
            for way, count in (("lowmed", of_lowmed), ("transformers", of_transformers)):
                figures.setdefault(way, {})[adapter] = sum(count(core).values())
    return figures


def main() -> None:
    figures = measure()
    print(store("decode_kernels", {"kernels": figures}))
    lines = ["| step | no adapter | LoRA on all linear layers |", "| --- | --- | --- |"]
    lines += [f"| {way} | {count['no adapter']:,} | {count['LoRA']:,} |" for way, count in figures.items()]
    put(PAGE, "kernels", "\n".join(lines))


if __name__ == "__main__":
    main()
