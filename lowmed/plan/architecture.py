"""What a vision-language model is made of, counted from its config.json: no weights, no network, no torch.

Knows Qwen2-VL, Qwen2.5-VL and Qwen3-VL (dense). The sizes that were released ship as small data.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lowmed import nano
from lowmed.errors import SetupError
from lowmed.recipe import ModelSpec

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
PATCHES_PER_TOKEN = 4  # patches that become one token
SHIPPED = Path(__file__).with_name("architectures.json")


@dataclass(frozen=True)
class Architecture:
    """The sizes of a language model and of its vision tower. Widths in values, counts in parameters."""

    family: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    vision_depth: int
    vision_width: int
    vision_intermediate: int
    vision_out: int
    patch_values: int
    positions: int = 0
    deepstack: int = 0

    @property
    def layer_shapes(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of the seven linear layers of one language layer, which are those that LoRA sits on."""
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = ((self.hidden, wide), (self.hidden, narrow), (self.hidden, narrow), (wide, self.hidden))
        mlp = ((self.hidden, self.intermediate), (self.hidden, self.intermediate), (self.intermediate, self.hidden))
        return attention + mlp

    @property
    def text_linear(self) -> int:
        """Weights of the language layers that `4bit` quantises."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.layer_shapes)

    @property
    def text_rest(self) -> int:
        """Norms and biases of the language model."""
        biases = (self.heads + 2 * self.kv_heads) * self.head_dim
        # Qwen3-VL has norms of queries and keys instead of biases.
        inside = 2 * self.head_dim if self.family == "qwen3_vl" else biases
        return self.layers * (2 * self.hidden + inside) + self.hidden

    @property
    def embedding(self) -> int:
        """Embedding table, and the head where it is a table of its own."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @cached_property
    def vision(self) -> int:
        """Parameters of the vision tower with its merger."""
        width, inner = self.vision_width, self.vision_intermediate
        gated = self.family == "qwen2_5_vl"
        norm = width if gated else 2 * width  # RMSNorm has no bias
        attention = width * 3 * width + 3 * width + width * width + width
        mlp = 3 * width * inner + 2 * inner + width if gated else 2 * width * inner + inner + width
        wide = PATCHES_PER_TOKEN * width
        merger = wide * wide + wide + wide * self.vision_out + self.vision_out
        patches = self.patch_values * width + (width if self.family == "qwen3_vl" else 0) + self.positions * width
        mergers = merger + norm + self.deepstack * (merger + 2 * wide)
        return patches + self.vision_depth * (attention + mlp + 2 * norm) + mergers

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.text_linear + self.text_rest + self.embedding + self.vision

    def lora(self, rank: int) -> int:
        """Parameters of an adapter of that rank on all linear layers of the language model."""
        return rank * self.layers * sum(inputs + outputs for inputs, outputs in self.layer_shapes)


def from_config(config: Mapping[str, Any], where: str = "model.name") -> Architecture:
    """The architecture that a config.json describes.

    Args:
        config: its content.
        where: named in an error.

    Raises:
        SetupError: it is another kind of model, or a size is missing.
    """
    if not isinstance(config, Mapping):
        raise _unreadable(where)
    family = str(config.get("model_type"))
    if family not in FAMILIES:
        raise SetupError(
            f"a model of the kind `{family}` can not be planned", where, f"use a model of {', '.join(FAMILIES)}"
        )
    text: Mapping[str, Any] = config.get("text_config") or config
    vision: Mapping[str, Any] = config.get("vision_config") or {}
    try:
        first = family == "qwen2_vl"
        width = vision["embed_dim"] if first else vision["hidden_size"]
        patch = vision["patch_size"] ** 2 * vision.get("temporal_patch_size", 2)
        result = Architecture(
            family=family,
            hidden=text["hidden_size"],
            intermediate=text["intermediate_size"],
            layers=text["num_hidden_layers"],
            heads=text["num_attention_heads"],
            kv_heads=text["num_key_value_heads"],
            head_dim=text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"],
            vocabulary=text["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
            vision_depth=vision["depth"],
            vision_width=width,
            vision_intermediate=round(width * vision.get("mlp_ratio", 4)) if first else vision["intermediate_size"],
            vision_out=vision["hidden_size"] if first else vision["out_hidden_size"],
            patch_values=vision.get("in_channels", vision.get("in_chans", 3)) * patch,
            positions=vision.get("num_position_embeddings", 0),
            deepstack=len(vision.get("deepstack_visual_indexes", ())),
        )
    except KeyError as error:
        raise SetupError(f"the config has no {error}", where, _NEEDED) from error
    except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise _unreadable(where) from error
    sizes = [value for name, value in vars(result).items() if name != "family"]
    if not all(isinstance(size, int) and size >= 0 for size in sizes) or not result.layers * result.kv_heads:
        raise _unreadable(where)
    return result


_NEEDED = "a config.json of Qwen2-VL, Qwen2.5-VL or Qwen3-VL is needed"


def _unreadable(where: str) -> SetupError:
    return SetupError("the config's sizes are no sizes", where, _NEEDED)


def shipped() -> dict[str, Architecture]:
    """The released sizes by hub id."""
    configs: dict[str, dict[str, Any]] = json.loads(SHIPPED.read_text(encoding="utf-8"))
    return {name: from_config(config, name) for name, config in configs.items()}


def read_architecture(model: ModelSpec) -> Architecture:
    """The architecture of a recipe's model: nano, a local folder with config.json, or a released hub id.

    Raises:
        SetupError: it is none of these.
    """
    folder = nano.folder() if model.name == "nano" else Path(model.name).expanduser()
    if folder.is_dir():
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SetupError(
                f"the model folder has no config.json that can be read ({type(error).__name__})",
                str(folder),
                "give the folder of a Hugging Face model",
            ) from error
        return from_config(config, str(folder / "config.json"))
    known = shipped()
    if model.name in known:
        return known[model.name]
    raise SetupError(
        f"the sizes of {model.name} are not known here",
        "model.name",
        f"give a local folder that holds its config.json, or one of {', '.join(known)}",
    )
