"""Fine-tune medical vision-language models on one GPU, and know whether the result is real.

    import lowmed

    recipe = lowmed.load_recipe("rarl", ["method.max_steps=20"], nano=True)
    run = lowmed.train(recipe, "runs/demo")
    reports = lowmed.evaluation(run, with_base=True)

Every name is imported on first use: `import lowmed` loads nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lowmed.api.bridge import bridge, resume_bridge
    from lowmed.api.train import resume_training, train
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
    "bridge": "lowmed.api.bridge",
    "load_recipe": "lowmed.recipe.io",
    "open_run": "lowmed.run",
    "resume_bridge": "lowmed.api.bridge",
    "resume_training": "lowmed.api.train",
    "train": "lowmed.api.train",
}

__all__ = [
    "LowmedError",
    "Recipe",
    "Run",
    "Sample",
    "Score",
    "__version__",
    "bridge",
    "load_recipe",
    "open_run",
    "resume_bridge",
    "resume_training",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'lowmed' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
