"""The one intake of adapters, used by every command: reads, checks and names what the weights file holds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lowmed.adapter import names, patterns
from lowmed.adapter.config import CONFIG_FILE, MERGE_WITH_PEFT, LoraConfig, read_config, shown
from lowmed.adapter.extra import PICKLE_FILE, WEIGHTS_FILE, pickle_error, require_no_extra_weights
from lowmed.adapter.tensor_file import TensorLocation, file_tensors
from lowmed.errors import RunError
from lowmed.models import FAMILIES, ModelFamily

_FLOATS = frozenset({"F16", "BF16", "F32", "F64"})


@dataclass(frozen=True)
class Layer:
    """The adapter of one layer.

    Attributes:
        module: name of the layer in the loaded model.
        trained: its name at training.
        keys: `lora_A`, `lora_B` and, for DoRA, `lora_magnitude_vector` -> key in the weights file.
        inputs: shape of A without the rank.
        outputs: number of rows of B.
        rank: rank of the factors.
        alpha: numerator of the scale.
        scale: the factor of B A (LoRA, arXiv:2106.09685; rsLoRA, arXiv:2312.03732).
    """

    module: str
    trained: str
    keys: Mapping[str, str]
    inputs: tuple[int, ...]
    outputs: int
    rank: int
    alpha: float
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight that it changes."""
        return (self.outputs, *self.inputs)


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter on disk whose every tensor is understood.

    Attributes:
        folder: where it is stored.
        config: the fields of adapter_config.json that decide what it does.
        layers: name of a layer in the loaded model -> its adapter.
    """

    folder: Path
    config: LoraConfig
    layers: Mapping[str, Layer]

    @property
    def file(self) -> Path:
        """The weights."""
        return self.folder / WEIGHTS_FILE

    @property
    def renamed(self) -> bool:
        """Whether layers had other names at training: PEFT alone would silently ignore them."""
        return any(layer.trained != layer.module for layer in self.layers.values())

    def named_for(self, family: ModelFamily) -> "Adapter":
        """The adapter with the layer names of a base: without one, they are those of vision-language models."""
        if not family.text_only:
            return self
        layers = {}
        for layer in self.layers.values():
            module = family.own_module(layer.module)
            layers[module] = replace(layer, module=module)
        return replace(self, layers=layers)

    @property
    def ranks(self) -> list[int]:
        """The ranks of its layers, ascending."""
        return sorted({layer.rank for layer in self.layers.values()})

    @property
    def vision_layers(self) -> list[str]:
        """The layers of the vision tower that it changes."""
        return sorted(
            module for module in self.layers if any(family.in_vision_tower(module) for family in FAMILIES.values())
        )

    @property
    def kind(self) -> str:
        """What it is, in PEFT's words."""
        parts = ["DoRA" if self.config.use_dora else "LoRA"]
        parts += ["rsLoRA"] if self.config.use_rslora else []
        parts += ["rank_pattern"] if self.config.rank_pattern else []
        parts += ["alpha_pattern"] if self.config.alpha_pattern else []
        parts += ["layer names of an older transformers"] if self.renamed else []
        return ", ".join(parts)


def adapter_folder(path: str) -> Path:
    """The adapter folder in a run directory, or `path` itself if it is one.

    Raises:
        RunError: there is no adapter.
    """
    for folder in (Path(path), Path(path) / "adapter"):
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise RunError("there is no adapter", path, f"name a finished run, or a folder with {CONFIG_FILE}")


def read_adapter(path: str) -> Adapter:
    """The adapter of a run directory or adapter folder. Reads the header of the weights, not the data.

    Raises:
        RunError: there is no adapter, it is damaged or incomplete, or it does more than lowmed supports.
    """
    folder = adapter_folder(path)
    config = read_config(folder)
    if not (folder / WEIGHTS_FILE).is_file():
        if (folder / PICKLE_FILE).is_file():
            raise pickle_error(folder)
        raise RunError("the adapter has no safetensors weights", str(folder / WEIGHTS_FILE), "copy the adapter again")
    require_no_extra_weights(folder)
    tensors = file_tensors(folder / WEIGHTS_FILE)
    parts = _parts(tensors, folder)
    return Adapter(folder, config, _layers(parts, tensors, config, folder))


@dataclass
class _Parts:
    """The keys of one layer."""

    trained: str
    keys: dict[str, str]


