"""Samples as they are put to the model: messages, reference completions, tokens; for a page or for the terminal."""

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
from lowmed.sample import LETTERS, Sample

Row = dict[str, Any]
WEIGHTS = Path(lowmed.nano.__file__).parent / "weights"


def rows(
    data: DataSet, policy: PixelPolicy, families: list[str], *, count: int, seed: int, split: str | None = None
) -> list[Row]:
    """So many samples of each split, drawn by seed and shown in their order, with every wording of the families.

    Raises:
        DataError: there is no such split.
        RecipeError: there is no such prompt family.
    """
    if split is not None and split not in data.splits:
        raise DataError(f"there is no split `{split}`", "--split", f"use one of {', '.join(data.splits)}")
    shown = {split: data.splits[split]} if split else data.splits
    drawn = random.Random(seed)
    return [
        _row(data, sample, name, policy, families)
        for name, samples in shown.items()
        for sample in (samples[at] for at in sorted(drawn.sample(range(len(samples)), min(count, len(samples)))))
    ]


def terminal(row: Row) -> str:
    """A sample as lines for the terminal; of each family the first wording."""
    lines = [f"{row['split']} {row['id']}  {row['kind']}  {row['modality']} {row['topic']}".rstrip()]
    lines += [f"  image   {image}" for image in row["images"]]
    lines.append(f"  ask     {row['question']}")
    lines += [
        f"          {letter}. {option}{'  <- gold' * (option == row['answer'])}"
        for letter, option in zip(LETTERS, row["options"], strict=False)
    ]
    lines += [f"  gold    {row['answer']}", f"  group   {row['group']}"]
    for asked in row["asked"]:
        if asked["wording"] == 1:
            tokens = f"{row['image_tokens']} image + {asked['text_tokens']} text tokens ({row['tokenizer']})"
            lines += [f"  {asked['family']:<9} {tokens}", f"    chat  {asked['chat']!r}"]
            lines.append(f"    reply {asked['reference']!r}")
    return "\n".join(lines) + "\n"


def _row(data: DataSet, sample: Sample, split: str, policy: PixelPolicy, families: list[str]) -> Row:
    images = sum(_tokens(data, image, policy) for image in sample.images)
    asked = [
        _asked(prompt.family(name), sample, draw, images)
        for name in families
        for draw in range(len(prompt.family(name).wordings))
    ]
    return {**asdict(sample), "split": split, "image_tokens": images, "tokenizer": "nano's", "asked": asked}


def _asked(family: prompt.Family, sample: Sample, draw: int, image_tokens: int) -> Row:
    """One wording: the messages, the chat text that they become, its tokens with the images', and the right completion."""
    messages = prompt.build_messages(family, sample, draw)
    chat = _template().render(messages=messages, add_generation_prompt=True)
    text_tokens = len(_tokenizer().encode(chat, add_special_tokens=False).ids) - len(sample.images)
    return {
        "family": family.name,
        "wording": draw + 1,
        "messages": messages,
        "chat": chat,
        "text_tokens": text_tokens,  # the image's own placeholder is counted with the image
        "prompt_tokens": text_tokens + image_tokens,
        "reference": prompt.reference_completion(family, sample),
    }


def _tokens(data: DataSet, reference: str, policy: PixelPolicy) -> int:
    """Image tokens of an image under the policy; 0 where it does not open, which the page says in its place."""
    try:
        return image_tokens(*prepare(data.open_image(reference), policy).size, policy)
    except DataError:
        return 0


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """Nano's own, which is in the package: no download, and no transformers."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(WEIGHTS / "tokenizer.json"))


@lru_cache(maxsize=1)
def _template() -> Any:
    """Nano's chat template, which is Qwen2-VL's."""
    from jinja2 import Environment

    source = (WEIGHTS / "chat_template.jinja").read_text(encoding="utf-8")
    return Environment(autoescape=False).from_string(source)  # noqa: S701  a chat text, which the page escapes whole
