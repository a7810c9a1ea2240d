"""`ask`: one question about a user's images."""

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowmed.sample import Sample
    from lowmed.ship.records import AskResult


def ask(
    target: str | PathLike[str],
    images: Sequence[str | PathLike[str]],
    question: str,
    *,
    samples: int = 0,
    prompt: str | None = None,
    draw: str | PathLike[str] | None = None,
) -> "AskResult":
    """Ask a model one question about images. Nothing is stored, and nothing leaves this machine.

    Args:
        target: directory of a run, a model folder, an adapter folder, a hub id, or `nano`.
        images: image or DICOM files, in the order of the prompt.
        question: the question.
        samples: number of sampled completions in addition to the greedy one.
        prompt: name of the prompt family; None for the run's own.
        draw: a new PNG file for the first image with the boxes of the answer; None writes nothing.

    Raises:
        LowmedError: the model, an image or the prompt family does not exist, or the question is empty or too long.
    """
    from lowmed import prompt as prompts
    from lowmed.data.image.policy import PixelPolicy
    from lowmed.data.ingest.image_store import png
    from lowmed.evaluation.target import open_target
    from lowmed.files import disk_errors
    from lowmed.ship.ask import ask_model, open_images, question_sample, with_boxes

    opened = open_target(fspath(target))
    family = prompts.family(prompt) if prompt else opened.family
    paths = [fspath(image) for image in images]
    open_image = open_images(paths, PixelPolicy(opened.model.max_image_tokens))
    sample = question_sample(question, paths, family, opened.model, open_image)
    out = _new_file(draw, sample) if draw else None
    from lowmed.engine import evaluator

    answerer = evaluator.answerer(opened.model, opened.adapters.get("tuned"), family, opened.eval.max_new_tokens)
    result = ask_model(answerer, fspath(target), sample, family, open_image, samples)
    if out:
        with disk_errors(out):
            out.write_bytes(png(with_boxes(result, sample, open_image)))  # pixels only
    return result


def _new_file(draw: str | PathLike[str], sample: "Sample") -> Path:
    from lowmed.errors import RecipeError

    out = Path(draw).expanduser()
    if sample.kind != "boxes":
        raise RecipeError("the answer has no boxes to draw", "--draw", "add --prompt boxes, and name an image")
    if out.suffix.lower() != ".png" or out.exists():
        raise RecipeError("--draw needs the name of a new PNG file", str(out), "choose another name, e.g. boxes.png")
    return out