def _parts(tensors: Mapping[str, TensorLocation], folder: Path) -> dict[str, _Parts]:
    """Layer -> keys of its factors.

    Raises:
        RunError: a tensor is no factor, two tensors have one place, or one of a pair is missing.
    """
    where = str(folder / WEIGHTS_FILE)
    matched: dict[str, _Parts] = {}
    others = []
    for key in sorted(tensors):
        factor = names.read_key(key)
        if factor is None:
            others.append(key)
            continue
        parts = matched.setdefault(factor.module, _Parts(factor.trained, {}))
        if factor.part in parts.keys:
            raise RunError(
                f"two tensors of the adapter have one place: {shown(parts.keys[factor.part])} and {shown(key)}",
                where,
                "keep one adapter in the file",
            )
        parts.keys[factor.part] = key
    if others:
        raise RunError(
            f"{len(others)} tensors of the adapter are no LoRA factors, first {shown(others[0])}: "
            f"{names.why_not_lora(others[0])}",
            where,
            MERGE_WITH_PEFT,
        )
    single = [module for module, parts in matched.items() if not {"lora_A", "lora_B"} <= parts.keys.keys()]
    if single or not matched:
        problem = (
            f"{len(single)} layers have one factor only, first {shown(single[0])}"
            if single
            else "it holds no layer at all"
        )
        raise RunError(f"the adapter is incomplete: {problem}", where, "copy the adapter again")
    return matched


def _layers(
    parts: Mapping[str, _Parts], tensors: Mapping[str, TensorLocation], config: LoraConfig, folder: Path
) -> dict[str, Layer]:
    ranks = _values(config.rank_pattern, parts, "rank_pattern", config)
    alphas = _values(config.alpha_pattern, parts, "alpha_pattern", config)
    layers = {}
    for module, one in parts.items():
        down, up = tensors[one.keys["lora_A"]], tensors[one.keys["lora_B"]]
        magnitude = one.keys.get("lora_magnitude_vector")
        rank, alpha = int(ranks.get(module, config.r)), alphas.get(module, config.lora_alpha)
        problem = _problem(down, up, rank, tensors[magnitude] if magnitude else None, config)
        if problem:
            raise RunError(
                f"the adapter's weights do not fit its config: {shown(module)} {problem}",
                str(folder),
                "copy both files again, from one and the same checkpoint",
            )
        scale = alpha / (rank**0.5 if config.use_rslora else rank)
        layers[module] = Layer(module, one.trained, one.keys, down.shape[1:], up.shape[0], rank, alpha, scale)
    return layers


def _values(
    pattern: Mapping[str, float], parts: Mapping[str, _Parts], key: str, config: LoraConfig
) -> dict[str, float]:
    """Layer -> its value in `rank_pattern` or `alpha_pattern`, by the name that it had at training."""
    trained = {one.trained: module for module, one in parts.items()}
    matched = patterns.first_key(pattern, list(trained), key=key, config=config.file)
    return {trained[name]: pattern[expression] for name, expression in matched.items()}


def _problem(
    down: TensorLocation, up: TensorLocation, rank: int, magnitude: TensorLocation | None, config: LoraConfig
) -> str | None:
    """Why the tensors of a layer cannot be its adapter, or None."""
    if not {down.dtype, up.dtype} <= _FLOATS:
        return f"holds {down.dtype} and {up.dtype}, not floating-point numbers"
    if len(down.shape) < 2 or len(up.shape) != len(down.shape) or any(size != 1 for size in up.shape[2:]):
        return f"has factors of shape {by(down.shape)} and {by(up.shape)}"
    if down.shape[0] != up.shape[1]:
        return f"has an A of rank {down.shape[0]} and a B of rank {up.shape[1]}"
    if down.shape[0] != rank:
        return f"has rank {down.shape[0]} in the weights and {rank} in the config"
    if config.use_dora != bool(magnitude):
        return "has no magnitude of DoRA" if config.use_dora else "has a magnitude of DoRA, which the config denies"
    if magnitude and (magnitude.shape != up.shape[:1] or len(down.shape) != 2):
        return (
            f"has a DoRA magnitude of shape {by(magnitude.shape)} for a weight of {by((up.shape[0], *down.shape[1:]))}"
        )
    return None


def by(shape: tuple[int, ...]) -> str:
    """A shape as text."""
    return " x ".join(map(str, shape)) or "one number"
