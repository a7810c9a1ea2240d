"""Features on disk serve later runs, and the tower leaves the card where they are complete."""

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
NANO = ModelSpec(name="nano", load_in="16bit")  # "16bit" is fp32 here: the machine says so
NOWHERE = torch.device("meta")  # holds shapes and no values: nothing can be computed there, nor brought back
SETTINGS = {
    "rarl": ["method.num_generations=4", "method.max_completion_length=8", "method.skip_zero_variance_groups=false",
             "method.mask_truncated_completions=false"],
    "rarl-sft": [],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def without_a_card() -> None:
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


def test_stored_features_serve_the_next_process_and_name_nothing_but_digests(store: Path) -> None:
    pixels = torch.randn(16, 1176)
    first, second = load.load_base(NANO, CPU), load.load_base(NANO, CPU)
    assert torch.equal(features_of(first, pixels), features_of(second, pixels))
    assert first.tower is not None
    assert second.tower is not None
    assert (first.tower.encoded, second.tower.encoded) == (1, 0)
    [file] = store.rglob("*.*")
    assert set("".join(file.relative_to(store).with_suffix("").parts)) <= set("0123456789abcdef")
    assert file.suffix == ".safetensors"
    assert store.stat().st_mode & 0o077 == 0


def test_a_stored_file_that_was_cut_short_is_made_anew(store: Path) -> None:
    pixels = torch.randn(16, 1176)
    features = features_of(load.load_base(NANO, CPU), pixels)
    [file] = store.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-40])
    again = load.load_base(NANO, CPU)
    assert torch.equal(features_of(again, pixels), features)
    assert again.tower is not None
    assert again.tower.encoded == 1
    assert torch.equal(features_of(load.load_base(NANO, CPU), pixels), features)


def test_other_weights_do_not_find_the_stored_features(store: Path) -> None:
    pixels = torch.randn(16, 1176)
    loaded = load.load_base(NANO, CPU)
    before = features_of(loaded, pixels)
    torch.nn.init.zeros_(loaded.model.model.visual.merger.mlp[2].bias)
    assert not torch.equal(features_of(loaded, pixels), before)
    assert len(list(store.rglob("*.safetensors"))) == 2


def test_a_store_that_can_not_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOWMED_FEATURES", str(tmp_path / "file" / "features"))
    with pytest.raises(SetupError, match="can not be stored: Not a directory"):
        features_of(load.load_base(NANO, CPU), torch.randn(16, 1176))


def trained(method: str, folder: Path) -> tuple[Run, load.Loaded]:
    """Two updates of nano."""
    common = ["method.prompts_per_step=2", "method.max_steps=2", "data.max_train_questions=4", "model.load_in=16bit"]
    recipe = load_recipe(method, [*common, *SETTINGS[method]], nano=True)
    data_split = split_data(load_data(recipe.data.source, recipe.data.path), recipe.data, recipe.seed)
    loaded = train.load_for_training(recipe)
    run = create_run(recipe, "tower", out=str(folder))
    assert train.train(run, loaded, data_split, report=lambda _update, _row: None) == "finished"
    return run, loaded


@pytest.mark.parametrize("method", ["rarl", "rarl-sft"])
def test_a_run_over_stored_images_never_needs_the_towers_weights(
    method: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, filling = trained(method, tmp_path / "first")
    assert filling.tower is not None
    assert filling.tower.encoded == len(list(store.rglob("*.safetensors"))) > 0
    monkeypatch.setattr(cache, "HOST", NOWHERE)
    second, without = trained(method, tmp_path / "second")
    [patches, *others] = without.model.base_model.model.model.visual.parameters()
    assert {weight.device for weight in others} == {NOWHERE}
    assert without.model.device == patches.device != NOWHERE  # where trainers and readers put their inputs
    adapters = [(run.adapter / "adapter_model.safetensors").read_bytes() for run in (first, second)]
    assert adapters[0] == adapters[1]
    losses = [[row["loss"] for row in run.rows("metrics.jsonl")] for run in (first, second)]
    assert losses[0] == losses[1]


@pytest.mark.usefixtures("store")
def test_the_weights_are_fetched_for_an_image_that_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    stored, other = torch.randn(2, 16, 1176)
    features = features_of(load.load_base(NANO, CPU), stored)
    monkeypatch.setattr(cache, "HOST", NOWHERE)
    parked = load.load_base(NANO, CPU)
    with torch.inference_mode():
        assert torch.equal(features_of(parked, stored), features)
    with pytest.raises(NotImplementedError, match="no data"):  # from the host it would come
        features_of(parked, other)


@pytest.mark.usefixtures("store")
def test_the_weights_wait_before_they_leave_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = torch.randn(2, 16, 1176)
    loaded = load.load_base(NANO, CPU)
    visual = loaded.model.model.visual
    features = features_of(loaded, first)
    monkeypatch.setattr(cache, "HOST", NOWHERE)
    monkeypatch.setattr(cache, "PATIENCE", 3)
    for _ in range(2):
        features_of(loaded, first)
    features_of(loaded, second)  # a new one: it waits anew
    for _ in range(3):
        features_of(loaded, first)
        assert visual.merger.ln_q.weight.device != NOWHERE
    assert torch.equal(features_of(loaded, first), features)
    assert visual.merger.ln_q.weight.device == NOWHERE
    assert loaded.tower is not None
    assert loaded.tower.encoded == 2  # a move is no change of weights: what is kept stays


def test_without_a_store_the_weights_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "HOST", NOWHERE)
    monkeypatch.setattr(cache, "PATIENCE", 1)
    loaded = load.load_base(NANO, CPU)
    pixels = torch.randn(16, 1176)
    for _ in range(3):
        features_of(loaded, pixels)
    assert NOWHERE not in {weight.device for weight in loaded.model.parameters()}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
@pytest.mark.usefixtures("store")
def test_on_a_card_the_weights_go_to_the_host_and_come_back_the_same() -> None:
    here = device.find_device(NANO)
    stored, other = torch.randn(2, 16, 1176, device=here.device)
    features = features_of(load.load_base(NANO, here), stored)
    loaded = load.load_base(NANO, here)
    visual = loaded.model.model.visual
    weights = {name: weight.clone() for name, weight in visual.named_parameters()}
    before = torch.cuda.memory_allocated()
    assert torch.equal(features_of(loaded, stored), features)
    on_host = [weight for weight in visual.parameters() if weight.device.type == "cpu"]
    assert len(on_host) == len(weights) - 1
    assert torch.cuda.memory_allocated() < before - 0.9 * sum(weight.nbytes for weight in on_host)
    assert loaded.model.device.type == "cuda"
    features_of(loaded, other)
    assert all(torch.equal(weights[name], weight) for name, weight in visual.named_parameters())
