"""The plan of a model that several processes divide."""

import json

import pytest
from conftest import Lowmed

from lowmed import architectures
from lowmed.api.plan import dry_run_recipe, estimate_recipe
from lowmed.engine import room
from lowmed.errors import RecipeError
from lowmed.plan.workload import GIB
from lowmed.recipe import ModelSpec

MODEL = "model.name=Qwen/Qwen2.5-VL-32B-Instruct"
SHARD = "model.shard=fsdp"


@pytest.mark.parametrize("load_in", ["4bit", "16bit"])
def test_processes_divide_the_layers_and_nothing_else(load_in: str) -> None:
    load = f"model.load_in={load_in}"
    [alone] = estimate_recipe("rarl", [MODEL, load], gpu="H200").estimates
    [divided] = estimate_recipe("rarl", [MODEL, load, SHARD], gpu="H200", processes=4).estimates
    model = alone.workload.model
    language = f"{load_in[:-3]}-bit weights"
    layers = model.text_linear * (0.5 if load_in == "4bit" else 2) + 2 * model.text_rest
    before, after = alone.terms["backward"], divided.terms["backward"]
    assert before[language] - after[language] == pytest.approx(0.75 * layers)
    assert after["gathered layer"] == pytest.approx(2 * layers / model.layers)
    for term in ("vision tower", "embeddings", "LoRA", "gradients", "optimizer"):
        assert after[term] == before[term]
    assert "gathered layer" not in before
    assert divided.main_memory_gib > after[language] / GIB
    assert alone.main_memory_gib == 0


def test_no_graph_and_no_copy_is_planned_for_a_divided_model() -> None:
    [divided] = estimate_recipe("rarl", [SHARD], gpu="H200", processes=2).estimates
    batch = divided.workload.batch
    assert (batch.keeps_kv_cache, batch.dequantizes_rollouts) == (False, False)
    assert batch.per_device_train_batch_size <= 32  # half of the rows of a step
    assert divided.time is None


def test_the_command_states_the_processes(lowmed: Lowmed) -> None:
    arguments = ("plan", "--recipe", "rarl", MODEL, "--gpu", "4090")
    assert lowmed(*arguments).returncode == 1
    fits = lowmed(*arguments, SHARD, "--processes", "2")
    assert fits.returncode == 0
    assert "2 processes with such a GPU each" in fits.stdout
    assert "GiB in each process" in fits.stdout
    document = json.loads(lowmed(*arguments, SHARD, "--processes", "2", "--json").stdout)
    assert document["cards"][0]["shards"] == 2


def test_a_plan_without_a_division_is_refused() -> None:
    with pytest.raises(RecipeError, match="each process holds the model"):
        estimate_recipe("rarl", [MODEL], gpu="4090", processes=2)
    with pytest.raises(RecipeError, match="a dry run measures a single process"):
        dry_run_recipe("rarl", [SHARD], processes=2)
    with pytest.raises(RecipeError, match="there is one"):
        estimate_recipe("rarl", [MODEL, SHARD], gpu="4090")


def test_weights_that_fit_only_several_gpus_are_not_refused() -> None:
    sizes = architectures.shipped()["Qwen/Qwen2.5-VL-72B-Instruct"]
    model = ModelSpec(name="any", shard="fsdp")
    error = room.gpu_error(model, sizes, "RTX 4090", 24 * GIB)
    assert error is not None
    assert "more GPUs with model.shard=fsdp" in error.fix
    assert room.gpu_error(model, sizes, "RTX 4090", 24 * GIB, 4) is None
