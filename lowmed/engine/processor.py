"""The processor of a model: its tokenizer, chat template and image processor, checked before use."""

from collections.abc import Iterable
from typing import Any

from lowmed.data.image.policy import PixelPolicy, image_tokens
from lowmed.engine.own_code import own_code_refused
from lowmed.errors import SetupError
from lowmed.models import ModelFamily
from lowmed.models.chat_template import require_renderable


def load_tokenizer(source: str, revision: str | None, *, local_only: bool = False) -> Any:
    """The tokenizer of a text-only model, padding on the left, with its end token as padding if it has none.

    Args:
        source: hub id or folder.
        revision: branch, tag or commit on the hub.
        local_only: download nothing.

    Raises:
        SetupError: it needs code of its own, or has no chat template or no end token.
    """
    from transformers import AutoTokenizer

    with own_code_refused(source):
        tokenizer = AutoTokenizer.from_pretrained(
            source, revision=revision or "main", local_files_only=local_only, trust_remote_code=False
        )
    if not tokenizer.chat_template or not tokenizer.eos_token:
        missing = "chat template" if tokenizer.eos_token else "end token"
        raise SetupError(f"the tokenizer has no {missing}", source, "use the instruction-tuned version of the model")
    require_renderable(tokenizer.chat_template, source, text_only=True)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked everywhere
    return tokenizer


def load_processor(
    source: str, revision: str | None, policy: PixelPolicy, family: ModelFamily, *, local_only: bool = False
) -> Any:
    """The processor with the pixel policy applied, padding on the left.

    Args:
        source: hub id or folder.
        revision: branch, tag or commit on the hub.
        policy: limits of image sizes.
        family: the model's family.
        local_only: download nothing.

    Raises:
        SetupError: it needs code of its own, or does not follow the pixel policy.
    """
    from PIL import Image
    from transformers import AutoProcessor

    with own_code_refused(source):
        processor = AutoProcessor.from_pretrained(
            source, revision=revision or "main", local_files_only=local_only, trust_remote_code=False
        )
    if not family.fixed_size:  # `min_pixels` and `max_pixels` are deprecated
        processor.image_processor.size = {"shortest_edge": policy.min_pixels, "longest_edge": policy.max_pixels}
    for name, value in family.image_settings.items():
        setattr(processor.image_processor, name, value)
    for holder in (processor, processor.tokenizer):
        require_renderable(holder.chat_template, source)
    processor.tokenizer.padding_side = "left"  # right padding misaligns image positions without an error
    # Chat templates write the start token. TRL's GRPO would add a second one, and shift `token_type_ids` by one.
    processor.tokenizer.add_bos_token = False
    width, height = 2000, 1500
    inputs = processor(text=[family.image_placeholder], images=[[Image.new("RGB", (width, height))]])
    tokens = count_image_tokens(processor, family, inputs["input_ids"])
    expected = image_tokens(width, height, policy)
    if tokens != expected:
        raise SetupError(
            f"the processor makes {tokens} tokens of a {width} x {height} image, the pixel policy {expected}",
            source,
            "this version of transformers ignores the image budget; install one that lowmed was tested with",
        )
    if family.vision_cache:
        from lowmed.engine.vision.processor_cache import cache_processed_images

        cache_processed_images(processor)
    return processor


def count_image_tokens(processor: Any, family: ModelFamily, input_ids: Iterable[Iterable[int]]) -> int:
    """The number of tokens of rendered prompts that stand for a feature of an image."""
    token = processor.tokenizer.convert_tokens_to_ids(family.image_pad)
    return sum(int(number) == token for row in input_ids for number in row)
