"""The names that trainers give to the tensors of an adapter, and the layers of today's model that they mean."""

import re
from typing import NamedTuple

from lowmed.models import FAMILIES

_WRAPPERS = re.compile(r"(?:base_model\.model\.|base_model\.|module\.)*")
# PEFT's own files have no name of the adapter in their keys; state dicts of trainers have: `lora_A.default.weight`.
_FACTOR = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_magnitude_vector)(?:\.(?!weight$|bias$)[^.]+)?(?:\.weight)?"
)


class Factor(NamedTuple):
    """What a key of an adapter's file means: the layer's name at training and today, and the part of its adapter."""

    trained: str
    module: str
    part: str


def read_key(key: str) -> Factor | None:
    """The layer and part that a key names; None if it is no factor of a LoRA."""
    match = _FACTOR.fullmatch(unwrapped(key))
    if not match or (match["part"] != "lora_magnitude_vector" and not key.endswith(".weight")):
        return None
    return Factor(match["module"], loaded_module(match["module"]), match["part"])


def unwrapped(key: str) -> str:
    """A key without the prefixes that PEFT, torch.compile and distributed training put before a name."""
    key = key.replace("_orig_mod.", "").replace("_fsdp_wrapped_module.", "")
    return key[_match_end(key) :]


def _match_end(key: str) -> int:
    match = _WRAPPERS.match(key)
    return match.end() if match else 0


def loaded_module(name: str) -> str:
    """The name of a module in the loaded model, from its name in any version of transformers."""
    for family in FAMILIES.values():
        loaded = family.loaded_module(name)
        if loaded != name:
            return loaded
    return name


def published_modules(name: str) -> list[str]:
    """The names that older versions of transformers gave to a module of the loaded model."""
    return sorted({family.published_module(name) for family in FAMILIES.values()})


def why_not_lora(key: str) -> str:
    """What a tensor is that belongs to no pair of LoRA factors."""
    name = unwrapped(key)
    if "lora_embedding_" in name:
        return "a LoRA of the embeddings"
    if ".lora_B." in name and name.endswith(".bias"):
        return "a bias of a LoRA layer"
    if "embed_tokens" in name or name.startswith("lm_head"):
        return "a full table of embeddings: it was resized or trained in full"
    if "modules_to_save" in name:
        return "a module that was trained in full"
    if "lora_" in name:
        return "a part of a LoRA variant"
    return "a weight that was trained in full"
