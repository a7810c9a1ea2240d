"""The tokenizer of a recipe's model, without the model and without a download."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from lowmed import nano
from lowmed.engine.own_code import own_code_refused

if TYPE_CHECKING:
    from lowmed.recipe import ModelSpec


def local_tokens(spec: "ModelSpec") -> tuple[Callable[[str], int], int] | None:
    """A function that counts the tokens of a text, and the model's context in tokens.

    Args:
        spec: the model of a recipe.

    Returns:
        None if the tokenizer is not on this machine, or cannot be loaded.

    Raises:
        SetupError: the tokenizer needs code of its own.
    """
    from transformers import AutoTokenizer

    source = str(nano.folder()) if spec.name == "nano" else spec.name
    try:
        with own_code_refused(source):
            tokenizer = AutoTokenizer.from_pretrained(
                source, revision=spec.revision or "main", local_files_only=True, trust_remote_code=False
            )
    except (OSError, ValueError):
        return None
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]), int(tokenizer.model_max_length)
