"""`lowmed data audit` and `lowmed data show`: what is wrong with a data set, and what is in it."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lowmed.cli import options
from lowmed.cli.progress import progress

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder of `lowmed data prepare`, or with samples.jsonl.")
]
Budget = Annotated[
    int | None, typer.Option("--max-image-tokens", min=4, help="Budget of an image; default: the recipe's, else 256.")
]


def audit(
    folder: Folder,
    against: Annotated[
        list[Path] | None, typer.Option("--against", metavar="DIR", help="Compare with; may be repeated.")
    ] = None,
    recipe: options.Recipe = None,
    max_image_tokens: Budget = None,
    resplit: Annotated[
        Literal["image", "patient"] | None,
        typer.Option("--resplit", help="Also write a clean split."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Say what is wrong with a data set before a GPU second is spent: exit 1 when training on it would be wrong.

    \b
    lowmed data audit data/vqa-rad
    lowmed data audit data/mine --against data/vqa-rad --against data/slake
    lowmed data audit data/vqa-rad --resplit image
    lowmed grpo --recipe rarl data.source=folder data.path=data/vqa-rad/samples.by-image.jsonl data.split_by=official
    """
    from lowmed.data.audit.report import audit as look_at
    from lowmed.data.image.policy import PixelPolicy
    from lowmed.files import write_json, write_text
    from lowmed.report.data_page import audit_page

    place = folder if folder.is_dir() else folder.parent
    name = "audit" if folder.is_dir() else f"audit.{folder.stem}"
    policy = PixelPolicy(max_image_tokens or image_budget(recipe))
    with progress("audit", _images(place)) as advance:
        result = look_at(folder, policy, against or [], advance)
    if resplit:
        result["resplit"] = _resplit(folder, resplit)
    write_json(place / f"{name}.json", result)
    write_text(place / f"{name}.html", audit_page(result, place))
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        _print_audit(result, place / f"{name}.html")
    if result["verdict"] == "fail":
        raise typer.Exit(1)


def _images(place: Path) -> int:
    return max(1, sum(1 for _ in (place / "images").iterdir())) if (place / "images").is_dir() else 1


def _resplit(folder: Path, by: Literal["image", "patient"]) -> dict[str, Any]:
    from lowmed.data import folder as folders
    from lowmed.data.audit import leaks
    from lowmed.data.audit.resplit import resplit, write
    from lowmed.data.ingest import prepared_folder

    place = folder if folder.is_dir() else folder.parent
    data = folders.load(str(folder), images=False)
    known = leaks.facts([each for _, each in prepared_folder.stored_files(place)])
    splits = resplit(data.splits, known, by)
    path = write(place, splits, by)
    return {"by": by, "file": path.name, "rows": {split: len(samples) for split, samples in splits.items()}}


def _print_audit(result: dict[str, Any], page: Path) -> None:
    for split, part in result["counts"].items():
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in part["kinds"].items())
        size = f"{part['rows']:,} questions on {part['images']:,} images"
        print(f"{split:<11} {size}; {kinds}; yes/no {part['yes_no']:,}")
    for split, rules in result["floor"].items():
        floor = ", ".join(f"{kind} {share:.3f}" for kind, share in rules["question"].items())
        print(f"{'floor':<11} {split}, the most frequent training answer to the same question: {floor}")
    images = result["images"]
    if images["loaded"]:
        tokens = images["tokens"]
        print(
            f"{'images':<11} {images['loaded']:,} of {images['expected']:,} load; {tokens['min']} to "
            f"{tokens['max']:,} tokens in full, {100 * images['over_budget']:.0f} % over {images['budget']}"
        )
    for note in result["review"]:
        print(f"{'look at':<11} {note}")
    for reason in result["reasons"]:
        print(f"{'WRONG':<11} {reason}")
    if "resplit" in result:
        rows = ", ".join(f"{split} {count:,}" for split, count in result["resplit"]["rows"].items())
        print(f"{'resplit':<11} {page.parent / result['resplit']['file']}: {rows}")
    print("training on this would be wrong" if result["reasons"] else "nothing certain speaks against training on this")
    print(f"page        {page}")


def show(
    folder: Folder,
    count: Annotated[int, typer.Option("--count", min=1, help="So many of each split.")] = 12,
    seed: Annotated[int, typer.Option("--seed", help="Which ones; the same seed shows the same.")] = 0,
    split: Annotated[str | None, typer.Option("--split", help="Of this split alone.")] = None,
    prompts: Annotated[str, typer.Option("--prompts", help="Prompt families.")] = "reasoning,diverse,direct",
    recipe: options.Recipe = None,
    max_image_tokens: Budget = None,
    as_json: options.Json = False,
) -> None:
    """Look at samples: image, question, gold, and exactly what the model is asked, with its tokens.

    \b
    lowmed data show data/vqa-rad
    lowmed data show data/vqa-rad --split test --count 3 --prompts direct
    """
    from lowmed.data import folder as folders
    from lowmed.data.image.policy import PixelPolicy
    from lowmed.files import write_text
    from lowmed.report.data_page import show_page
    from lowmed.report.data_sheet import rows, terminal

    place = folder if folder.is_dir() else folder.parent
    data = folders.load(str(folder), images=False)
    policy = PixelPolicy(max_image_tokens or image_budget(recipe))
    shown = rows(data, policy, [name.strip() for name in prompts.split(",")], count=count, seed=seed, split=split)
    page = place / "show.html"
    write_text(page, show_page(f"{len(shown)} samples of {folder.name}", shown, place))
    if as_json:
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    for row in shown:
        print(terminal(row))
    print(f"page  {page}")


def image_budget(recipe: str | None) -> int:
    """The most tokens of an image: the recipe's, else the default of all recipes."""
    from lowmed.recipe import ModelSpec
    from lowmed.recipe.io import load_recipe

    return (load_recipe(recipe, []).model if recipe else ModelSpec()).max_image_tokens
