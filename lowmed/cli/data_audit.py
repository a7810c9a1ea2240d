"""`lowmed data audit` and `lowmed data show`: problems of a data set, and its samples."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lowmed.cli import options
from lowmed.cli.progress import progress

if TYPE_CHECKING:
    from lowmed.data.audit.record import AuditRecord
    from lowmed.prompt import Family

FAMILIES = "reasoning,diverse,direct"
FAMILIES_OF_KIND = {"boxes": "boxes", "report": "report", "json": "extract-json"}
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder of `lowmed data prepare`, or with samples.jsonl.")
]
Budget = Annotated[
    int | None,
    typer.Option("--max-image-tokens", min=4, help="Maximum tokens of an image; default: the recipe's, else 256."),
]


def audit(
    folder: Folder,
    against: Annotated[
        list[Path] | None,
        typer.Option("--against", metavar="DIR", help="Another data set to compare with; may be repeated."),
    ] = None,
    recipe: options.Recipe = None,
    max_image_tokens: Budget = None,
    resplit: Annotated[
        Literal["image", "patient"] | None,
        typer.Option("--resplit", help="Also write a split without leaks by image or patient."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Find leaks, broken images and unreadable answers.

    Exit code 1 if a finding makes training on the data wrong.

    \b
    lowmed data audit data/vqa-rad
    lowmed data audit data/mine --against data/vqa-rad --against data/slake
    lowmed data audit data/vqa-rad --resplit image
    lowmed data audit data/mine --recipe rarl
    lowmed grpo -r rl-plain data.source=folder data.path=data/vqa-rad/samples.by-image.jsonl data.split_by=official
    """
    from lowmed.api import audit as api
    from lowmed.recipe.io import load_recipe

    record = api.audit(
        folder,
        against=against or [],
        max_image_tokens=max_image_tokens or image_budget(recipe),
        resplit=resplit,
        recipe=load_recipe(recipe) if recipe else None,
        progress=progress,
    )
    if as_json:
        print(record.model_dump_json(indent=2))
    else:
        for number, other in enumerate(against or [], start=1):
            print(f"other data {number}: {other}")
        _print_audit(record, api.audit_file(folder).with_suffix(".html"))
    if record.verdict == "fail":
        raise typer.Exit(1)


def _print_audit(record: "AuditRecord", page: Path) -> None:
    for split, part in record.counts.items():
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in part.kinds.items())
        size = f"{part.rows:,} questions on {part.images:,} images"
        print(f"{split:<11} {size}; {kinds}; yes/no {part.yes_no:,}")
    for split, rules in record.baselines.items():
        shares = ", ".join(f"{kind} {share:.3f}" for kind, share in rules["question"].items())
        print(f"{'baseline':<11} {split}, the most frequent training answer to the same question: {shares}")
    images = record.images
    if images.tokens:
        print(
            f"{'images':<11} {images.loaded:,} of {images.expected:,} load; {images.tokens.min:g} to "
            f"{images.tokens.max:,g} tokens at full size, {100 * images.over_budget:.0f} % over {images.budget}"
        )
    if record.masked:
        print(f"{'masked':<11} text in {record.masked.images:,} of {record.masked.of:,} images")
    for note in record.review:
        print(f"{'look at':<11} {note}")
    for reason in record.reasons:
        print(f"{'WRONG':<11} {reason}")
    if record.resplit:
        rows = ", ".join(f"{split} {count:,}" for split, count in record.resplit.rows.items())
        print(f"{'resplit':<11} {page.parent / record.resplit.file}: {rows}")
    print("training on these data would be wrong" if record.reasons else "no blocking problems found")
    if any(leak.trained for leak in record.leaks):
        print(f"{'':<11} with their own split; data.split_by=image makes another one, which `lowmed check` tests")
    print(f"page        {page}")


def show(
    folder: Folder,
    questions: Annotated[int, typer.Option("--questions", min=1, help="Number of questions per split.")] = 12,
    seed: Annotated[int, typer.Option("--seed", help="Selects the questions.")] = 0,
    split: Annotated[str | None, typer.Option("--split", help="Only this split.")] = None,
    prompts: Annotated[
        str | None,
        typer.Option("--prompts", help="Prompt families; default: the recipe's, else usual ones for the kinds."),
    ] = None,
    recipe: options.Recipe = None,
    max_image_tokens: Budget = None,
    as_json: options.Json = False,
) -> None:
    """Show samples with their prompts and tokens.

    \b
    lowmed data show data/vqa-rad
    lowmed data show data/vqa-rad --split test --questions 3 --prompts direct
    """
    from lowmed.data import folder as data_folder
    from lowmed.data.image.policy import PixelPolicy
    from lowmed.files import require_own, write_text
    from lowmed.report.data_page import show_page
    from lowmed.report.data_sheet import rows, terminal

    root = folder if folder.is_dir() else folder.parent
    page = root / "show.html"
    require_own(page, " samples</title>")
    data = data_folder.load(str(folder), images=False)
    policy = PixelPolicy(max_image_tokens or image_budget(recipe))
    families = prompt_families(prompts, recipe, sorted({sample.kind for sample in data.samples}))
    shown = rows(data, policy, families, questions=questions, seed=seed, split=split, model=base_model(recipe))
    write_text(page, show_page(f"{len(shown)} samples", shown, root))
    if as_json:
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    for row in shown:
        print(terminal(row))
    print(f"page  {page}")


def prompt_families(names: str | None, recipe: str | None, kinds: Iterable[str]) -> "list[Family]":
    """The named prompt families, else those of the recipe, else the usual ones for these kinds of questions.

    Raises:
        RecipeError: there is no such prompt family.
    """
    from lowmed import prompt
    from lowmed.recipe.io import load_recipe

    if names is None and recipe:
        prompts = load_recipe(recipe, []).prompts
        return list(dict.fromkeys([prompts.training, prompts.asking]))
    usual = ",".join(dict.fromkeys(FAMILIES_OF_KIND.get(kind, FAMILIES) for kind in kinds))
    return [prompt.family(name.strip()) for name in (names or usual).split(",")]


def base_model(recipe: str | None) -> str:
    """`model.name` of the recipe, else that of all recipes."""
    from lowmed.recipe import ModelSpec
    from lowmed.recipe.io import load_recipe

    return (load_recipe(recipe, []).model if recipe else ModelSpec()).name


def image_budget(recipe: str | None) -> int:
    """`max_image_tokens` of the recipe, else the default of all recipes."""
    from lowmed.recipe import ModelSpec
    from lowmed.recipe.io import load_recipe

    return (load_recipe(recipe, []).model if recipe else ModelSpec()).max_image_tokens
