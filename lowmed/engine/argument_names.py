"""Arguments of transformers that have two names within the window of versions (docs/design.md, section "Versions").

The old names work too, with a warning at each use, until transformers removes them.
"""

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from transformers import TrainingArguments

OLD_CHECKPOINTING, NEW_CHECKPOINTING = "gradient_checkpointing", "activation_checkpointing"


def training_arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Training arguments under the names that the installed transformers has.

    Args:
        settings: training arguments with the name `gradient_checkpointing`.
    """
    renamed = NEW_CHECKPOINTING in {field.name for field in fields(TrainingArguments)}
    return {NEW_CHECKPOINTING if renamed and name == OLD_CHECKPOINTING else name: settings[name] for name in settings}


def with_cache(model: Any, cache: Any) -> dict[str, Any]:
    """The argument that passes keys and values of earlier tokens to the forward pass of a model.

    Args:
        model: a model of transformers.
        cache: its keys and values.
    """
    new = "cache" in inspect.signature(model.forward).parameters
    return {"cache" if new else "past_key_values": cache}
