"""`lowmed study`: parse options, run or verify a study, print its table."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowmed.api.study import Submit, run_study, verify_study
from lowmed.cli import options
from lowmed.cli.progress import info, progress

if TYPE_CHECKING:
    from lowmed.api.study import StudyReport
    from lowmed.study.records import StudyCheck

File = Annotated[Path | None, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the study: runs, evaluations, table.")]
Only = Annotated[str | None, typer.Option("--only", help="Run one arm and seed, ARM-seedN.")]
SubmitTo = Annotated[
    Submit | None,
    typer.Option("--submit", help="Submit one job an arm and seed; `skypilot` writes task files and starts nothing."),
]
Verify = Annotated[
    Path | None, typer.Option("--verify", metavar="FOLDER", help="Derive the table again from stored completions.")
]
Rerun = Annotated[str | None, typer.Option("--rerun", help="With --verify: train and evaluate ARM-seedN again.")]


def study(
    file: File = None,
    out: Out = None,
    only: Only = None,
    submit: SubmitTo = None,
    verify: Verify = None,
    rerun: Rerun = None,
    as_json: options.Json = False,
) -> None:
    """Train recipes with several seeds, and test their differences.

    \b
    lowmed study benchmarks/studies/nano.yaml --out studies/nano      no GPU, no download, minutes
    lowmed study my-study.yaml --out studies/mine                     start it, or continue it after a stop
    lowmed study my-study.yaml --out studies/mine --only rarl-seed0   one arm and seed
    lowmed study my-study.yaml --out studies/mine --submit slurm      one job an arm and seed
    lowmed study --verify studies/mine                                is the table that of the stored completions?
    lowmed study --verify studies/mine --rerun rarl-seed0             train one run again and compare

    Writes study.json, study.html and table.tex. Ctrl-C stops after the present step with a checkpoint. Exit 1: a run
    failed or is missing, or the verification has a problem.
    """
    if verify is not None:
        _refuse({"STUDY.yaml": file, "--out": out, "--only": only, "--submit": submit}, "--verify")
        check = verify_study(verify, rerun=rerun, log=info)
        print(json.dumps(check.as_json(), indent=2)) if as_json else _print_check(check)
        raise typer.Exit(1 if check.problems or (check.rerun and not _is_equal(check)) else 0)
    _refuse({"--rerun": rerun}, "a study that is run")
    if file is None or out is None:
        from lowmed.errors import RecipeError

        missing = "STUDY.yaml" if file is None else "--out"
        raise RecipeError(f"{missing} is missing", missing, "lowmed study STUDY.yaml --out FOLDER")
    _refuse({"--only": only} if submit else {}, "--submit")
    report = run_study(file, out, only=only, submit=submit, progress=progress, log=info)
    if as_json:
        print(json.dumps(report.record.as_json() if report.record else {}, indent=2))
    else:
        _print(report)
    if report.stopped:
        info(f"stopped; nothing is lost. next    lowmed study {file} --out {out}")
        raise typer.Exit(130)
    failed = [one for one in report.outcomes if one.status != "finished"]
    for one in failed:
        info(f"{one.status:<8}{one.job.name}: {one.error}")
    if failed:
        raise typer.Exit(1)


def _refuse(given: dict[str, object], other: str) -> None:
    from lowmed.errors import RecipeError

    for name, value in given.items():
        if value is not None:
            raise RecipeError(f"{name} does not go with {other}", name, f"leave {name} or {other} out")


def _print(report: "StudyReport") -> None:
    if report.submitted:
        info("\n".join(("submitted", *report.submitted)))
        info("next    the same command without --submit makes the table, and runs what is missing")
    if report.record:
        from lowmed.report import study_table
        from lowmed.study.folder import PAGE, RESULTS, TABLE

        study_table.show(report.record)
        info(f"results {report.folder / RESULTS}, {report.folder / PAGE}, {report.folder / TABLE}")


def _is_equal(check: "StudyCheck") -> bool:
    return check.rerun is not None and all(one.equal == one.questions for one in check.rerun.agreements)


def _print_check(check: "StudyCheck") -> None:
    print(f"digest of all inputs  {check.digest}")
    print(f"derived again from    {check.completions:,} stored completions")
    for line in check.problems:
        print(f"PROBLEM  {line}")
    if not check.problems:
        print("study.json, the page and the table agree with the stored completions")
    if check.rerun:
        print(f"trained again  {check.rerun.run}")
        print(f"adapter        {'equal to the bit' if check.rerun.same_adapter else 'DIFFERENT'}")
        for line in check.rerun.differs:
            print(f"differs        {line}")
        for one in check.rerun.agreements:
            print(
                f"{one.file}: {one.equal} of {one.questions} completions equal, {one.same_grade} with the same grade; "
                f"accuracy stored {one.stored:.3f}, now {one.repeated:.3f}"
            )
