"""What a folder of weights needs to be used by somebody who has never heard of lowmed."""

import shutil
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any, Literal

from lowmed import answer, prompt
from lowmed.data.image.policy import PixelPolicy
from lowmed.engine.load import load_processor
from lowmed.errors import SetupError
from lowmed.files import disk_errors, write_json, write_text
from lowmed.recipe import JudgeSpec, Recipe
from lowmed.recipe.io import dump_recipe, portable_recipe
from lowmed.report import card, run_report
from lowmed.report.eval_table import NOTICE
from lowmed.run import Run
from lowmed.ship import base_model as bases

Form = Literal["merged", "adapter"]
COPIED = ("config.json", "generation_config.json")
ABOUT = "lowmed.json"
EXAMPLE = "example.py"
WIDE_PX = (2000, 1500)


def write_package(run: Run, base: Path, out: Path, form: Form, **more: Any) -> None:
    """Put everything but the weights into a folder: configs, tokenizer, processor, prompts, card, licence, example.

    Args:
        run: what was trained.
        base: folder of its base.
        out: the folder.
        form: whether the weights are merged or an adapter.
        more: further fields of lowmed.json.

    Raises:
        SetupError: the disk does not allow it, or the processor forgets its pixel policy when it is saved.
    """
    recipe = run.recipe
    policy = PixelPolicy(recipe.model.max_image_tokens)
    processor = load_processor(str(base), None, policy)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        processor.save_pretrained(out)
        processor.image_processor.save_pretrained(out)  # servers look for preprocessor_config.json
        for name in COPIED if form == "merged" else ():
            if (base / name).is_file():
                shutil.copyfile(base / name, out / name)
        for file in (*base.glob("LICENSE*"), *base.glob("NOTICE*")):
            shutil.copyfile(file, out / file.name)
        shutil.copyfile(Path(__file__).with_name(f"example_{form}.py"), out / EXAMPLE)
    _check_policy(out, processor)
    write_json(out / ABOUT, {**about(run, base, form), **more})
    write_text(out / "recipe.yaml", dump_recipe(public(recipe, form)))
    write_text(out / "README.md", _card(run, form))
    if not any(out.glob("LICENSE*")):
        write_text(out / "LICENSE", _licence(recipe))


def about(run: Run, base: Path, form: Form) -> dict[str, Any]:
    """What somebody must know to ask the model as it was trained to be asked: the content of lowmed.json."""
    recipe = run.recipe
    policy = PixelPolicy(recipe.model.max_image_tokens)
    return {
        "lowmed": version("lowmed"),
        "form": form,
        "notice": NOTICE,
        "run": run.record.name,
        "recipe_digest": run.record.recipe_digest,
        "base": recipe.model.name,
        "base_revision": recipe.model.revision,
        "base_commit": bases.commit(base),
        "trained_in": recipe.model.load_in,
        "prompts": {"train": _family(recipe.prompts.training), "infer": _family(recipe.prompts.asking)},
        "pixels": {
            "min_pixels": policy.min_pixels,
            "max_pixels": policy.max_pixels,
            "max_image_tokens": policy.max_image_tokens,
        },
        "max_new_tokens": recipe.eval.max_new_tokens,
        "rules_version": answer.RULES_VERSION,
    }


def public(recipe: Recipe, form: Form) -> Recipe:
    """The recipe without the places where somebody keeps data; a merged model is asked in 16 bits."""
    portable = portable_recipe(recipe)
    return portable.model_copy(
        update={
            "data": portable.data.model_copy(update={"path": None, "difficulty": None}),
            "lora": portable.lora.model_copy(update={"start": None}),
            "model": portable.model.model_copy(update={"load_in": "16bit"} if form == "merged" else {}),
            "judge": JudgeSpec(),
        }
    )


def _family(family: prompt.Family) -> dict[str, Any]:
    return {
        "name": family.name,
        "digest": family.digest,
        "reply": family.completion_format,
        "wordings": list(family.wordings),
        "kinds": list(family.kinds),
        "otherwise": list(family.fallback_wordings),
        "ask_with": family.wording("open"),
    }


def _card(run: Run, form: Form) -> str:
    text = card.render(run_report.read(run))
    if form == "adapter":
        return text
    text = text.replace("library_name: peft\n", "library_name: transformers\n", 1)
    return text + (
        "\n\n## This folder\n\nThe adapter merged into its base: plain transformers loads it, `example.py` shows how. "
        "`lowmed.json` holds the prompts and the pixel budget that it was trained with; `parity.json` says how its "
        "answers agree with those of the adapter.\n"
    )


def _licence(recipe: Recipe) -> str:
    if recipe.model.name == "nano":
        for file in distribution("lowmed").files or ():
            if file.name == "LICENSE":
                return file.read_text(encoding="utf-8")
    return f"These weights derive from {recipe.model.name}; its licence, of which the base held no copy, applies.\n"


def _check_policy(out: Path, processor: Any) -> None:
    from PIL import Image
    from transformers import AutoProcessor

    again = AutoProcessor.from_pretrained(out)
    image = Image.new("RGB", WIDE_PX)
    grids = [
        each.image_processor(images=[image], return_tensors="pt")["image_grid_thw"].tolist()
        for each in (processor, again)
    ]
    if grids[0] != grids[1]:
        raise SetupError(
            f"the saved processor makes {grids[1]} patches of an image, the run {grids[0]}",
            str(out),
            "this version of transformers loses the image budget; install the pinned one",
        )
