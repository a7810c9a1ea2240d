"""`lowmed export`: a run in the form that somebody else's program takes."""

import json
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lowmed.cli import options
from lowmed.cli.merge import MEASURED_ON, Base, On, PathTo, Reference, Samples, plan, show
from lowmed.cli.progress import info, progress


class Form(StrEnum):
    """What a run can be exported to."""

    merged = "merged"
    gguf = "gguf"
    ollama = "ollama"
    vllm = "vllm"
    hub = "hub"


Target = Annotated[str, typer.Argument(metavar="RUN|MERGED", help="A finished run, or a folder that was exported.")]
To = Annotated[Form, typer.Option("--to", help="The form.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to make.")]
Repository = Annotated[str | None, typer.Option("--repo", help="hub: OWNER/NAME.")]
Yes = Annotated[bool, typer.Option("--yes", help="hub: upload; without it nothing leaves this machine.")]
Public = Annotated[bool, typer.Option("--public", help="hub: for everybody to see; default is private.")]
Reviewed = Annotated[list[str] | None, typer.Option("--reviewed", help="hub: a file that you have looked through.")]


def export(
    target: Target,
    to: To,
    out: Out = None,
    reference: Reference = None,
    samples: Samples = MEASURED_ON,
    on: On = None,
    path: PathTo = None,
    base: Base = None,
    repo: Repository = None,
    yes: Yes = False,
    public: Public = False,
    reviewed: Reviewed = None,
    as_json: options.Json = False,
) -> None:
    """Export a run: merged weights, GGUF for llama.cpp, Ollama, vLLM, or the Hugging Face hub.

    \b
    lowmed export runs/20260101-rarl --to vllm --out served        merged folder, adapter, both serve commands
    lowmed export runs/20260101-rarl --to gguf --out gguf          language model and projector
    lowmed export rarl-merged --to ollama --out ollama             from a folder that is merged already
    lowmed export runs/20260101-rarl --to hub --repo me/rarl --out upload          shows what would be uploaded
    lowmed export upload --to hub --repo me/rarl --yes             uploads it, private

    What is merged is measured against the adapter first: exit 1 and the reason where they disagree.
    """
    from lowmed.engine import device
    from lowmed.errors import RecipeError
    from lowmed.files import read_json

    device.silence_libraries()
    from lowmed.ship import export as exporting
    from lowmed.ship import merge_job

    ready = exporting.is_exported(Path(target))
    if to is Form.hub and repo is None:
        raise RecipeError("no repository", "--repo", "name it: --repo OWNER/NAME")
    if ready and to in (Form.merged, Form.vllm):
        raise RecipeError("the folder is exported already", target, f"name the run, to make the form `{to}`")
    if out is None and not (ready and to is Form.hub):
        raise RecipeError("no folder to export to", "--out", "name one that does not exist yet: --out DIR")
    result: dict[str, Any] = {"passed": True, "checks": [], "out": target}
    asked = None
    if not ready:
        assert out is not None
        inner = out.with_name(f".{out.name}.merged") if to in (Form.gguf, Form.ollama) else out
        if out.exists():
            raise RecipeError("the folder exists", str(out), "choose another --out, or remove it")
        if inner != out:
            shutil.rmtree(inner, ignore_errors=True)  # of an export that was killed behind its merge
        job = plan(target, inner, reference=reference, samples=samples, on=on, path=path, base=base)
        asked = job.asked
        with progress("export", len({place.file for place in job.work.base.values()})) as advance:
            if to is Form.hub:
                result = exporting.adapter_form(job)
            else:
                result = (exporting.for_vllm if to is Form.vllm else merge_job.run_merge)(job, advance)
    folder = Path(result["out"])
    if result["passed"] and to in (Form.gguf, Form.ollama):
        assert out is not None
        files = exporting.for_llama_cpp(folder, out, asked, modelfile=to is Form.ollama)
        if not ready:
            shutil.rmtree(folder)
        result |= {"out": str(out), "files": files}
        if exporting.AGREEMENT in files:
            told = read_json(out / exporting.AGREEMENT)
            info(f"llama.cpp replied the same to {told['same_replies']} of {told['questions']} questions")
    if not as_json:
        show(result)
    if not result["passed"]:
        if as_json:
            print(json.dumps(result, indent=2))
        raise typer.Exit(1)
    if to is Form.hub:
        result |= _hub(folder, str(repo), yes=yes, public=public, reviewed=reviewed or [])
    if as_json:
        print(json.dumps(result, indent=2))
    elif to is Form.vllm:
        for file in ("serve.sh", "serve-adapter.sh"):
            print(f"\n# {folder / file}\n{(folder / file).read_text().partition('exit 1')[2].strip()}")


def _hub(folder: Path, repo: str, *, yes: bool, public: bool, reviewed: list[str]) -> dict[str, Any]:
    from lowmed.ship import hub

    files = hub.listing(folder)
    for name, size in files:
        info(f"{size:>14,} bytes  {name}")
    total = sum(size for _, size in files)
    info(f"{total:>14,} bytes in {len(files)} files, to {repo}, {'PUBLIC' if public else 'private'}")
    hub.check(folder, reviewed)
    address = hub.upload(folder, repo, public=public) if yes else None
    if address:
        info(f"uploaded  {address}")
    else:
        info(f"nothing was uploaded; to do it: lowmed export {folder} --to hub --repo {repo} --yes")
    return {"files": dict(files), "repository": repo, "private": not public, "uploaded": address}
