"""The files around a folder of weights, so that anyone can use it without lowmed."""

import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

from lowmed import answer, prompt
from lowmed.data.image.policy import pixel_policy
from lowmed.engine.processor import load_processor, load_tokenizer
from lowmed.errors import SetupError
from lowmed.files import disk_errors, write_json, write_text
from lowmed.recipe import JudgeSpec, Recipe
from lowmed.recipe.io import dump_recipe, portable_recipe
from lowmed.report import card, run_report
from lowmed.report.console import NOTICE
from lowmed.run import Run
from lowmed.ship.base_model import base_family, hub_commit
from lowmed.ship.records import FORMAT, PACKAGE, Into, PackageKind, Reference

CONFIGS = ("config.json", "generation_config.json")
EXAMPLE = "example.py"
LARGE_IMAGE_PX = (2000, 1500)


@dataclass(frozen=True)
class PromptInfo:
    """A prompt family as lowmed.json describes it; `question_template` is the wording for inference.

    `prefill` is the start of the assistant's turn, which follows the generation prompt. `system` is the system message;
    if it is empty, the chat template has its own.
    """

    name: str
    digest: str
    completion_format: str
    wordings: tuple[str, ...]
    kinds: tuple[str, ...]
    fallback_wordings: tuple[str, ...]
    question_template: str
    prefill: str
    system: str


@dataclass(frozen=True)
class PackageInfo:
    """The content of lowmed.json: the prompts and limits that reproduce training.

    Attributes:
        format: version of the file format.
        lowmed: version of lowmed that wrote it.
        kind: whether the weights are merged or an adapter.
        notice: not a diagnostic device.
        run: name of the run.
        recipe_digest: recipe digest of the run.
        base: hub id of the base, or a folder's name.
        base_revision: as in the recipe.
        base_commit: as resolved by the hub.
        trained_load_in: precision of the base in training.
        prompts: `train` and `infer`.
        pixels: limits of an image: area in pixels, and tokens; empty for text only and for one image size.
        max_new_tokens: maximum number of tokens of a completion in evaluation.
        rules_version: version of the rules that read answers.
        reference: weights that the adapter was added to, for a merge.
        into: precision of the weights, for a merge.
    """

    format: int
    lowmed: str
    kind: PackageKind
    notice: str
    run: str
    recipe_digest: str
    base: str
    base_revision: str | None
    base_commit: str | None
    trained_load_in: str
    prompts: dict[str, PromptInfo]
    pixels: dict[str, int]
    max_new_tokens: int
    rules_version: Any
    reference: Reference | None = None
    into: Into | None = None


def write_package(
    run: Run,
    base: Path,
    out: Path,
    kind: PackageKind,
    *,
    reference: Reference | None = None,
    into: Into | None = None,
) -> None:
    """Write everything but the weights: configs, tokenizer, processor, prompts, model card, license, example.

    Args:
        run: the run.
        base: folder of its base.
        out: the folder; created if absent.
        kind: whether the weights are merged or an adapter.
        reference: weights that the adapter was added to, for a merge.
        into: precision of the weights, for a merge.

    Raises:
        SetupError: the disk does not allow it, or the saved processor loses its pixel policy.
    """
    recipe, family = run.recipe, base_family(base)
    text_only = family.text_only
    policy = pixel_policy(recipe.model.model_copy(update={"name": str(base)}))
    processor = load_tokenizer(str(base), None) if text_only else load_processor(str(base), None, policy, family)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        processor.save_pretrained(out)
        if not text_only:
            processor.image_processor.save_pretrained(out)  # servers read preprocessor_config.json
        for name in CONFIGS if kind == "merged" else ():
            if (base / name).is_file():
                shutil.copyfile(base / name, out / name)
        for file in (*base.glob("LICENSE*"), *base.glob("NOTICE*")):
            shutil.copyfile(file, out / file.name)
        shutil.copyfile(example("text" if text_only else kind), out / EXAMPLE)
    if not text_only:
        _check_pixel_policy(out, processor)
    write_json(out / PACKAGE, asdict(package_info(run, base, kind, reference, into)))
    write_text(out / "recipe.yaml", dump_recipe(public_recipe(recipe, kind)))
    write_text(out / "README.md", _model_card(run, kind, text_only=text_only))
    if not any(out.glob("LICENSE*")):
        write_text(out / "LICENSE", _license(recipe))


