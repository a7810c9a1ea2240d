"""unsloth's own code on nano, without a card: what lowmed hands to it, and what comes of a run.

unsloth imports without a card when told to, and then leaves TRL alone and loads nothing. A process of its own lifts
that: it has TRL rewritten, loads nano by unsloth's own loader, and trains by both methods. What stays untried is what
needs the card: its kernels, its compiler, offloaded activations and 4-bit weights.
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
    pytest.mark.skipif(importlib.util.find_spec("unsloth") is None, reason="unsloth is not installed"),
]

# Which libraries are there already when a verb first asks for unsloth.
FIRST = """
import os, sys
class Listener:
    def find_spec(self, name, path=None, target=None):
        if name == "unsloth":
            early = [each for each in ("transformers", "trl", "peft") if each in sys.modules]
            switches = ("UNSLOTH_DISABLE_STATISTICS", "HF_HUB_DISABLE_TELEMETRY")
            print(early, *[os.environ.get(each) for each in switches], flush=True)
            os._exit(0)
from lowmed.engine import evaluation, load, machine
CARD = machine.Machine("cuda", "some card", 24.0, "bf16")
machine.find = lambda _model: (machine.quiet(), CARD)[1]
sys.meta_path.insert(0, Listener())
from lowmed.cli import app
app()
"""

RUN = """
import inspect, json, os, sys
os.environ |= {"UNSLOTH_ALLOW_CPU": "1", "UNSLOTH_COMPILE_DISABLE": "1", "TRITON_INTERPRET": "1"}
import unsloth
from unsloth.models import loader, rl, vision
os.environ["UNSLOTH_ALLOW_CPU"] = "0"
rl.PatchFastRL(FastLanguageModel=unsloth.FastVisionModel)
vision.get_device_stats = lambda: ("no card", "", 0)
loader.patch_loss_functions = lambda **_: None  # puts a Triton kernel in the place of torch's cross entropy
import torch, trl
torch.cuda.get_device_capability = lambda *_: (8, 0)  # asked for before any weight is read

from lowmed import recipe
from lowmed.cli import app
from lowmed.engine import load, machine, train, unsloth_backend as backend
from lowmed.errors import LowmedError

found = {"rewritten": [trl.GRPOTrainer.__name__, trl.SFTTrainer.__name__]}
CPU = machine.Machine("cpu", "CPU", 0.0, "fp32")
known = inspect.signature(unsloth.FastVisionModel.from_pretrained).parameters.keys() | {"use_safetensors"}
found["unknown"] = sorted(backend.load_arguments("folder", recipe.Model(), CPU).keys() - known) + sorted(
    backend.adapter_arguments(recipe.Lora()).keys()
    - inspect.signature(vision.FastBaseModel.get_peft_model).parameters.keys()
)
backend.CHECKPOINTING = True  # its own mode offloads through memory that only a card can pin
load.choose_backend = lambda spec, here: ("unsloth", "to be tried")
true, ready, build = backend.load_arguments, train.ready, train._trainer
backend.load_arguments = lambda *given: true(*given) | {"device_map": {"": "cpu"}}

def watched(plan):
    loaded = ready(plan)
    from transformers.quantizers.quantizers_utils import should_convert_module
    from unsloth_zoo.peft_utils import SKIP_QUANTIZATION_MODULES
    layers = [name for name, layer in loaded.model.get_base_model().named_modules()
              if isinstance(layer, torch.nn.Linear) and "lora" not in name and not name.endswith(".base_layer")]
    layers += [name.removesuffix(".base_layer") for name, _ in loaded.model.get_base_model().named_modules()
               if name.endswith(".base_layer")]
    four_bit = [name for name in layers if should_convert_module(name, SKIP_QUANTIZATION_MODULES)]
    found["four_bit_is_language"] = set(four_bit) == {name for name in layers if "language_model" in name}
    found.setdefault("seed", torch.initial_seed())  # of the first run, which draws its adapter
    return loaded

