"""unsloth on nano without a GPU: the arguments that lowmed passes to it, and the result of a run.

unsloth can be imported without a GPU, and then leaves TRL unchanged and loads nothing. A separate process lifts that:
it lets unsloth rewrite TRL, loads nano with unsloth's loader, and trains with both methods. Not tested without a GPU:
its kernels, its compiler, offloaded activations and 4-bit weights.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Lowmed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("unsloth"),  # one process trains for all tests
    pytest.mark.skipif(importlib.util.find_spec("unsloth") is None, reason="unsloth is not installed"),
]

# Prints which libraries were imported before unsloth, at its first import.
FIRST_IMPORT = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "unsloth":
            early = [library for library in ("transformers", "trl", "peft") if library in sys.modules]
            switches = ("UNSLOTH_DISABLE_STATISTICS", "HF_HUB_DISABLE_TELEMETRY")
            print(early, *[os.environ.get(switch) for switch in switches], flush=True)
            os._exit(0)
from lowmed.engine import device, evaluator, load
GPU = device.Device("cuda", "some card", 24.0, "bf16")
device.find_device = lambda _model: (device.silence_libraries(), GPU)[1]
sys.meta_path.insert(0, Finder())
from lowmed.cli import app
app()
"""

# unsloth collects garbage a dozen times per run, which without `freeze` takes a second each.
RUN = """
import gc, inspect, json, os, sys
gc.disable()
os.environ |= {"UNSLOTH_ALLOW_CPU": "1", "UNSLOTH_COMPILE_DISABLE": "1", "TRITON_INTERPRET": "1"}
import unsloth
from unsloth.models import loader, rl, vision
os.environ["UNSLOTH_ALLOW_CPU"] = "0"
rl.PatchFastRL(FastLanguageModel=unsloth.FastVisionModel)
vision.get_device_stats = lambda: ("no card", "", 0)
loader.patch_loss_functions = lambda **_: None  # replaces torch's cross entropy by a Triton kernel
import torch, trl
torch.cuda.get_device_capability = lambda *_: (8, 0)  # called before any weight is read

from lowmed.cli import app
from lowmed.engine import device, load, train, unsloth_backend as backend
from lowmed.errors import LowmedError
from lowmed.models.qwen_vl import QWEN2_VL
from lowmed.recipe import LoraSpec, ModelSpec

report = {"rewritten": [trl.GRPOTrainer.__name__, trl.SFTTrainer.__name__]}
CPU = device.Device("cpu", "CPU", 0.0, "fp32")
known = inspect.signature(unsloth.FastVisionModel.from_pretrained).parameters.keys() | {"use_safetensors"}
report["unknown"] = sorted(backend.load_arguments("folder", ModelSpec(), CPU).keys() - known) + sorted(
    backend.adapter_arguments(LoraSpec(), QWEN2_VL).keys()
    - inspect.signature(vision.FastBaseModel.get_peft_model).parameters.keys()
)
backend.CHECKPOINTING = True  # its own mode offloads to pinned memory, which needs a GPU
load.choose_backend = lambda spec, device: ("unsloth", "for this test")
original_arguments, original_load, original_trainer = backend.load_arguments, train.load_for_training, train._trainer
backend.load_arguments = lambda *arguments: original_arguments(*arguments) | {"device_map": {"": "cpu"}}

def load_for_training(recipe):
    loaded = original_load(recipe)
    from transformers.quantizers.quantizers_utils import should_convert_module
    from unsloth_zoo.peft_utils import SKIP_QUANTIZATION_MODULES
    layers = [name for name, layer in loaded.model.get_base_model().named_modules()
              if isinstance(layer, torch.nn.Linear) and "lora" not in name and not name.endswith(".base_layer")]
    layers += [name.removesuffix(".base_layer") for name, _ in loaded.model.get_base_model().named_modules()
               if name.endswith(".base_layer")]
    four_bit = [name for name in layers if should_convert_module(name, SKIP_QUANTIZATION_MODULES)]
    report["four_bit_is_language"] = set(four_bit) == {name for name in layers if "language_model" in name}
    report.setdefault("seed", torch.initial_seed())  # of the first run, which creates its adapter
    return loaded

def build_trainer(job):
    trainer = original_trainer(job)
    kind = job.recipe.method.kind
    report[kind] = {"padding": job.loaded.processor.tokenizer.padding_side, "trainer": type(trainer).__name__}
    if kind == "grpo":
        report[kind] |= {"epsilon_high": trainer.epsilon_high, "scale": trainer.args.scale_rewards}
    else:
        report[kind]["max_length"] = trainer.data_collator.max_length
    return trainer

train.load_for_training, train._trainer = load_for_training, build_trainer
gc.freeze()
gc.enable()
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["lowmed", *arguments]
    try:
        app()
    except SystemExit as error:
        assert not error.code, error.code
    except LowmedError as error:
        report["error"] = error.what
print(json.dumps(report))
"""
COMMON = ["--nano", "method.max_steps=1", "method.prompts_per_step=4", "model.load_in=16bit"]
RL = [*COMMON, "method.num_generations=4", "method.max_completion_length=48"]


