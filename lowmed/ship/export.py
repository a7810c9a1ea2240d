"""The forms in which a run leaves: each made aside, whole, and put in place at the end."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowmed import prompt
from lowmed.data.image.policy import PixelPolicy, prepare
from lowmed.errors import RunError
from lowmed.files import disk_errors, read_json, write_json
from lowmed.recipe.io import load_recipe
from lowmed.sample import Sample
from lowmed.ship import merge_job, package, verify, vllm
from lowmed.ship.merge_job import Advance, MergeJob
from lowmed.ship.replies_and_logits import Questions

if TYPE_CHECKING:
    from lowmed.ship.gguf.agreement import Question

EXAMPLE = Path(__file__).with_name("example_served.py")
AGREEMENT = "llama_cpp.json"  # what llama.cpp replied with the files, against transformers
KEPT_BESIDE_GGUF = (package.ABOUT, "README.md", "LICENSE", "NOTICE", "recipe.yaml", merge_job.PARITY)


def is_exported(path: Path) -> bool:
    """Whether a folder was made by an export or a merge."""
    return (path / package.ABOUT).is_file()


def for_vllm(job: MergeJob, advance: Advance) -> dict[str, Any]:
    """A merged folder with the serve commands and the adapter in it.

    Raises:
        LowmedError: vLLM cannot serve it, or as `make.merged`.
    """
    vllm.check(job.work.adapter)
    images = max((len(sample.images) for sample in job.asked.samples), default=1) if job.asked else 1
    return merge_job.run_merge(
        job, advance, lambda out: vllm.write(out, job.run, job.work.adapter, images=max(images, 1))
    )


def for_llama_cpp(merged: Path, out: Path, asked: Questions | None, *, modelfile: bool) -> list[str]:
    """A merged folder as GGUF files, with a Modelfile for Ollama where wanted; the names of what was made.

    Where llama.cpp is installed and there is something to ask, its completions are compared and kept in llama_cpp.json.

    Raises:
        LowmedError: the extra is missing, the model is not supported, or the folder exists.
    """
    from lowmed.ship import ollama
    from lowmed.ship.gguf import export

    about = read_json(merged / package.ABOUT)
    if about["form"] != "merged":
        raise RunError("only a merged folder becomes GGUF", str(merged), "lowmed export RUN --to gguf")
    _free(out)
    aside = out.with_name(f".{out.name}.exporting")
    shutil.rmtree(aside, ignore_errors=True)
    kinds: tuple[export.Kind, ...] = ("f16", "q8_0", "q4_k_m") if export.can_quantise() else ("f16", "q8_0")
    files = export.write(merged, aside, kinds, name=about["run"])
    if modelfile:
        ollama.write(merged, files, aside)
    if asked and export.can_quantise():
        from lowmed.ship.gguf.agreement import agreement

        policy = PixelPolicy(load_recipe(str(merged / "recipe.yaml")).model.max_image_tokens)
        questions = [_question(asked, sample, policy) for sample in asked.samples]
        result = agreement(merged, files[0], files[-1], questions, max_new_tokens=asked.max_new_tokens)
        write_json(aside / AGREEMENT, result.as_dict())
    with disk_errors(aside):
        for name in KEPT_BESIDE_GGUF:
            if (merged / name).is_file():
                shutil.copyfile(merged / name, aside / name)
        shutil.copyfile(EXAMPLE, aside / "example.py")
        aside.replace(out)
    return sorted(file.name for file in out.iterdir())


def _question(asked: Questions, sample: Sample, policy: PixelPolicy) -> "Question":
    from lowmed.ship.gguf.agreement import Question

    text = prompt.build_messages(asked.family, sample)[0]["content"][-1]["text"]
    return Question(text, tuple(prepare(asked.open_image(image), policy, image) for image in sample.images))


def adapter_form(job: MergeJob) -> dict[str, Any]:
    """The adapter with all that it needs, for the hub; measured, and put in place if it passes.

    Raises:
        LowmedError: the machine, the model or the disk does not allow it.
    """
    checks = list(job.checks)
    aside = job.out.with_name(f".{job.out.name}.exporting")
    shutil.rmtree(aside, ignore_errors=True)
    package.write_package(job.run, job.work.folder, aside, "adapter")
    with disk_errors(aside):
        for file in job.run.adapter.iterdir():
            shutil.copyfile(file, aside / file.name)
    if job.asked:
        checks += verify.adapter(job.model, job.work.folder, job.run.adapter, job.asked)[0]
    document = verify.document(checks, measured=job.asked is not None)
    write_json(aside / merge_job.PARITY, document)
    if document["passed"]:
        with disk_errors(job.out):
            aside.replace(job.out)
    return {**document, "out": str(job.out if document["passed"] else aside)}


def _free(out: Path) -> None:
    if out.exists():
        raise RunError("the folder exists", str(out), "choose another --out, or remove it")
