"""The architecture of a recipe's model, from its config.json. Needs no weights, no network and no torch.

The configs of the published models ship with lowmed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowmed import nano
from lowmed.errors import SetupError
from lowmed.files import load_json
from lowmed.models import FAMILIES, Architecture, ModelFamily, family_of, require_packages
from lowmed.recipe import ModelSpec
from lowmed.run import is_missing_path

SHIPPED = Path(__file__).parent / "models" / "architectures.json"
TUNES = SHIPPED.with_name("tunes.json")
LARGEST = 10**9  # no dimension of a model is larger
_NEEDED = f"give a config.json of {', '.join(family.title for family in FAMILIES.values())}"


def from_config(config: Mapping[str, Any], where: str = "model.name") -> Architecture:
    """The architecture in a config.json.

    Args:
        config: the content of the file.
        where: file or setting named in an error.

    Raises:
        SetupError: the family is not supported, or a dimension is missing or invalid.
    """
    if not isinstance(config, Mapping):
        raise _invalid(where)
    family = family_of(str(config.get("model_type")), where)
    try:
        result = family.architecture(config)
    except KeyError as error:
        raise SetupError(f"config.json has no {error}", where, _NEEDED) from error
    except (TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        raise _invalid(where) from error
    dimensions = [value for name, value in vars(result).items() if name != "family"]
    valid = all(isinstance(value, int) and 0 <= value <= LARGEST for value in dimensions)
    if not valid or not result.layers * result.kv_heads:
        raise _invalid(where)
    return result


def _invalid(where: str) -> SetupError:
    return SetupError("config.json has invalid dimensions", where, _NEEDED)


def shipped() -> dict[str, Architecture]:
    """Hub id of each published model -> its architecture."""
    configs: dict[str, dict[str, Any]] = json.loads(SHIPPED.read_text(encoding="utf-8"))
    return {name: from_config(config, name) for name, config in configs.items()}


def tunes() -> dict[str, str | None]:
    """Hub id of each known medical tune -> the shipped model of its dimensions; None if it needs code of its own."""
    content: dict[str, str | None] = json.loads(TUNES.read_text(encoding="utf-8"))
    return content


def read_architecture(model: ModelSpec) -> Architecture:
    """The architecture of a recipe's model: nano, a local directory with config.json, or a shipped hub id.

    Raises:
        SetupError: config.json is missing or invalid, or the hub id is unknown.
    """
    folder = nano.folder() if model.name == "nano" else Path(model.name).expanduser()
    if folder.is_dir():
        try:
            config = load_json(folder / "config.json")
        except (OSError, ValueError) as error:
            raise SetupError(
                f"config.json of the model cannot be read ({type(error).__name__})",
                str(folder),
                "give the directory of a Hugging Face model",
            ) from error
        return from_config(config, str(folder / "config.json"))
    known = shipped()
    of_tunes = tunes()
    if is_missing_path(model.name):
        raise SetupError("the model folder does not exist", model.name, "correct model.name")
    if model.name in of_tunes and of_tunes[model.name] is None:
        raise SetupError(
            "the model needs code of its own, which lowmed never runs",
            f"model.name: {model.name}",
            "use a model that transformers loads itself, for example lingshu-medical-mllm/Lingshu-7B",
        )
    name = of_tunes.get(model.name) or model.name
    if name in known:
        return known[name]
    raise SetupError(
        f"the architecture of {model.name} is unknown",
        "model.name",
        f"give a local directory with its config.json, or one of {', '.join(known)}",
    )


def known_family(model: ModelSpec) -> ModelFamily | None:
    """The family of a recipe's model, or None for a hub id whose config.json is read when the model is loaded."""
    try:
        return family_of(read_architecture(model).family)
    except SetupError:
        return None


def reads_text_only(model: ModelSpec) -> bool:
    """Whether a recipe's model is known to read no images."""
    family = known_family(model)
    return family is not None and family.text_only


def require_known_family(model: ModelSpec) -> None:
    """Check the family of a recipe's model, as far as it is known without a download.

    Raises:
        SetupError: the model folder is missing, damaged or incomplete, or its family is unknown.
    """
    folder = Path(model.name).expanduser()
    if folder.is_file():
        raise SetupError(
            "the model is a file, and lowmed trains folders of Hugging Face models",
            f"model.name: {model.name}",
            "give the folder of the original model; a GGUF file holds rounded weights",
        )
    known = {"nano", *shipped(), *tunes()}
    if model.name not in known and not folder.is_dir() and not is_missing_path(model.name):
        return  # a hub id: its config.json is read when the model is loaded
    family = FAMILIES[read_architecture(model).family]
    require_packages(family, model.name)
    if folder.is_dir():
        _require_files(folder, family)


def _require_files(folder: Path, family: ModelFamily) -> None:
    """Check that a model folder has a tokenizer, a chat template and, for images, an image processor.

    Raises:
        SetupError: one of them is missing.
    """
    needed: dict[str, tuple[str, ...]] = {"tokenizer": ("tokenizer.json", "vocab.json", "tokenizer.model")}
    if not family.text_only:
        needed["image processor"] = ("preprocessor_config.json", "processor_config.json")
    if not _has_template(folder):
        needed["chat template"] = ("chat_template.jinja", "chat_template.json")
    for part, names in needed.items():
        if not any((folder / name).is_file() for name in names):
            raise SetupError(
                f"the model folder has no {part}: neither {' nor '.join(names)}",
                str(folder),
                "use a complete folder of the instruction-tuned model",
            )


def _has_template(folder: Path) -> bool:
    """Whether the settings of the tokenizer hold a chat template, as in older folders."""
    try:
        return bool(load_json(folder / "tokenizer_config.json").get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False
