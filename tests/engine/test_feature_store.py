"""Later runs use features on disk, and the tower is offloaded if all features are there."""

from pathlib import Path

import pytest
import torch

from lowmed.data.load import load as load_data
from lowmed.data.split import split_data
from lowmed.engine import device, load, train
from lowmed.engine.vision import cache
from lowmed.errors import SetupError
from lowmed.recipe import ModelSpec
from lowmed.recipe.io import load_recipe
from lowmed.run import Run, create_run

CPU = device.Device("cpu", "CPU", 0.0, "fp32")
NANO = ModelSpec(name="nano", load_in="16bit")  # "16bit" is fp32 here: the precision of the CPU
META = torch.device("meta")  # has shapes without values: tensors cannot be computed there or copied back
SETTINGS = {
    "rarl": ["method.num_generations=4", "method.max_completion_length=8", "method.skip_zero_variance_groups=false",
             "method.mask_truncated_completions=false"],
    "rarl-sft": [],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def without_a_gpu() -> None:
    if not torch.cuda.is_available():
        device.find_device(NANO)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOWMED_FEATURES", str(tmp_path / "features"))
    return tmp_path / "features"


def features_of(loaded: load.Loaded, pixels: torch.Tensor) -> torch.Tensor:
    grid = torch.tensor([[1, 4, 4]], device=pixels.device)
    result: torch.Tensor = loaded.model.model.visual(pixels, grid_thw=grid).pooler_output
    return result


def test_stored_features_are_used_by_the_next_process_and_file_names_are_digests(store: Path) -> None:
    pixels = torch.randn(16, 1176)
    first, second = load.load_base(NANO, CPU), load.load_base(NANO, CPU)
    assert torch.equal(features_of(first, pixels), features_of(second, pixels))
    assert first.vision_cache is not None
    assert second.vision_cache is not None
    assert (first.vision_cache.encoded, second.vision_cache.encoded) == (1, 0)
    [file] = store.rglob("*.*")
    assert set("".join(file.relative_to(store).with_suffix("").parts)) <= set("0123456789abcdef")
    assert file.suffix == ".safetensors"
    assert store.stat().st_mode & 0o077 == 0


def test_a_truncated_file_is_replaced(store: Path) -> None:
    pixels = torch.randn(16, 1176)
    features = features_of(load.load_base(NANO, CPU), pixels)
    [file] = store.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-40])
    loaded = load.load_base(NANO, CPU)
    assert torch.equal(features_of(loaded, pixels), features)
    assert loaded.vision_cache is not None
    assert loaded.vision_cache.encoded == 1
    assert torch.equal(features_of(load.load_base(NANO, CPU), pixels), features)


def test_other_weights_do_not_use_the_stored_features(store: Path) -> None:
    pixels = torch.randn(16, 1176)
    loaded = load.load_base(NANO, CPU)
    before = features_of(loaded, pixels)
    torch.nn.init.zeros_(loaded.model.model.visual.merger.mlp[2].bias)
    assert not torch.equal(features_of(loaded, pixels), before)
    assert len(list(store.rglob("*.safetensors"))) == 2


def test_a_folder_that_cannot_be_written_is_a_setup_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOWMED_FEATURES", str(tmp_path / "file" / "features"))
    with pytest.raises(SetupError, match="cannot store image features: Not a directory"):
        features_of(load.load_base(NANO, CPU), torch.randn(16, 1176))


def trained(method: str, folder: Path) -> tuple[Run, load.Loaded]:
    """Two steps of nano."""
    common = ["method.prompts_per_step=2", "method.max_steps=2", "data.max_train_questions=4", "model.load_in=16bit"]
    recipe = load_recipe(method, [*common, *SETTINGS[method]], nano=True)
    data_split = split_data(load_data(recipe.data.name, recipe.data.path), recipe.data, recipe.seed)
    loaded = train.load_for_training(recipe)
    run = create_run(recipe, "tower", out=str(folder))
    assert train.train(run, loaded, data_split, report=lambda _step, _row: None) == "finished"
    return run, loaded


