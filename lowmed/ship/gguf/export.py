"""Export target `gguf`: GGUF files for llama.cpp.

If llama.cpp is installed, those of a vision-language model are compared with transformers.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lowmed import prompt
from lowmed.data.image.policy import TOKEN_SIDE_PX, PixelPolicy, prepare
from lowmed.errors import RunError
from lowmed.files import disk_errors, write_json
from lowmed.recipe.io import load_recipe
from lowmed.sample import Sample
from lowmed.ship.completions import QuestionSet
from lowmed.ship.export import ExportRequest, export_report
from lowmed.ship.gguf.agreement import PromptInput, compare
from lowmed.ship.gguf.convert import Kind, can_quantize, require_package, write_gguf
from lowmed.ship.gguf.source import gguf_family, require_convertible
from lowmed.ship.merge_job import run_merge
from lowmed.ship.package import EXAMPLE, example
from lowmed.ship.records import PACKAGE, PARITY, ExportReport, read_versioned

AGREEMENT = "llama_cpp.json"  # comparison of llama.cpp, with the files, and transformers, with the merged folder
COPIED = (PACKAGE, "README.md", "LICENSE", "NOTICE", "recipe.yaml", PARITY)

AddFiles = Callable[[Path, Sequence[Path], Path], Any]
CheckBase = Callable[[Path], Any]


def export_gguf(request: ExportRequest) -> ExportReport:
    """Write the language model, and the projector if there is one, as GGUF files.

    Raises:
        LowmedError: the extra `gguf` is missing, the model is not supported, or the merge is not possible.
    """
    report = export_for_llama_cpp(request)
    return replace(report, instructions=_serve_command(Path(report.out))) if report.passed and report.out else report


def export_for_llama_cpp(
    request: ExportRequest, add_files: AddFiles | None = None, check_base: CheckBase | None = None
) -> ExportReport:
    """Merge the run if necessary, and convert the merged folder to GGUF files.

    Args:
        request: the source is a run, or a merged folder.
        add_files: adds files; takes the merged folder, the GGUF files and the folder that holds them.
        check_base: raises a LowmedError before the merge if `add_files` would; takes the folder of the base.

    Raises:
        LowmedError: the extra `gguf` is missing, the model is not supported, or the merge is not possible.
    """
    require_package()  # now, and not after minutes of merging
    out = request.new_folder()
    with _temporary(out, "exporting") as staging:
        if request.is_exported:
            _convert(Path(request.source), staging, None, add_files)
            return export_report(request.target, None, _moved(staging, out))
        with _temporary(out, "merged") as merged:
            job = request.plan_merge(merged)
            require_convertible(job.inputs.folder)
            if check_base:
                check_base(job.inputs.folder)
            with request.progress("merge", job.shards) as advance:
                report = run_merge(job, advance)
            if not report.passed:
                return export_report(request.target, report)
            agreement = _convert(merged, staging, job.questions, add_files)
        _moved(staging, out)  # last, so that a killed export leaves nothing hidden next to its folder
    if agreement:
        request.log(
            f"llama.cpp gave the same completion to {agreement['same_completions']} "
            f"of {agreement['questions']} questions"
        )
    elif job.questions and gguf_family(job.inputs.folder).text_only:
        request.log("llama.cpp was not compared with transformers: lowmed does this for vision-language models only")
    return export_report(request.target, report, out)


@contextmanager
def _temporary(out: Path, what: str) -> Iterator[Path]:
    """The path of a hidden folder next to `out`. It is removed, also that of a killed export."""
    folder = out.with_name(f".{out.name}.{what}")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _moved(staging: Path, out: Path) -> Path:
    with disk_errors(out):
        return staging.replace(out)


def _convert(
    merged: Path, staging: Path, questions: QuestionSet | None, add_files: AddFiles | None
) -> dict[str, Any] | None:
    """Convert a merged folder; compare llama.cpp with transformers if it is installed and there are questions.

    Text-only models are not compared: `lowmed.ship.gguf.llama_cpp` reads prompts through the projector.

    Args:
        merged: the merged folder.
        staging: the folder to create.
        questions: for the comparison, or None.
        add_files: as in `export_for_llama_cpp`.

    Returns:
        The comparison, which is also written to llama_cpp.json; None without one.

    Raises:
        LowmedError: the extra `gguf` is missing, or the model is not supported.
    """
    package = read_versioned(merged / PACKAGE)
    if package["kind"] != "merged":
        raise RunError(
            "only a merged folder can be converted to GGUF", str(merged), "export the run: lowmed export RUN --to gguf"
        )
    kinds: tuple[Kind, ...] = ("f16", "q8_0", "q4_k_m") if can_quantize() else ("f16", "q8_0")
    files = write_gguf(merged, staging, kinds, name=package["run"])
    if add_files:
        add_files(merged, files, staging)
    agreement, text_only = None, gguf_family(merged).text_only
    if questions and can_quantize() and not text_only:
        policy = PixelPolicy(load_recipe(str(merged / "recipe.yaml")).model.max_image_tokens)
        inputs = [_prompt_input(questions, sample, policy) for sample in questions.samples]
        result = compare(merged, files[0], files[-1], inputs, max_new_tokens=questions.max_new_tokens)
        agreement = result.as_json()
        write_json(staging / AGREEMENT, agreement)
    with disk_errors(staging):
        for name in COPIED:
            if (merged / name).is_file():
                shutil.copyfile(merged / name, staging / name)
        shutil.copyfile(example("served_text" if text_only else "served"), staging / EXAMPLE)
    return agreement


def _serve_command(out: Path) -> str:
    """The command that serves the F16 file with the pixel limits of training, which llama.cpp cannot read from it."""
    language = next(file for file in out.glob("*-f16.gguf") if not file.name.startswith("mmproj-"))
    projector = language.with_name(f"mmproj-{language.name}")
    if not projector.is_file():
        return f"llama-server -m {language} --temp 0"
    pixels = read_versioned(out / PACKAGE)["pixels"]
    fewest, most = (pixels[limit] // TOKEN_SIDE_PX**2 for limit in ("min_pixels", "max_pixels"))
    return (
        f"llama-server -m {language} --mmproj {projector} \\\n"
        f"  --image-min-tokens {fewest} --image-max-tokens {most} --temp 0"
    )


def _prompt_input(questions: QuestionSet, sample: Sample, policy: PixelPolicy) -> PromptInput:
    family = questions.family
    text = prompt.build_messages(family, sample)[-1]["content"][-1]["text"]
    images = tuple(prepare(questions.open_image(image), policy, image) for image in sample.images)
    return PromptInput(text, images, family.prefill, family.system, sample.history)