def built(plan, loaded, *rest):
    trainer = build(plan, loaded, *rest)
    kind = plan.method.kind
    found[kind] = {"padding": loaded.processor.tokenizer.padding_side, "trainer": type(trainer).__name__}
    if kind == "grpo":
        found[kind] |= {"epsilon_high": trainer.epsilon_high, "scale": trainer.args.scale_rewards}
    else:
        found[kind]["max_length"] = trainer.data_collator.max_length
    return trainer

train.ready, train._trainer = watched, built
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["lowmed", *arguments]
    try:
        app()
    except SystemExit as ended:
        assert not ended.code, ended.code
    except LowmedError as refused:
        found["refused"] = refused.what
print(json.dumps(found))
"""
COMMON = ["--nano", "method.max_steps=1", "method.prompts_per_step=4", "model.load_in=16bit"]


def python(code: str, *arguments: str, where: Path) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=where,
        env=os.environ | {"UNSLOTH_COMPILE_LOCATION": str(where / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What a process with the true unsloth found, and the folder of its runs."""
    where = tmp_path_factory.mktemp("unsloth")
    verbs = [
        ["sft", "--recipe", "rarl-sft", *COMMON, "seed=1", "--out", "sft"],
        ["grpo", "--recipe", "rarl", *COMMON, "lora.start=sft", "method.loss_type=dr_grpo", "--out", "grpo"],
        ["grpo", "--recipe", "rarl", *COMMON, "lora.start=sft", "method.beta=0.04", "--out", "kl"],
    ]
    return json.loads(python(RUN, json.dumps(verbs), where=where)), where


def test_nothing_that_unsloth_must_come_before_is_imported_before_it(tmp_path: Path) -> None:
    said = python(FIRST, "grpo", "--recipe", "rarl", "--nano", "model.backend=unsloth", where=tmp_path)
    assert said == "[] 1 1"


def test_unsloth_knows_every_argument_and_has_rewritten_the_trainers(tried: tuple[dict[str, Any], Path]) -> None:
    result, where = tried
    assert result["unknown"] == []
    assert result["rewritten"] == ["UnslothGRPOTrainer", "UnslothSFTTrainer"]
    assert {result["sft"]["trainer"], result["grpo"]["trainer"]} == {"UnslothGRPOTrainer", "UnslothSFTTrainer"}
    assert not (where / "unsloth_compiled_cache").exists()


def test_its_list_leaves_tower_and_head_in_16_bit_and_no_language_layer(tried: tuple[dict[str, Any], Path]) -> None:
    assert tried[0]["four_bit_is_language"]


def test_what_its_trainers_change_of_the_recipe_is_put_back(tried: tuple[dict[str, Any], Path]) -> None:
    result, _where = tried
    assert result["sft"]["padding"] == result["grpo"]["padding"] == "left"
    assert result["sft"]["max_length"] in (None, 32_768)
    assert result["grpo"]["epsilon_high"] == pytest.approx(0.2)  # open in the recipe; unsloth would take 0.28
    assert result["grpo"]["scale"] == "group"


def test_the_fresh_adapter_follows_from_the_recipes_seed(tried: tuple[dict[str, Any], Path]) -> None:
    assert tried[0]["seed"] == 1  # unsloth seeds anew with 3407


def test_a_kl_term_that_it_would_measure_from_the_wrong_model_is_refused(tried: tuple[dict[str, Any], Path]) -> None:
    assert "from the base, not from the adapter" in tried[0]["refused"]


@pytest.mark.parametrize("name", ["sft", "grpo"])
def test_a_run_trains_the_language_adapter_and_saves_it_as_plain_peft(
    tried: tuple[dict[str, Any], Path], name: str
) -> None:
    run = tried[1] / name
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


def test_the_first_loss_is_that_of_the_transformers_backend(
    tried: tuple[dict[str, Any], Path], lowmed: Lowmed, tmp_path: Path
) -> None:
    ended = lowmed("sft", "--recipe", "rarl-sft", *COMMON, "seed=1", "--out", "plain")
    assert ended.returncode == 0, ended.stderr[-3000:]
    theirs, ours = (json.loads((run / "metrics.jsonl").read_text()) for run in (tried[1] / "sft", tmp_path / "plain"))
    assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-4)
