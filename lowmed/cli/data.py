"""`lowmed data`: sources, prepare, audit, show."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lowmed.cli import options
from lowmed.cli.progress import progress, say

if TYPE_CHECKING:
    from lowmed.data.own import Opened, Wish
    from lowmed.data.prepare import Tally

app = typer.Typer(
    help="Data sets: `sources` that are known, `prepare` into one folder, `audit` before training, `show` samples.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder of `lowmed data prepare`, or with samples.jsonl.")
]
Budget = Annotated[
    int | None, typer.Option("--max-image-tokens", min=4, help="Budget of an image; default: the recipe's, else 256.")
]


@app.command()
def sources(as_json: options.Json = False) -> None:
    """List the known data sets: size, kinds, licence, what to download, and whether this machine has them.

    \b
    lowmed data sources
    lowmed data sources --json
    """
    from lowmed.data.sources import KNOWN

    shown = ("about", "size", "kinds", "licence", "terms", "citation", "url", "hub_id", "get", "here")
    rows = {name: {key: getattr(source, key) for key in shown} for name, source in KNOWN.items()}
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for name, row in rows.items():
        print(f"{name}: {row['about']}")
        print(f"  size     {row['size']}; {row['kinds']}")
        print(f"  licence  {row['licence']}{'; accept first: ' + row['terms'] if row['terms'] else ''}")
        print(f"  cite     {row['citation']}")
        print(f"  get      {row['get']}{'  ' + row['url'] if row['url'] else ''}")
        print(f"  here     {row['here']}{', hub id ' + row['hub_id'] if row['hub_id'] else ''}\n")
    print("Your own: a .csv, .tsv, .xlsx, .jsonl, .json or .parquet file, class folders, DICOM files, or a hub id.")


@app.command()
def prepare(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A known source, a table, a folder, or a hub id.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to build.")],
    path: Annotated[str | None, typer.Option("--path", help="Local copy of a known source.")] = None,
    mapping: Annotated[
        str | None, typer.Option("--map", metavar="OURS=THEIRS,...", help="Columns, e.g. question=Frage,image=Datei")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder or zip of a table's pictures; default: the table's folder.")
    ] = None,
    form: Annotated[
        Literal["table", "classes", "dicom"] | None, typer.Option("--as", help="What a folder is, if guessed wrongly.")
    ] = None,
    question: Annotated[str | None, typer.Option("--question", help="What to ask of class folders.")] = None,
    language: Annotated[Literal["en", "zh", "both"], typer.Option("--language", help="For slake.")] = "en",
    recipe: options.Recipe = None,
    max_image_tokens: Budget = None,
    frames: Annotated[
        Literal["first", "middle", "all"], typer.Option("--frames", help="Of files that hold several pictures.")
    ] = "first",
    window: Annotated[
        Literal["lung", "bone", "soft", "brain", "liver"] | None,
        typer.Option("--window", help="For CT in DICOM files; default: the file's own."),
    ] = None,
    text_only: Annotated[bool, typer.Option("--text-only", help="Without pictures: to audit, not to train.")] = False,
    max_rejected: Annotated[float, typer.Option("--max-rejected", min=0, max=1, help="Share of rows, 0 to 1.")] = 0.05,
    as_json: options.Json = False,
) -> None:
    """Turn any data set into one folder that every recipe accepts: pictures resized once, metadata gone.

    \b
    lowmed data prepare vqa-rad --path ~/vqa-rad --out data/vqa-rad
    lowmed data prepare medmnist --path breastmnist.npz --out data/breast
    lowmed data prepare questions.xlsx --map question=Frage,image=Datei --out data/mine
    lowmed data prepare ct-slices/ --as dicom --window lung --out data/ct
    lowmed grpo --recipe rarl data.source=folder data.path=data/mine
    """
    from lowmed.data import salt, store
    from lowmed.data.images import Policy
    from lowmed.data.own import Wish
    from lowmed.data.prepare import prepare as build

    wish = Wish(_mapping(mapping), images, language, question, form)
    opened, about = _open(source, path, wish)
    say(opened.understood)
    if "columns" in opened.understood and "?" in opened.understood:
        say("         ? is a guess; put it right with --map, e.g. --map question=Frage")
    settings = store.Settings(Policy(max_image_tokens or _budget(recipe)), frames, window, salt.read())
    with progress("prepare", max(opened.count, 1)) as advance:
        tally = build(
            opened.entries, out, settings, about, pictures=not text_only, max_rejected=max_rejected, advance=advance
        )
    found = {
        "folder": str(out),
        "rows": dict(tally.splits),
        "kinds": dict(tally.kinds),
        "rejected": {
            reason: {"rows": count, "first": tally.first[reason]} for reason, count in tally.reasons.most_common()
        },
    }
    print(json.dumps(found, indent=2, ensure_ascii=False)) if as_json else _print_prepared(out, tally)


def _print_prepared(out: Path, tally: "Tally") -> None:
    print(f"{out}: {tally.rows:,} rows")
    print(f"  splits    {', '.join(f'{name} {count:,}' for name, count in sorted(tally.splits.items()))}")
    print(f"  kinds     {', '.join(f'{name} {count:,}' for name, count in sorted(tally.kinds.items()))}")
    print(f"  rejected  {tally.reasons.total():,} rows ({100 * tally.rejected_share:.1f} %), each in rejected.jsonl")
    for reason, count in tally.reasons.most_common():
        print(f"    {count:,} x {reason} (first: {tally.first[reason]})")
    print(f"next: lowmed data audit {out}")


def _open(source: str, path: str | None, wish: "Wish") -> tuple["Opened", dict[str, Any]]:
    """The rows of whatever SOURCE names, and what the card says of it."""
    import difflib
    import re

    from lowmed.data import hub
    from lowmed.data.own import open_source
    from lowmed.data.sources import KNOWN
    from lowmed.errors import RecipeError

    if source in KNOWN:
        known = KNOWN[source]
        about = {"source": source, "licence": known.licence, "citation": known.citation, "url": known.url}
        return known.rows(path, wish), about
    if path is not None:
        raise RecipeError(
            f"`{source}` is no known source, and --path goes with one", "--path", "name the table or folder as SOURCE"
        )
    place = Path(source).expanduser()
    if place.exists() or place.suffix.lower() in (".csv", ".tsv", ".xlsx", ".json", ".jsonl", ".parquet"):
        return open_source(place, wish), {"source": "own"}
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        return hub.rows(source, source, wish, "or download it and name its folder"), {"source": source}
    close = difflib.get_close_matches(source, KNOWN, n=1)
    meant = f"; did you mean `{close[0]}`?" if close else ""
    raise RecipeError(
        f"`{source}` is no known source, file, folder or hub id{meant}", "SOURCE", "`lowmed data sources` lists them"
    )


def _mapping(told: str | None) -> dict[str, str]:
    from lowmed.errors import RecipeError

    pairs = [pair.partition("=") for pair in (told or "").split(",") if pair.strip()]
    if any(not equals for _, equals, _ in pairs):
        raise RecipeError(f"`{told}` is not of the form ours=theirs", "--map", "e.g. --map question=Frage,image=Datei")
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


def _budget(recipe: str | None) -> int:
    from lowmed import recipe_file
    from lowmed.recipe import Model

    return (recipe_file.load(recipe, []).model if recipe else Model()).max_image_tokens


@app.command()
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
    from lowmed.data.images import Policy
    from lowmed.report.audit import audit as look_at
    from lowmed.report.data_page import audit_page
    from lowmed.run import write_json, write_text

    place = folder if folder.is_dir() else folder.parent
    name = "audit" if folder.is_dir() else f"audit.{folder.stem}"
    policy = Policy(max_image_tokens or _budget(recipe))
    with progress("audit", _images(place)) as advance:
        found = look_at(folder, policy, against or [], advance)
    if resplit:
        found["resplit"] = _resplit(folder, resplit)
    write_json(place / f"{name}.json", found)
    write_text(place / f"{name}.html", audit_page(found, place))
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print_audit(found, place / f"{name}.html")
    if found["verdict"] == "fail":
        raise typer.Exit(1)


def _images(place: Path) -> int:
    return max(1, sum(1 for _ in (place / "images").iterdir())) if (place / "images").is_dir() else 1


def _resplit(folder: Path, by: Literal["image", "patient"]) -> dict[str, Any]:
    from lowmed.data import folder as folders
    from lowmed.data import leaks, prepared
    from lowmed.data.resplit import resplit, write

    place = folder if folder.is_dir() else folder.parent
    data = folders.load(str(folder), pictures=False)
    known = leaks.facts([each for _, each in prepared.files(place)])
    splits = resplit(data.splits, known, by)
    path = write(place, splits, by)
    return {"by": by, "file": path.name, "rows": {split: len(samples) for split, samples in splits.items()}}


def _print_audit(found: dict[str, Any], page: Path) -> None:
    for split, part in found["counts"].items():
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in part["kinds"].items())
        size = f"{part['rows']:,} questions on {part['images']:,} images"
        print(f"{split:<11} {size}; {kinds}; yes/no {part['yes_no']:,}")
    for split, rules in found["floor"].items():
        floor = ", ".join(f"{kind} {share:.3f}" for kind, share in rules["question"].items())
        print(f"{'floor':<11} {split}, the most frequent training answer to the same question: {floor}")
    pictures = found["images"]
    if pictures["loaded"]:
        tokens = pictures["tokens"]
        print(
            f"{'images':<11} {pictures['loaded']:,} of {pictures['expected']:,} load; {tokens['min']} to "
            f"{tokens['max']:,} tokens in full, {100 * pictures['over_budget']:.0f} % over {pictures['budget']}"
        )
    for note in found["review"]:
        print(f"{'look at':<11} {note}")
    for reason in found["reasons"]:
        print(f"{'WRONG':<11} {reason}")
    if "resplit" in found:
        rows = ", ".join(f"{split} {count:,}" for split, count in found["resplit"]["rows"].items())
        print(f"{'resplit':<11} {page.parent / found['resplit']['file']}: {rows}")
    print("training on this would be wrong" if found["reasons"] else "nothing certain speaks against training on this")
    print(f"page        {page}")


@app.command()
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
    from lowmed.data.images import Policy
    from lowmed.report.data_page import show_page
    from lowmed.report.data_sheet import rows, terminal
    from lowmed.run import write_text

    place = folder if folder.is_dir() else folder.parent
    data = folders.load(str(folder), pictures=False)
    policy = Policy(max_image_tokens or _budget(recipe))
    shown = rows(data, policy, [name.strip() for name in prompts.split(",")], count=count, seed=seed, split=split)
    page = place / "show.html"
    write_text(page, show_page(f"{len(shown)} samples of {folder.name}", shown, place))
    if as_json:
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    for row in shown:
        print(terminal(row))
    print(f"page  {page}")
