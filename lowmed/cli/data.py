"""`lowmed data`: sources, prepare, audit, show, pairs, distil."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lowmed.cli import data_audit, data_distil, data_pairs, options
from lowmed.cli.data_audit import Budget, image_budget
from lowmed.cli.progress import info, progress

if TYPE_CHECKING:
    from lowmed.api.prepare import PrepareReport
    from lowmed.data.ingest.dicom_join import JoinOptions
    from lowmed.data.ingest.label_columns import LabelColumns

app = typer.Typer(
    help="List, prepare, audit and distil data sets; make pairs and labels.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("audit")(data_audit.audit)
app.command("show")(data_audit.show)
app.command("pairs")(data_pairs.pairs)
app.command("distil")(data_distil.distil)


@app.command()
def sources(as_json: options.Json = False) -> None:
    """List the known data sets: size, kinds, license, files.

    \b
    lowmed data sources
    lowmed data sources --json
    """
    from lowmed.data.sources import KNOWN

    fields = ("about", "size", "kinds", "license", "terms", "citation", "url", "hub_id", "files", "available")
    rows = {name: {field: getattr(source, field) for field in fields} for name, source in KNOWN.items()}
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for name, row in rows.items():
        print(f"{name}: {row['about']}")
        print(f"  size     {row['size']}; {row['kinds']}")
        print(f"  license  {row['license']}{'; accept first: ' + row['terms'] if row['terms'] else ''}")
        print(f"  cite     {row['citation']}")
        print(f"  files    {row['files']}{'  ' + row['url'] if row['url'] else ''}")
        print(f"  local    {row['available']}{', hub id ' + row['hub_id'] if row['hub_id'] else ''}\n")
    print("Train on one by name: data.source=NAME data.path=FOLDER")
    print("Your own: a .csv, .tsv, .xlsx, .jsonl, .json, .parquet or .arrow file, a .zip with one,")
    print("class folders, DICOM files, or a hub id.")


@app.command()
def prepare(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A known source, a table, a folder, or a hub id.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to build.")],
    path: Annotated[str | None, typer.Option("--path", help="Local copy of a known source.")] = None,
    mapping: Annotated[
        str | None,
        typer.Option("--map", metavar="FIELD=COLUMN,...", help="Columns of the table, e.g. question=Frage,image=Datei"),
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder or zip of a table's images; default: the table's folder.")
    ] = None,
    source_format: Annotated[
        Literal["table", "classes", "dicom"] | None,
        typer.Option("--as", help="Format of a folder, if it is not recognized."),
    ] = None,
    question: Annotated[
        str | None, typer.Option("--question", help="The question for class folders, a join, or --labels.")
    ] = None,
    language: Annotated[
        Literal["en", "zh", "both"], typer.Option("--language", help="Language of the questions, for slake.")
    ] = "en",
    recipe: options.Recipe = None,
    max_image_tokens: Budget = None,
    join: Annotated[
        Path | None,
        typer.Option("--join", metavar="TABLE", help="Table whose rows name the DICOM studies in the folder SOURCE."),
    ] = None,
    join_on: Annotated[
        str | None,
        typer.Option("--join-on", metavar="COLUMN=TAG", help="Key of the join, e.g. Fall=AccessionNumber."),
    ] = None,
    modality: Annotated[
        str | None, typer.Option("--modality", help="In a join, use series of this modality only, e.g. CT, X-ray.")
    ] = None,
    series: Annotated[
        str | None,
        typer.Option("--series", metavar="TEXT", help="In a join, use series with this text in their description."),
    ] = None,
    frames: Annotated[
        Literal["first", "middle", "all", "montage"] | None,
        typer.Option(
            "--frames", help="Images of a file or DICOM series with several; spaced: up to 4; montage: up to 16 as one."
        ),
    ] = None,
    plane: Annotated[
        Literal["axial", "coronal", "sagittal"], typer.Option("--plane", help="Plane of the slices of NIfTI volumes.")
    ] = "axial",
    window: Annotated[
        Literal["lung", "bone", "soft", "brain", "liver"] | None,
        typer.Option("--window", help="Window of CT in DICOM and NIfTI files; default: the file's own."),
    ] = None,
    mask_text: Annotated[
        bool, typer.Option("--mask-text", help="Cover text in the images, side markers too; needs lowmed[mask].")
    ] = False,
    image_optional: Annotated[
        bool, typer.Option("--image-optional", help="Keep rows without an image as questions about text.")
    ] = False,
    turns: Annotated[
        Literal["all", "last"],
        typer.Option("--turns", help="Turns of a conversation that become questions; earlier turns are their history."),
    ] = "all",
    encoding: Annotated[
        str | None,
        typer.Option("--encoding", help="Encoding of a text table that is not UTF-8, e.g. windows-1252 or gb18030."),
    ] = None,
    boxes: Annotated[
        Literal["pixels", "relative", "thousandths"] | None,
        typer.Option("--boxes", help="Unit of boxes in the answers; those in pixels are scaled with their image."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", metavar="COLUMN+...", help="Columns of findings (1, 0, -1): yes/no questions."),
    ] = None,
    uncertain: Annotated[
        Literal["skip", "yes", "no"], typer.Option("--uncertain", help="Answer for a label of -1; skip: no question.")
    ] = "skip",
    empty: Annotated[
        Literal["skip", "no"], typer.Option("--empty", help="Answer for an empty label; skip: no question.")
    ] = "skip",
    group_pattern: Annotated[
        str | None,
        typer.Option("--group-pattern", metavar="REGEX", help="Patient in the path of an image: 'patient[0-9]+'."),
    ] = None,
    text_only: Annotated[
        bool, typer.Option("--text-only", help="Skip the images: such rows can be audited, not trained on.")
    ] = False,
    max_rejected: Annotated[
        float, typer.Option("--max-rejected", min=0, max=1, help="Largest accepted share of rejected rows, 0 to 1.")
    ] = 0.05,
    shard: Annotated[
        str | None, typer.Option("--shard", metavar="I/N", help="Store part I of N of the images; merge them later.")
    ] = None,
    merge: Annotated[
        list[Path] | None, typer.Option("--merge", metavar="SHARD", help="A folder of --shard; name all N of them.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Import a data set into a folder that recipes accept.

    Images are resized once and their metadata is removed.

    \b
    lowmed data prepare vqa-rad --path ~/vqa-rad --out data/vqa-rad
    lowmed data prepare medmnist --path breastmnist.npz --out data/breast
    lowmed data prepare questions.xlsx --map question=Frage,image=Datei --out data/mine
    lowmed data prepare conversations.json --turns last --out data/chats
    lowmed data prepare ct-slices/ --as dicom --window lung --out data/ct
    lowmed data prepare studies/ --join reports.xlsx --modality CT --series lung --window lung --out data/ct
    lowmed data prepare table.csv --shard 1/2 --out s1; lowmed data prepare table.csv --shard 2/2 --out s2
    lowmed data prepare table.csv --merge s1 --merge s2 --out data/mine
    lowmed grpo --recipe rl-plain data.source=folder data.path=data/mine
    """
    from lowmed.api import prepare as api
    from lowmed.api import prepare_shard
    from lowmed.data.ingest.detect import ImportOptions

    how: dict[str, Any] = {
        "path": path,
        "options": ImportOptions(
            options.parse_mapping(mapping),
            images,
            language,
            question,
            source_format,
            image_optional,
            turns,
            encoding,
            boxes,
            _label_columns(labels, question, uncertain, empty),
            group_pattern,
        ),
        "max_image_tokens": max_image_tokens or image_budget(recipe),
        "frames": frames,
        "plane": plane,
        "join": _join_options(join, join_on, modality, series),
        "window": window,
        "mask_text": mask_text,
        "progress": progress,
        "log": _log,
    }
    if shard is not None:
        _require_shard_alone(merge, text_only)
        record = prepare_shard.prepare_shard(source, out, shard, **how)
        if as_json:
            print(record.model_dump_json(indent=2))
        else:
            print(f"{out}: shard {record.number}/{record.of}, {record.files:,} image files")
            print(f"next: lowmed data prepare {source} --merge ... with all {record.of} shards and the same options")
        return
    report = api.prepare(source, out, images=not text_only, max_rejected=max_rejected, merge=merge or (), **how)
    if as_json:
        print(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    else:
        _print_prepared(report)


def _require_shard_alone(merge: list[Path] | None, text_only: bool) -> None:
    from lowmed.errors import RecipeError

    if merge or text_only:
        other = "--merge" if merge else "--text-only"
        raise RecipeError(f"--shard stores images, so {other} has no effect", other, f"remove --shard or {other}")


def _join_options(
    table: Path | None, join_on: str | None, modality: str | None, series: str | None
) -> "JoinOptions | None":
    from lowmed.data.ingest.dicom_join import JoinOptions
    from lowmed.data.ingest.dicom_series import SeriesChoice, modality_codes
    from lowmed.errors import RecipeError

    given = {"--join-on": join_on, "--modality": modality, "--series": series}
    if table is None:
        if alone := next((flag for flag, value in given.items() if value is not None), None):
            raise RecipeError(f"{alone} is for a join", alone, "name the table of the studies with --join TABLE")
        return None
    codes = modality_codes(modality) if modality else frozenset()
    return JoinOptions(table, join_on, SeriesChoice(codes, series or ""))


def _label_columns(
    labels: str | None, question: str | None, uncertain: "Literal['skip', 'yes', 'no']", empty: "Literal['skip', 'no']"
) -> "LabelColumns | None":
    from lowmed.data.ingest.label_columns import QUESTION, LabelColumns
    from lowmed.errors import RecipeError

    if labels is None:
        for flag, value in (("--uncertain", uncertain), ("--empty", empty)):
            if value != "skip":
                raise RecipeError(f"{flag} is for columns of findings", flag, "name the columns with --labels")
        return None
    columns = tuple(name.strip() for name in labels.split("+"))
    return LabelColumns(columns, question or QUESTION, uncertain, empty)


def _log(description: str) -> None:
    info(description)
    if "columns" in description and "?" in description:
        info("         ? marks a guess; correct it with --map, e.g. --map question=Frage")


def _print_prepared(report: "PrepareReport") -> None:
    rows = sum(report.rows.values())
    share = 100 * report.rejected_rows / (rows + report.rejected_rows)
    print(f"{report.folder}: {rows:,} rows")
    print(f"  splits    {', '.join(f'{name} {count:,}' for name, count in report.rows.items())}")
    print(f"  kinds     {', '.join(f'{name} {count:,}' for name, count in report.kinds.items())}")
    for note, count in report.notes.items():
        print(f"  changed   {count:,} rows: {note}")
    if report.left_out:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in report.left_out.items())
        print(f"  left out  labels without a question: {counts}")
    print(f"  rejected  {report.rejected_rows:,} rows ({share:.1f} %), each in rejected.jsonl")
    if report.names:
        print(f"  private   {report.names} has file names and whole reasons; {report.folder} has none")
    for reason in report.rejected:
        print(f"    {reason.rows:,} x {reason.reason} (first: {reason.first})")
    for note in report.look_at:
        print(f"  look at   {note}")
    if report.masked is not None:
        print(f"  masked    text in {report.masked:,} image files; some may remain, so look at the page of the audit")
    print(f"next: lowmed data audit {report.folder}")
