"""The teacher of a distillation: a model, a server, or the stored completions of a probe."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from lowmed import prompt
from lowmed.distillation import probe_completions
from lowmed.distillation.records import Teacher
from lowmed.errors import RecipeError
from lowmed.evaluation.target import EvalTarget, open_target, require_endpoint_with_model
from lowmed.recipe import EvalSpec, ModelSpec
from lowmed.recipe.io import portable_path

PROBE = "probe"  # in place of the name of a system


@dataclass(frozen=True)
class OpenTeacher:
    """A teacher that is ready to be used.

    Attributes:
        target: its model, prompts and settings.
        identity: what the record says about it.
        endpoint: URL of its server, if it has one.
        probe: folder of its stored completions, if they are those of a probe.
    """

    target: EvalTarget
    identity: Teacher
    endpoint: str | None = None
    probe: Path | None = None

    @property
    def system(self) -> str:
        """The name of the files of completions, as in evaluations."""
        return next(iter(self.target.adapters))

    @property
    def adapter(self) -> Path | None:
        """The adapter, if it has one."""
        return self.target.adapters[self.system]


def open_teacher(
    by: str | None,
    endpoint: str | None,
    model: str | None,
    probe: Path | None,
    prompts: str | None,
    max_new_tokens: int | None,
) -> OpenTeacher:
    """Open the one teacher that was named.

    Args:
        by: run directory, model directory, hub id or `nano`; with an endpoint the run that it serves.
        endpoint: URL of an OpenAI-compatible API.
        model: the endpoint's name for its model.
        probe: folder of a probe.
        prompts: prompt family; None for that of the run, else `reasoning`.
        max_new_tokens: completion limit; None for that of the run's evaluation.

    Raises:
        RecipeError: none or several are named, or the prompts request no reasoning.
        RunError: the run, the model or the probe does not exist.
        SetupError: the URL is invalid, or names another machine while LOWMED_OFFLINE=1.
    """
    _require_one(by, endpoint, model, probe)
    if probe and (prompts or max_new_tokens):
        what = "--prompts and --max-new-tokens are for a teacher that is sampled"
        raise RecipeError(what, "--probe", "remove them, or --probe")
    if probe:
        target, host = _target_of_probe(probe), None
    else:
        from lowmed.judge import openai_client  # imports httpx

        host = openai_client.host(endpoint, "--endpoint") if endpoint else None
        target = open_target(by, served_as=model)
        if prompts:
            target = replace(target, family=prompt.family(prompts))
        if max_new_tokens:
            target = replace(target, eval=target.eval.model_copy(update={"max_new_tokens": max_new_tokens}))
    if target.task == "extraction":
        raise RecipeError("a run with data.task=extraction cannot be a teacher", "--by", "name another model")
    if target.family.completion_format != "think_answer":
        what = f"the prompts `{target.family.name}` request the answer alone, so completions hold no reasoning"
        raise RecipeError(what, "--prompts", "use prompts that request reasoning, e.g. --prompts reasoning")
    return OpenTeacher(target, _identity(target, host, probe), endpoint, probe)


def _require_one(by: str | None, endpoint: str | None, model: str | None, probe: Path | None) -> None:
    require_endpoint_with_model(endpoint, model)
    if not (by or endpoint or probe):
        fix = "name a model with --by, a server with --endpoint and --model, or a probe with --probe"
        raise RecipeError("no teacher given", "--by, --endpoint, --probe", fix)
    if probe and (by or endpoint):
        raise RecipeError("a probe has its completions already", "--probe", "remove --by and --endpoint, or --probe")


def _target_of_probe(probe: Path) -> EvalTarget:
    run, settings = probe_completions.run_of(probe), probe_completions.settings_of(probe)
    spec = ModelSpec(name=settings.model, max_image_tokens=settings.max_image_tokens)
    family = probe_completions.family_of(settings, probe, run)
    return EvalTarget(spec, family, EvalSpec(max_new_tokens=settings.max_new_tokens), run, {PROBE: None})


def _identity(target: EvalTarget, host: str | None, probe: Path | None) -> Teacher:
    adapter = next(iter(target.adapters.values())) if not probe else target.run and target.run.adapter
    weights = adapter / "adapter_model.safetensors" if adapter else None
    return Teacher(
        name=portable_path(target.model.name),
        kind="endpoint" if host else "probe" if probe else "model",
        host=host,
        revision=target.model.revision or (target.run.record.base_commit if target.run and not host else None),
        adapter_sha256=hashlib.sha256(weights.read_bytes()).hexdigest() if weights and weights.is_file() else None,
    )
