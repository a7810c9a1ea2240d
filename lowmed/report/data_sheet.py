"""Samples with their prompts: messages, SFT completions and tokens, for a page or for the terminal."""

import random
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import lowmed.nano
from lowmed import prompt
from lowmed.data.dataset import DataSet
from lowmed.data.image.policy import PixelPolicy, image_tokens, prepare
from lowmed.errors import DataError
from lowmed.models.qwen_vl import IMAGE_PLACEHOLDER
from lowmed.sample import LETTERS, Sample

Row = dict[str, Any]
NO_COMPLETION = "left out: the prompt requests reasoning, and the sample has no explanation"
WEIGHTS = Path(lowmed.nano.__file__).parent / "weights"
TOKENIZER = "tokenizer.json"


def rows(
    data: DataSet,
    policy: PixelPolicy,
    families: list[prompt.Family],
    *,
    questions: int,
    seed: int,
    split: str | None = None,
    model: str = "",
) -> list[Row]:
    """Samples drawn from each split, in their order, with every wording of the prompt families.

    Args:
        data: the data set.
        policy: the pixel policy, for the image tokens.
        families: the prompt families.
        questions: samples of each split.
        seed: selects the samples.
        split: only this split.
        model: base model whose tokenizer counts, if it is on this machine; otherwise nano's does.

    Raises:
        DataError: there is no such split.
    """
    if split is not None and split not in data.splits:
        raise DataError(f"there is no split `{split}`", "--split", f"use one of {', '.join(data.splits)}")
    splits = {split: data.splits[split]} if split else data.splits
    draw = random.Random(seed)
    file = _tokenizer_file(model)
    named = model if file else f"nano's; that of {model} is not on this machine" if model else "nano's"
    return [
        {**_row(data, sample, name, policy, families, file or WEIGHTS / TOKENIZER), "tokenizer": named}
        for name, samples in splits.items()
        for sample in (samples[at] for at in sorted(draw.sample(range(len(samples)), min(questions, len(samples)))))
    ]


def terminal(row: Row) -> str:
    """A sample as lines for the terminal: the first wording of each family in full, of the others the question."""
    lines = [f"{row['split']} {row['id']}  {row['kind']}  {row['modality']} {row['topic']}".rstrip()]
    lines += [f"  image   {image}" for image in row["images"]]
    lines += [f"  earlier {user!r} -> {assistant!r}" for user, assistant in row["history"]]
    lines.append(f"  question {row['question']}")
    lines += [
        f"          {letter}. {option}{'  <- gold' * (option == row['answer'])}"
        for letter, option in zip(LETTERS, row["options"], strict=False)
    ]
    lines += [f"  gold    {row['answer']}", f"  group   {row['group']}"]
    for wording in row["prompts"]:
        if wording["wording"] == 1:
            tokens = f"{row['image_tokens']} image + {wording['text_tokens']} text tokens ({row['tokenizer']})"
            lines += [f"  {wording['family']:<9} {tokens}", f"    chat  {wording['chat']!r}"]
            lines += [f"    start {wording['prefill']!r}, pre-filled and not trained on"] if wording["prefill"] else []
            completion = wording["completion"]
            lines.append(f"    SFT   {NO_COMPLETION if completion is None else repr(completion)}")
        else:
            question = "\n".join(part["text"] for part in wording["messages"][-1]["content"] if part["type"] == "text")
            lines.append(f"    wording {wording['wording']}, {wording['text_tokens']} text tokens  {question!r}")
    return "\n".join(lines) + "\n"


def _row(
    data: DataSet, sample: Sample, split: str, policy: PixelPolicy, families: list[prompt.Family], tokenizer: Path
) -> Row:
    images = sum(_tokens(data, image, policy) for image in sample.images)
    prompts = [
        _prompt(family, sample, draw, images, tokenizer) for family in families for draw in range(len(family.wordings))
    ]
    return {
        **asdict(sample),
        "strata": dict(sample.strata),
        "split": split,
        "image_tokens": images,
        "prompts": prompts,
    }


def _prompt(family: prompt.Family, sample: Sample, draw: int, image_tokens: int, tokenizer: Path) -> Row:
    """One wording: its messages, the chat text, its tokens with and without images, and the SFT completion, if any."""
    messages = prompt.build_messages(family, sample, draw)
    chat = _template().render(messages=messages, add_generation_prompt=True) + family.prefill
    text_tokens = len(_tokenizer(tokenizer).encode(chat, add_special_tokens=False).ids) - len(sample.images)
    completion = prompt.training_completion(family, sample)
    return {
        "family": family.name,
        "wording": draw + 1,
        "messages": messages,
        "chat": chat,
        "prefill": family.prefill,
        "text_tokens": text_tokens,  # the placeholder of an image is counted with the image
        "prompt_tokens": text_tokens + image_tokens,
        "completion": completion and completion.removeprefix(family.opening.strip()),
    }


def _tokens(data: DataSet, reference: str, policy: PixelPolicy) -> int:
    """Image tokens under the policy; 0 if the image does not open, which the page shows."""
    try:
        return image_tokens(*prepare(data.open_image(reference), policy).size, policy)
    except DataError:
        return 0


def _tokenizer_file(model: str) -> Path | None:
    """The tokenizer of a model with Qwen2-VL's chat template, from its directory or the hub's cache: no download."""
    from huggingface_hub import try_to_load_from_cache

    file: object = Path(model).expanduser() / TOKENIZER
    if model and not Path(model).expanduser().is_dir():
        file = try_to_load_from_cache(model, TOKENIZER) if model.count("/") == 1 else None
    if not model or not isinstance(file, str | Path) or not Path(file).is_file():
        return None
    placeholder = _tokenizer(Path(file)).encode(IMAGE_PLACEHOLDER, add_special_tokens=False)
    return Path(file) if len(placeholder.ids) == IMAGE_PLACEHOLDER.count("<") else None


@lru_cache(maxsize=2)
def _tokenizer(file: Path) -> Any:
    """A tokenizer from its file, without transformers."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(file))


@lru_cache(maxsize=1)
def _template() -> Any:
    """Nano's chat template, which equals that of Qwen2-VL."""
    from jinja2 import Environment

    source = (WEIGHTS / "chat_template.jinja").read_text(encoding="utf-8")
    return Environment(autoescape=False).from_string(source)  # noqa: S701  the page escapes the chat text
