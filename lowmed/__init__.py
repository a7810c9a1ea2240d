"""Fine-tune medical vision-language models on one GPU, and know whether the result is real.

    import lowmed

    recipe = lowmed.load_recipe("rarl", ["method.max_steps=20"], nano=True)
    run = lowmed.train(recipe, "runs/demo")
    reports = lowmed.evaluate(run, with_base=True)

Every name is imported on first use: `import lowmed` loads nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lowmed.api.ask import ask
    from lowmed.api.audit import audit
    from lowmed.api.bridge import bridge, resume_bridge
    from lowmed.api.check import check
    from lowmed.api.compare import compare
    from lowmed.api.distil import distil
    from lowmed.api.evaluate import evaluate
    from lowmed.api.export import export
    from lowmed.api.extend import extend_training
    from lowmed.api.inspect import inspect
    from lowmed.api.merge import merge
    from lowmed.api.pairs import make_pairs, make_unpaired
    from lowmed.api.prepare import prepare
    from lowmed.api.prepare_shard import prepare_shard
    from lowmed.api.probe import probe
    from lowmed.api.probe_vision import probe_vision
    from lowmed.api.rewards import trust_reward
    from lowmed.api.runs import compare_runs, list_runs, prune_runs, remove_runs, show_run
    from lowmed.api.score import score
    from lowmed.api.serve import serve
    from lowmed.api.show import show_curves, show_report, show_samples
    from lowmed.api.study import run_study, verify_study
    from lowmed.api.train import resume_training, train
    from lowmed.api.verify import verify
    from lowmed.errors import LowmedError
    from lowmed.recipe import Recipe
    from lowmed.recipe.io import load_recipe
    from lowmed.rewards.score import Score
    from lowmed.run import Run, open_run
    from lowmed.sample import Sample

_MODULES = {
    "LowmedError": "lowmed.errors",
    "Recipe": "lowmed.recipe",
    "Run": "lowmed.run",
    "Sample": "lowmed.sample",
    "Score": "lowmed.rewards.score",
    "ask": "lowmed.api.ask",
    "audit": "lowmed.api.audit",
    "bridge": "lowmed.api.bridge",
    "check": "lowmed.api.check",
    "compare": "lowmed.api.compare",
    "compare_runs": "lowmed.api.runs",
    "distil": "lowmed.api.distil",
    "evaluate": "lowmed.api.evaluate",
    "export": "lowmed.api.export",
    "extend_training": "lowmed.api.extend",
    "list_runs": "lowmed.api.runs",
    "load_recipe": "lowmed.recipe.io",
    "make_pairs": "lowmed.api.pairs",
    "make_unpaired": "lowmed.api.pairs",
    "merge": "lowmed.api.merge",
    "open_run": "lowmed.run",
    "prepare": "lowmed.api.prepare",
    "prepare_shard": "lowmed.api.prepare_shard",
    "probe": "lowmed.api.probe",
    "probe_vision": "lowmed.api.probe_vision",
    "prune_runs": "lowmed.api.runs",
    "remove_runs": "lowmed.api.runs",
    "resume_bridge": "lowmed.api.bridge",
    "resume_training": "lowmed.api.train",
    "run_study": "lowmed.api.study",
    "score": "lowmed.api.score",
    "serve": "lowmed.api.serve",
    "show_curves": "lowmed.api.show",
    "show_report": "lowmed.api.show",
    "show_run": "lowmed.api.runs",
    "show_samples": "lowmed.api.show",
    "train": "lowmed.api.train",
    "inspect": "lowmed.api.inspect",
    "trust_reward": "lowmed.api.rewards",
    "verify": "lowmed.api.verify",
    "verify_study": "lowmed.api.study",
}

__all__ = [
    "LowmedError",
    "Recipe",
    "Run",
    "Sample",
    "Score",
    "__version__",
    "ask",
    "audit",
    "bridge",
    "check",
    "compare",
    "compare_runs",
    "distil",
    "evaluate",
    "export",
    "extend_training",
    "inspect",
    "list_runs",
    "load_recipe",
    "make_pairs",
    "make_unpaired",
    "merge",
    "open_run",
    "prepare",
    "prepare_shard",
    "probe",
    "probe_vision",
    "prune_runs",
    "remove_runs",
    "resume_bridge",
    "resume_training",
    "run_study",
    "score",
    "serve",
    "show_curves",
    "show_report",
    "show_run",
    "show_samples",
    "train",
    "trust_reward",
    "verify",
    "verify_study",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'lowmed' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