@pytest.mark.parametrize("method", ["rarl", "rarl-sft"])
def test_a_run_over_stored_images_keeps_the_tower_offloaded(
    method: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, filling = trained(method, tmp_path / "first")
    assert filling.vision_cache is not None
    assert filling.vision_cache.encoded == len(list(store.rglob("*.safetensors"))) > 0
    monkeypatch.setattr(cache, "OFFLOAD_DEVICE", META)
    second, without = trained(method, tmp_path / "second")
    [patches, *others] = without.model.base_model.model.model.visual.parameters()
    assert {weight.device for weight in others} == {META}
    assert without.model.device == patches.device != META  # where trainers put their inputs
    adapters = [(run.adapter / "adapter_model.safetensors").read_bytes() for run in (first, second)]
    assert adapters[0] == adapters[1]
    losses = [[row["loss"] for row in run.rows("metrics.jsonl")] for run in (first, second)]
    assert losses[0] == losses[1]


@pytest.mark.usefixtures("store")
def test_the_weights_are_loaded_back_for_an_image_that_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    stored, other = torch.randn(2, 16, 1176)
    features = features_of(load.load_base(NANO, CPU), stored)
    monkeypatch.setattr(cache, "OFFLOAD_DEVICE", META)
    parked = load.load_base(NANO, CPU)
    with torch.inference_mode():
        assert torch.equal(features_of(parked, stored), features)
    with pytest.raises(NotImplementedError, match="no data"):  # a CPU tensor could be copied
        features_of(parked, other)


@pytest.mark.usefixtures("store")
def test_the_weights_are_offloaded_again_after_some_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = torch.randn(2, 16, 1176)
    loaded = load.load_base(NANO, CPU)
    visual = loaded.model.model.visual
    features = features_of(loaded, first)
    monkeypatch.setattr(cache, "OFFLOAD_DEVICE", META)
    monkeypatch.setattr(cache, "CALLS_BEFORE_OFFLOAD", 3)
    for _ in range(2):
        features_of(loaded, first)
    features_of(loaded, second)  # a new image: the count starts again
    for _ in range(3):
        features_of(loaded, first)
        assert visual.merger.ln_q.weight.device != META
    assert torch.equal(features_of(loaded, first), features)
    assert visual.merger.ln_q.weight.device == META
    assert loaded.vision_cache is not None
    assert loaded.vision_cache.encoded == 2  # moving the weights does not clear the cache


def test_without_a_store_the_weights_are_not_offloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "OFFLOAD_DEVICE", META)
    monkeypatch.setattr(cache, "CALLS_BEFORE_OFFLOAD", 1)
    loaded = load.load_base(NANO, CPU)
    pixels = torch.randn(16, 1176)
    for _ in range(3):
        features_of(loaded, pixels)
    assert META not in {weight.device for weight in loaded.model.parameters()}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.usefixtures("store")
def test_on_a_gpu_the_weights_are_offloaded_and_loaded_back_unchanged() -> None:
    here = device.find_device(NANO)
    stored, other = torch.randn(2, 16, 1176, device=here.type)
    features = features_of(load.load_base(NANO, here), stored)
    loaded = load.load_base(NANO, here)
    visual = loaded.model.model.visual
    weights = {name: weight.clone() for name, weight in visual.named_parameters()}
    before = torch.cuda.memory_allocated()
    assert torch.equal(features_of(loaded, stored), features)
    on_cpu = [weight for weight in visual.parameters() if weight.device.type == "cpu"]
    assert len(on_cpu) == len(weights) - 1
    assert torch.cuda.memory_allocated() < before - 0.9 * sum(weight.nbytes for weight in on_cpu)
    assert loaded.model.device.type == "cuda"
    features_of(loaded, other)
    assert all(torch.equal(weights[name], weight) for name, weight in visual.named_parameters())
