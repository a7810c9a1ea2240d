"""The embedded model: a Qwen2-VL with 2.6 million parameters and a small byte-level BPE tokenizer."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# In the order of their token ids, as in the released Qwen2-VL.
SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
VOCABULARY_SIZE = 600

# The words between the special tokens are those of the released Qwen2-VL, so that prompts look the same.
CHAT_TEMPLATE = """\
{%- if messages[0].role != 'system' -%}
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif -%}
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
{{ '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif part.type == 'video' -%}
{{ '<|vision_start|><|video_pad|><|vision_end|>' }}
{%- elif part.type == 'text' -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}
"""

# With the usual 0.02 the attention of so narrow a model learns almost nothing in its first thousand steps.
INITIALIZER_RANGE = 0.06
TEXT = {
    "initializer_range": INITIALIZER_RANGE,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    # The three sections (time, height, width) add up to half the head size of 32.
    "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0},
}
VISION = {
    "initializer_range": INITIALIZER_RANGE,
    "depth": 3,
    "embed_dim": 128,
    "hidden_size": 192,
    "num_heads": 4,
    "mlp_ratio": 2,
    "patch_size": 14,
    "spatial_merge_size": 2,
}


def new_processor(texts: Iterable[str], vocabulary_size: int = VOCABULARY_SIZE) -> Any:
    """A Qwen2VLProcessor whose tokenizer learned its merges from `texts`. It can encode any Unicode text."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer, Qwen2VLImageProcessorPil, Qwen2VLProcessor, Qwen2VLVideoProcessor

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary_size - len(SPECIAL_TOKENS),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    learned = json.loads(bpe.to_str())["model"]
    words = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    tokenizer = Qwen2Tokenizer(
        vocab={token: number for number, token in enumerate([*words, *SPECIAL_TOKENS])},
        merges=[tuple(merge) for merge in learned["merges"]],
        eos_token=SPECIAL_TOKENS[2],
        pad_token=SPECIAL_TOKENS[0],
        padding_side="left",
        model_max_length=TEXT["max_position_embeddings"],
        extra_special_tokens={
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
            "vision_bos_token": "<|vision_start|>",
            "vision_eos_token": "<|vision_end|>",
        },
    )
    tokenizer.add_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessorPil(),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )


def new_model(tokenizer: Any, seed: int) -> Any:
    """A Qwen2VLForConditionalGeneration in float32 with random weights, for a tokenizer."""
    import torch
    from transformers import GenerationConfig, Qwen2VLConfig, Qwen2VLForConditionalGeneration

    token_id = tokenizer.convert_tokens_to_ids
    ends = {"eos_token_id": token_id("<|im_end|>"), "pad_token_id": token_id("<|endoftext|>")}
    config = Qwen2VLConfig(
        text_config=TEXT | ends | {"vocab_size": len(tokenizer), "bos_token_id": token_id("<|endoftext|>")},
        vision_config=VISION,
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Qwen2VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=[token_id("<|im_end|>"), token_id("<|endoftext|>")],
        pad_token_id=token_id("<|endoftext|>"),
    )
    return model


def save(model: Any, processor: Any, folder: Path) -> None:
    """Write model (in bfloat16) and processor to a folder that transformers can load."""
    import torch

    model.to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)  # older versions of transformers need preprocessor_config.json
