"""`lowmed data`: sources, prepare, audit, show."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lowmed.cli import data_audit, options
from lowmed.cli.data_audit import Budget, budget
from lowmed.cli.progress import info, progress

if TYPE_CHECKING:
    from lowmed.data.ingest.detect import ImportOptions, RowStream
    from lowmed.data.ingest.prepare import PrepareCounts

app = typer.Typer(
    help="Data sets: `sources` that are known, `prepare` into one folder, `audit` before training, `show` samples.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("audit")(data_audit.audit)
app.command("show")(data_audit.show)


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
    """Turn any data set into one folder that every recipe accepts: images resized once, metadata gone.

    \b
    lowmed data prepare vqa-rad --path ~/vqa-rad --out data/vqa-rad
    lowmed data prepare medmnist --path breastmnist.npz --out data/breast
    lowmed data prepare questions.xlsx --map question=Frage,image=Datei --out data/mine
    lowmed data prepare ct-slices/ --as dicom --window lung --out data/ct
    lowmed grpo --recipe rarl data.source=folder data.path=data/mine
    """
    from lowmed.data.image.policy import PixelPolicy
    from lowmed.data.ingest import image_store, pseudonyms
    from lowmed.data.ingest.detect import ImportOptions
    from lowmed.data.ingest.prepare import prepare as build

    wish = ImportOptions(_mapping(mapping), images, language, question, form)
    opened, about = _open(source, path, wish)
    info(opened.understood)
    if "columns" in opened.understood and "?" in opened.understood:
        info("         ? is a guess; put it right with --map, e.g. --map question=Frage")
    settings = image_store.ImageStoreSettings(
        PixelPolicy(max_image_tokens or budget(recipe)), frames, window, pseudonyms.read_salt()
    )
    with progress("prepare", max(opened.count, 1)) as advance:
        tally = build(
            opened.entries, out, settings, about, images=not text_only, max_rejected=max_rejected, advance=advance
        )
    result = {
        "folder": str(out),
        "rows": dict(tally.splits),
        "kinds": dict(tally.kinds),
        "rejected": {
            reason: {"rows": count, "first": tally.first[reason]} for reason, count in tally.reasons.most_common()
        },
    }
    print(json.dumps(result, indent=2, ensure_ascii=False)) if as_json else _print_prepared(out, tally)


def _print_prepared(out: Path, tally: "PrepareCounts") -> None:
    print(f"{out}: {tally.rows:,} rows")
    print(f"  splits    {', '.join(f'{name} {count:,}' for name, count in sorted(tally.splits.items()))}")
    print(f"  kinds     {', '.join(f'{name} {count:,}' for name, count in sorted(tally.kinds.items()))}")
    print(f"  rejected  {tally.reasons.total():,} rows ({100 * tally.rejected_share:.1f} %), each in rejected.jsonl")
    for reason, count in tally.reasons.most_common():
        print(f"    {count:,} x {reason} (first: {tally.first[reason]})")
    print(f"next: lowmed data audit {out}")


def _open(source: str, path: str | None, wish: "ImportOptions") -> tuple["RowStream", dict[str, Any]]:
    """The rows of whatever SOURCE names, and what the card says of it."""
    import difflib
    import re

    from lowmed.data.ingest import hub
    from lowmed.data.ingest.detect import open_source
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