def example(kind: str) -> Path:
    """The example script for `merged` weights, an `adapter`, a `served` model, or either of a `text`-only model."""
    return Path(__file__).with_name(f"example_{kind}.py")


def package_info(
    run: Run, base: Path, kind: PackageKind, reference: Reference | None, into: Into | None
) -> PackageInfo:
    """The content of lowmed.json for a run."""
    recipe, run_record = run.recipe, run.record
    policy = pixel_policy(recipe.model.model_copy(update={"name": str(base)}))
    family = base_family(base)
    pixels = {
        "min_pixels": policy.min_pixels,
        "max_pixels": policy.max_pixels,
        "max_image_tokens": policy.max_image_tokens,
    }
    return PackageInfo(
        format=FORMAT,
        lowmed=version("lowmed"),
        kind=kind,
        notice=NOTICE,
        run=run_record.name,
        recipe_digest=run_record.recipe_digest,
        base=recipe.model.name,
        base_revision=recipe.model.revision,
        base_commit=hub_commit(base),
        trained_load_in=recipe.model.load_in,
        prompts={"train": _prompt_info(recipe.prompts.training), "infer": _prompt_info(recipe.prompts.asking)},
        pixels={} if family.text_only or family.fixed_size else pixels,
        max_new_tokens=recipe.eval.max_new_tokens,
        rules_version=answer.RULES_VERSION,
        reference=reference,
        into=into,
    )


def public_recipe(recipe: Recipe, kind: PackageKind) -> Recipe:
    """The recipe without paths of data; a merged model is loaded in 16 bits."""
    portable = portable_recipe(recipe)
    return portable.model_copy(
        update={
            "data": portable.data.with_paths(lambda _: None).model_copy(
                update={"difficulty": None, "pairs": None, "unpaired": None}
            ),
            "lora": portable.lora.model_copy(update={"start": None}),
            "model": portable.model.model_copy(update={"load_in": "16bit"} if kind == "merged" else {}),
            "judge": JudgeSpec(),
        }
    )


def _prompt_info(family: prompt.Family) -> PromptInfo:
    return PromptInfo(
        name=family.name,
        digest=family.digest,
        completion_format=family.completion_format,
        wordings=family.wordings,
        kinds=family.kinds,
        fallback_wordings=family.fallback_wordings,
        question_template=family.wording("open"),
        prefill=family.prefill,
        system=family.system,
    )


def _model_card(run: Run, kind: PackageKind, *, text_only: bool) -> str:
    text = card.render(run_report.read(run))
    if kind == "adapter":
        return text
    text = text.replace("library_name: peft\n", "library_name: transformers\n", 1)
    return text + (
        "\n\n## This folder\n\nThe adapter, merged into its base: see `example.py`. `lowmed.json` holds the prompts "
        f"{'' if text_only else 'and the pixel limits '}of training. `parity.json` compares its answers with those of "
        "the adapter.\n"
    )


def _license(recipe: Recipe) -> str:
    if recipe.model.name == "nano":
        for file in distribution("lowmed").files or ():
            if file.name == "LICENSE":
                return file.read_text(encoding="utf-8")
    return (
        f"These weights derive from {recipe.model.name} and are under its license, "
        "of which the base's folder holds no copy.\n"
    )


def _check_pixel_policy(out: Path, processor: Any) -> None:
    from PIL import Image
    from transformers import AutoProcessor

    saved = AutoProcessor.from_pretrained(out, trust_remote_code=False)
    image = Image.new("RGB", LARGE_IMAGE_PX)
    shapes = [
        list(one.image_processor(images=[image], return_tensors="pt")["pixel_values"].shape)
        for one in (processor, saved)
    ]
    if shapes[0] != shapes[1]:
        raise SetupError(
            f"the saved processor makes {shapes[1]} pixel values of an image, the run's processor {shapes[0]}",
            str(out),
            "this version of transformers loses the image budget; install one that lowmed was tested with",
        )
