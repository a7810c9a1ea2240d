"""Whether an adapter fits a base, and whether it has all the layers that its config names."""

import re
from collections.abc import Mapping, Sequence

from lowmed.adapter import names, patterns
from lowmed.adapter.config import LoraConfig, shown
from lowmed.adapter.intake import Adapter, by
from lowmed.errors import RunError
from lowmed.models import FAMILIES, Architecture

Shape = tuple[int, ...]
ATTENTION_LAYERS = 4  # of the seven linear layers of a decoder layer, the first


def require_fit(adapter: Adapter, shapes: Mapping[str, Shape]) -> None:
    """Check that every layer of an adapter is in the base, with the same shape.

    Args:
        adapter: the adapter.
        shapes: layer of the base -> shape of its weight.

    Raises:
        RunError: one is missing or has another shape: the adapter belongs to another base.
    """
    for module, layer in sorted(adapter.layers.items()):
        if module not in shapes or shapes[module] != layer.shape:
            problem = (
                f"is {by(shapes[module])} in the base and {by(layer.shape)} in the adapter"
                if module in shapes
                else "is not in the base, where the head shares the table of the embeddings"
                if module == "lm_head"
                else "is not in the base"
            )
            raise RunError(
                f"the adapter belongs to another base: {shown(module)} {problem}",
                f"{adapter.folder}, trained on {shown(adapter.config.base)}",
                "name the base that it was trained on with --base",
            )


def layer_problems(adapter: Adapter, shapes: Mapping[str, Shape]) -> list[str]:
    """The linear layers of the base in which the adapter's weights and its config differ.

    PEFT leaves a layer that only the config names as it was initialized, and ignores one that only the weights hold.

    Args:
        adapter: the adapter.
        shapes: layer of the base -> shape of its weight.

    Raises:
        RunError: an expression of the config is invalid, or takes too long.
    """
    if adapter.config.target_modules is None:
        return []  # PEFT chose them by the kind of the model
    linear = [name for name, shape in shapes.items() if len(shape) == 2 and not name.endswith("embed_tokens")]
    trained = {_trained_name(module, adapter): module for module in linear}
    named = {trained[name] for name in _targeted(adapter.config, list(trained))}
    held = adapter.layers.keys()
    missing = [f"{module} is missing" for module in sorted(named - held)]
    return missing + [f"{module} is not named by the config" for module in sorted((held & set(linear)) - named)]


def require_complete(adapter: Adapter, shapes: Mapping[str, Shape]) -> None:
    """Check that an adapter fits a base, and that its weights hold just the layers that its config names.

    Raises:
        RunError: it belongs to another base, or layers differ.
    """
    require_fit(adapter, shapes)
    problems = layer_problems(adapter, shapes)
    if problems:
        raise RunError(
            f"the adapter's weights and its config differ in {len(problems)} layers, first: {problems[0]}",
            str(adapter.folder),
            "copy both files again, from one and the same checkpoint",
        )


def language_layers(architecture: Architecture) -> dict[str, Shape]:
    """Linear layer of a language model -> shape of its weight, from the dimensions alone."""
    family = FAMILIES[architecture.family]
    layers: dict[str, Shape] = {}
    for number in range(architecture.layers):
        for place, (name, (inputs, outputs)) in enumerate(
            zip(family.lora_targets, architecture.layer_shapes, strict=True)
        ):
            part = "self_attn" if place < ATTENTION_LAYERS else "mlp"
            layers[f"{family.language_model}.layers.{number}.{part}.{name}"] = (outputs, inputs)
    return layers


def _trained_name(module: str, adapter: Adapter) -> str:
    """The name that a layer of the base had where the adapter was trained."""
    if not adapter.renamed:
        return module
    if module in adapter.layers:
        return adapter.layers[module].trained
    return next((name for name in names.published_modules(module) if name != module), module)


def _targeted(config: LoraConfig, modules: Sequence[str]) -> list[str]:
    """The layers that the config selects, by the rules of PEFT's `check_target_module_exists`."""
    excluded = set(_selected(config.exclude_modules, modules, config, "exclude_modules"))
    matched = [name for name in modules if name not in excluded]
    if isinstance(config.target_modules, str) and config.target_modules.lower() == "all-linear":
        return [name for name in matched if name != "lm_head"]
    matched = _selected(config.target_modules, matched, config, "target_modules")
    if config.layers is None or isinstance(config.target_modules, str):
        return matched
    numbers = _layer_numbers(matched, config)
    return [name for name in matched if (number := numbers.get(name)) and int(number) in config.layers]


def _selected(value: str | tuple[str, ...] | None, modules: Sequence[str], config: LoraConfig, key: str) -> list[str]:
    if isinstance(value, str):
        return list(patterns.matches(patterns.Expression(value, key, config.file, how="fullmatch"), modules))
    ends = value or ()
    return [name for name in modules if name in ends or any(name.endswith(f".{end}") for end in ends)]


def _layer_numbers(modules: Sequence[str], config: LoraConfig) -> dict[str, str | None]:
    """Layer -> its number in the first list of layers that a pattern of the config names."""
    if not config.layers_pattern:
        matched = ((name, re.match(r".*?\.[^.]*\.(\d+)\.", name)) for name in modules)
        return {name: match[1] for name, match in matched if match}
    numbers: dict[str, str | None] = {}
    for pattern in config.layers_pattern:
        template = r"(?:^|.*?\.){}\.(?P<index>\d+)\."
        expression = patterns.Expression(pattern, "layers_pattern", config.file, template)
        numbers |= patterns.matches(expression, [name for name in modules if name not in numbers])
    return numbers