def python(code: str, *arguments: str, where: Path) -> str:
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=where,
        env=os.environ | {"UNSLOTH_COMPILE_LOCATION": str(where / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def unsloth_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The report of a process with unsloth, and the folder of its runs."""
    where = tmp_path_factory.mktemp("unsloth")
    commands = [
        ["sft", "--recipe", "rarl-sft", *COMMON, "seed=1", "--out", "sft"],
        ["grpo", "--recipe", "rarl", *RL, "lora.start=sft", "method.loss_type=dr_grpo", "--out", "grpo"],
        ["grpo", "--recipe", "rarl", *RL, "lora.start=sft", "method.beta=0.04", "--out", "kl"],
    ]
    return json.loads(python(RUN, json.dumps(commands), where=where)), where


def test_unsloth_is_imported_before_the_libraries_that_it_changes(tmp_path: Path) -> None:
    printed = python(FIRST_IMPORT, "grpo", "--recipe", "rarl", "--nano", "model.backend=unsloth", where=tmp_path)
    assert printed == "[] 1 1"


def test_unsloth_accepts_every_argument_and_has_rewritten_the_trainers(
    unsloth_runs: tuple[dict[str, Any], Path],
) -> None:
    report, where = unsloth_runs
    assert report["unknown"] == []
    assert report["rewritten"] == ["UnslothGRPOTrainer", "UnslothSFTTrainer"]
    assert {report["sft"]["trainer"], report["grpo"]["trainer"]} == {"UnslothGRPOTrainer", "UnslothSFTTrainer"}
    assert not (where / "unsloth_compiled_cache").exists()


def test_its_list_keeps_the_tower_and_the_head_in_16_bit_and_no_language_layer(
    unsloth_runs: tuple[dict[str, Any], Path],
) -> None:
    assert unsloth_runs[0]["four_bit_is_language"]


def test_changes_of_its_trainers_to_the_recipe_are_undone(unsloth_runs: tuple[dict[str, Any], Path]) -> None:
    report, _where = unsloth_runs
    assert report["sft"]["padding"] == report["grpo"]["padding"] == "left"
    assert report["sft"]["max_length"] in (None, 32_768)
    assert report["grpo"]["epsilon_high"] == pytest.approx(0.2)  # empty in the recipe; unsloth would set 0.28
    assert report["grpo"]["scale"] == "group"


def test_a_new_adapter_depends_on_the_seed_of_the_recipe(unsloth_runs: tuple[dict[str, Any], Path]) -> None:
    assert unsloth_runs[0]["seed"] == 1  # unsloth would use 3407


def test_a_kl_term_with_the_wrong_reference_is_an_error(unsloth_runs: tuple[dict[str, Any], Path]) -> None:
    assert "from the base, not from the adapter" in unsloth_runs[0]["error"]


@pytest.mark.parametrize("name", ["sft", "grpo"])
def test_a_run_trains_the_language_adapter_and_saves_it_in_pefts_format(
    unsloth_runs: tuple[dict[str, Any], Path], name: str
) -> None:
    run = unsloth_runs[1] / name
    assert json.loads((run / "run.json").read_text())["backend"] == "unsloth"
    [row] = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert row["adapter_norm"] > 0
    config = json.loads((run / "adapter" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert "language_model" in config["target_modules"]
    assert sorted(file.name for file in (run / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_the_first_loss_equals_that_of_the_transformers_backend(
    unsloth_runs: tuple[dict[str, Any], Path], lowmed: Lowmed, tmp_path: Path
) -> None:
    process = lowmed("sft", "--recipe", "rarl-sft", *COMMON, "seed=1", "--out", "transformers")
    assert process.returncode == 0, process.stderr[-3000:]
    runs = unsloth_runs[1] / "sft", tmp_path / "transformers"
    of_unsloth, of_transformers = (json.loads((run / "metrics.jsonl").read_text()) for run in runs)
    assert of_unsloth["loss"] == pytest.approx(of_transformers["loss"], rel=1e-4)
