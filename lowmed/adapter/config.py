"""adapter_config.json: which fields of PEFT's LoraConfig lowmed understands, and why it refuses the others."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowmed.errors import RunError

CONFIG_FILE = "adapter_config.json"
MAX_BYTES = 16 * 2**20  # a list of every layer of a large model has less than one
MERGE_WITH_PEFT = "merge it with PEFT where it was trained (merge_and_unload), and name the merged model folder"

# Fields that change nothing about the trained model, whatever their value. Those of an initialization count only with
# `init_lora_weights`, and `megatron_core` only with `megatron_config`. The last three are ms-swift's.
HARMLESS = frozenset({
    "task_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode",
    "lora_dropout", "runtime_config", "megatron_core", "qalora_group_size", "loftq_config", "eva_config",
    "corda_config", "lora_ga_config", "ensure_weight_tying", "lora_dtype", "lorap_lr_ratio", "lorap_emb_lr",
})  # fmt: skip
SUPPORTED = frozenset({
    "peft_type", "r", "lora_alpha", "target_modules", "exclude_modules", "use_rslora", "use_dora", "init_lora_weights",
    "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern",
})  # fmt: skip
# Fields that are accepted only empty or false: field -> what the adapter does with any other value.
REFUSED = {
    "bias": "it also trained biases of the base",
    "lora_bias": "its layers add a bias",
    "modules_to_save": "it also replaces modules of the base",
    "trainable_token_indices": "it also replaces rows of the embeddings",
    "target_parameters": "it changes parameters that are no layers",
    "layer_replication": "its base has repeated layers",
    "alora_invocation_tokens": "it acts only after certain tokens (aLoRA), which no merge can do",
    "use_qalora": "it averages its inputs in groups (QA-LoRA)",
    "use_bdlora": "its factors are block-diagonal (BD-LoRA)",
    "fan_in_fan_out": "it is for layers that store their weights transposed",
    "megatron_config": "it is for layers of Megatron",
    "velora_config": "it holds state of VeLoRA",
    "monteclora_config": "it samples its weights (MonteCLoRA)",
    "arrow_config": "it routes each token to other adapters (Arrow)",
    "kasa_config": "it truncates the weights of the base (KaSA)",
}
# Initializations that leave the base as it is. All others subtract the first factors from the base.
PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal", "mica", "true")
_CONVERT = (
    "convert it where it was trained: model.save_pretrained(OUT, "
    "path_initial_model_for_weight_conversion=FOLDER_OF_THE_UNTRAINED_ADAPTER)"
)
_CHANGED_BASE = {
    "pissa": ("PiSSA", _CONVERT),
    "olora": ("OLoRA", _CONVERT),
    "corda": ("CorDA", _CONVERT),
    "lora_ga": ("LoRA-GA", _CONVERT),
    "lora-ga": ("LoRA-GA", _CONVERT),
    "loftq": ("LoftQ", "merge it with PEFT on the LoftQ base that it was trained on, and name the merged model folder"),
}


@dataclass(frozen=True)
class LoraConfig:
    """The fields of adapter_config.json that decide what an adapter does; names as in PEFT.

    Attributes:
        file: where it is stored.
        base: `base_model_name_or_path`, or None.
        r: the rank where `rank_pattern` has none.
        lora_alpha: the scale's numerator where `alpha_pattern` has none.
        use_rslora: divide by the square root of the rank.
        use_dora: each row of the changed weight is scaled to a trained length.
        rank_pattern: expression for layers -> rank.
        alpha_pattern: expression for layers -> alpha.
        target_modules: an expression, or the ends of the names of layers; None where PEFT chose them.
        exclude_modules: as `target_modules`, for layers left out.
        layers: numbers of the decoder layers that carry the adapter, or None for all.
        layers_pattern: names of the list of layers.
    """

    file: Path
    base: str | None
    r: int
    lora_alpha: float
    use_rslora: bool
    use_dora: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    target_modules: str | tuple[str, ...] | None
    exclude_modules: str | tuple[str, ...] | None
    layers: tuple[int, ...] | None
    layers_pattern: tuple[str, ...]


def shown(text: object) -> str:
    """A received text for an error: one line, without control characters, and not long."""
    return "".join(character if character.isprintable() else "?" for character in str(text)[:120])


def read_object(folder: Path) -> dict[str, Any]:
    """The object in the adapter_config.json of a folder.

    Raises:
        RunError: it is missing, too large, or not a JSON object.
    """
    file = folder / CONFIG_FILE
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has {file.stat().st_size:,} bytes")
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it is a JSON {type(content).__name__}, not an object")
        json.dumps(content, ensure_ascii=False).encode()  # fails on half a character, which no file can hold
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"the adapter's config cannot be read: {error}", str(file), "copy the adapter again") from error
    return content


def base_name(folder: Path) -> str | None:
    """The base that the adapter_config.json of a folder names, or None.

    Raises:
        RunError: the file cannot be read.
    """
    name = read_object(folder).get("base_model_name_or_path")
    return name if isinstance(name, str) and name else None


def read_config(folder: Path) -> LoraConfig:
    """The config of a LoRA adapter that lowmed can use.

    Raises:
        RunError: it cannot be read, a value is of the wrong type, or the adapter does more than lowmed supports.
    """
    content = read_object(folder)
    _require_supported(content, folder)
    reader = _Reader(content, folder / CONFIG_FILE)
    return LoraConfig(
        file=folder / CONFIG_FILE,
        base=base_name(folder),
        r=reader.rank(content.get("r", 8), "r"),
        lora_alpha=reader.alpha(content.get("lora_alpha", 8), "lora_alpha"),
        use_rslora=reader.flag("use_rslora"),
        use_dora=reader.flag("use_dora"),
        rank_pattern={key: reader.rank(value, f"rank_pattern: {key}") for key, value in reader.table("rank_pattern")},
        alpha_pattern={
            key: reader.alpha(value, f"alpha_pattern: {key}") for key, value in reader.table("alpha_pattern")
        },
        target_modules=reader.modules("target_modules"),
        exclude_modules=reader.modules("exclude_modules"),
        layers=reader.layers(),
        layers_pattern=reader.layers_pattern(),
    )


def _require_supported(content: Mapping[str, Any], folder: Path) -> None:
    where = str(folder / CONFIG_FILE)
    kind = content.get("peft_type")
    if kind != "LORA":
        raise RunError(f"the adapter is not a plain LoRA: its type is {shown(kind)}", where, MERGE_WITH_PEFT)
    for field, value in content.items():
        empty = not value or (field == "bias" and value == "none")
        if empty or field in HARMLESS or field in SUPPORTED:
            continue
        if field in REFUSED:
            raise RunError(f"the adapter is not a plain LoRA: {REFUSED[field]} (`{field}`)", where, MERGE_WITH_PEFT)
        raise RunError(
            f"lowmed does not know the field `{shown(field)}` of the adapter's config, which may change what it does",
            where,
            f"{MERGE_WITH_PEFT}; or remove the field if it changes nothing",
        )
    _require_plain_init(content.get("init_lora_weights", True), where)


def _require_plain_init(init: Any, where: str) -> None:
    value = init.lower() if isinstance(init, str) else init
    if isinstance(value, bool | str | None) and value in PLAIN_INITS:
        return
    for start, (name, fix) in _CHANGED_BASE.items():
        if isinstance(value, str) and value.startswith(start):
            raise RunError(
                f"the adapter was initialized with {name} (`init_lora_weights: {shown(init)}`), which changed the "
                "weights of the base: it does not belong to the base as published",
                where,
                fix,
            )
    raise RunError(f"the adapter's `init_lora_weights` is unknown: {shown(init)}", where, MERGE_WITH_PEFT)


class _Reader:
    """Reads fields with their types."""

    def __init__(self, content: Mapping[str, Any], file: Path) -> None:
        self.content = content
        self.file = file

    def wrong(self, field: str, value: Any, needed: str) -> RunError:
        return RunError(
            f"the adapter's config is damaged: `{shown(field)}` is {repr(value)[:40]}, not {needed}",
            str(self.file),
            "copy the adapter again",
        )

    def rank(self, value: Any, field: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.wrong(field, value, "a positive integer")
        return value

    def alpha(self, value: Any, field: str) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise self.wrong(field, value, "a number")
        return value

    def flag(self, field: str) -> bool:
        value = self.content.get(field)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(field, value, "true or false")
        return bool(value)

    def table(self, field: str) -> list[tuple[str, Any]]:
        value = self.content.get(field) or {}
        if not isinstance(value, dict):
            raise self.wrong(field, value, "an object")
        return list(value.items())

    def modules(self, field: str) -> str | tuple[str, ...] | None:
        value = self.content.get(field)
        if not value or isinstance(value, str):
            return value or None
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise self.wrong(field, value, "a text or a list of texts")
        return tuple(value)

    def layers(self) -> tuple[int, ...] | None:
        value = self.content.get("layers_to_transform")
        if value is None or value == []:
            return None
        numbers = value if isinstance(value, list) else [value]
        if not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
            raise self.wrong("layers_to_transform", value, "a number or a list of numbers")
        return tuple(numbers)

    def layers_pattern(self) -> tuple[str, ...]:
        value = self.content.get("layers_pattern") or []
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self.wrong("layers_pattern", value, "a text or a list of texts")
        return tuple(names)
