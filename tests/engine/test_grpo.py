"""The GRPO trainer compared with TRL's: equal losses and gradients from fewer and shorter forward passes."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import split_pixel_values_by_grid, split_tensor_dict, unsplit_pixel_values_by_grid

from lowmed import prompt
from lowmed.engine import agreement, callbacks, device, grpo, load, patches, row_selection, training_data
from lowmed.engine.prefix import decoder, linear, sampling
from lowmed.engine.resumable import ResumableTrainer
from lowmed.errors import RecipeError
from lowmed.methods import GrpoSpec
from lowmed.nano import phantom
from lowmed.plan.workload import Batch
from lowmed.recipe import LoraSpec, ModelSpec
from lowmed.recipe.io import load_recipe

FAMILY = prompt.family("diverse")
MODEL = ModelSpec(name="nano", load_in="16bit")
QUESTIONS, GROUP = 3, 4
LOSSES = ("dapo", "grpo", "dr_grpo", "bnpo")
VARIANTS: dict[str, dict[str, Any]] = {
    **{loss: {"loss_type": loss} for loss in LOSSES},
    "cispo": {"loss_type": "cispo", "epsilon_high": 1.02},
    "sapo": {"loss_type": "sapo", "sapo_temperature_pos": 2.0, "sapo_temperature_neg": 3.0},
    "sequence": {"importance_sampling_level": "sequence", "epsilon": 1e-4},
    "sequence of grpo": {"importance_sampling_level": "sequence", "epsilon": 1e-4, "loss_type": "grpo"},
    "delta": {"delta": 1.02},
    "entropy": {"entropy_coef": 0.05},
    "top entropy": {"top_entropy_quantile": 0.4},
    "rloo": {"baseline": "leave_one_out", "scale_rewards": "none"},
}


@pytest.fixture(scope="module")
def nano() -> load.Loaded:
    """nano in 32 bits with a random adapter."""
    base = load.load_base(MODEL, device.find_device(MODEL))
    torch.manual_seed(3)
    loaded = load.with_trainable_adapter(base, LoraSpec(), "nano")
    patches.use_torch_log_probs()
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0.0, 0.02)
    return loaded


def _method(**settings: Any) -> GrpoSpec:
    defaults = {
        "kind": "grpo", "num_generations": GROUP, "prompts_per_step": QUESTIONS, "max_completion_length": 28,
        "max_steps": 4, "rewards": [{"name": "accuracy"}],
    }  # fmt: skip
    return GrpoSpec(**{**defaults, **settings})


def _equal_for_the_first_question(row: list[int], completion_ids: list[list[int]], **_: Any) -> list[float | None]:
    """The same for every completion to question 0, else different for each completion."""
    return [
        0.7 if number == 0 else len(ids) + place / 7
        for place, (number, ids) in enumerate(zip(row, completion_ids, strict=True))
    ]


def _nothing(row: list[int], **_: Any) -> list[float | None]:
    return [0.3] * len(row)


Builder = Callable[..., tuple[Any, Any]]


@pytest.fixture
def trainers(nano: load.Loaded, tmp_path: Path) -> Iterator[Builder]:
    """lowmed's trainer, and TRL's with the very same settings."""

    def build(
        reward: Any = _equal_for_the_first_question,
        forwards: int = 2,
        gradient_checkpointing: bool = False,
        **settings: Any,
    ) -> tuple[Any, Any]:
        method = _method(**settings)
        rows = training_data.schedule(phantom.samples("train", 8), 12, len(FAMILY.wordings), 0)
        dataset = training_data.as_dataset(rows, FAMILY, phantom.open_image, nano.policy, with_completion=False)
        common = {
            "output_dir": str(tmp_path), "max_steps": method.max_steps, "use_cpu": True, "report_to": "none",
            "per_device_train_batch_size": method.rows_per_step // forwards, "gradient_accumulation_steps": forwards,
            "gradient_checkpointing": gradient_checkpointing, "bf16": False, "remove_unused_columns": False,
            "disable_tqdm": True,
        }  # fmt: skip
        ours: Any = grpo.build_trainer(method, nano, dataset, [reward], common, Batch(1, QUESTIONS * GROUP, False))
        if "ref" in nano.model.peft_config:  # TRL's copy of the adapter for the KL term
            nano.model.delete_adapter("ref")
        stock = GRPOTrainer(
            model=nano.model, reward_funcs=[reward], args=ours.args, train_dataset=dataset,
            processing_class=nano.processor,
        )  # fmt: skip
        for each in (ours, stock):
            each.current_gradient_accumulation_steps = forwards
        nano.model.train()
        return ours, stock

    yield build
    if "ref" in nano.model.peft_config:
        nano.model.delete_adapter("ref")


def _rows(trainer: Any) -> list[dict[str, Any]]:
    return [trainer.train_dataset[question] for question in range(QUESTIONS) for _ in range(GROUP)]


def _gradient(model: Any, losses: list[torch.Tensor]) -> torch.Tensor:
    model.zero_grad()
    for loss in losses:
        torch.autograd.backward(loss)
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.requires_grad])


def _batch(trainer: Any, seed: int = 0) -> dict[str, Any]:
    """One batch of completions, by TRL's own code around what the trainer replaces."""
    torch.manual_seed(seed)
    batch: dict[str, Any] = trainer._generate_and_score_completions(_rows(trainer))
    return batch


def _parts(batch: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """A batch in equal parts, by TRL's own code."""
    return [unsplit_pixel_values_by_grid(part) for part in split_tensor_dict(split_pixel_values_by_grid(batch), count)]


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_gradient_equal_those_of_trl(
    loss: str, gradient_checkpointing: bool, nano: load.Loaded, trainers: Builder
) -> None:
    forwards = (
        1 if loss == "bnpo" else 2
    )  # bnpo divides by the tokens of a forward pass, so the division of rows matters
    ours, stock = trainers(loss_type=loss, forwards=forwards, gradient_checkpointing=gradient_checkpointing)
    assert ours.gradient_checkpointing == gradient_checkpointing
    assert not ours.args.gradient_checkpointing  # TRL's would send a gradient through the vision tower
    batch = _batch(stock)
    lengths = batch["completion_mask"].sum(dim=1)
    assert (
        0 < (lengths[GROUP:] == 0).sum() < 2 * GROUP
    )  # some completions are truncated, some not, in addition to the zero-variance group
    expected_losses = [stock._compute_loss(nano.model, part) for part in _parts(batch, forwards)]
    expected = _gradient(nano.model, expected_losses)

    torch.manual_seed(0)
    ours._step, ours._buffered_inputs = 0, None
    parts = []
    for step in range(forwards):
        ours._step = step
        parts.append(ours._prepare_inputs(_rows(ours)))
    kept = torch.cat([~part["skipped"] for part in parts])
    assert kept.sum() < 2 * GROUP
    losses = [ours._compute_loss(nano.model, part) for part in parts]
    result = _gradient(nano.model, losses)
    assert torch.stack(losses).sum().item() == pytest.approx(torch.stack(expected_losses).sum().item(), abs=1e-7)
    # In TRL the advantages of a zero-variance group are not exactly 0: it divides rounding errors by 1e-4.
    assert (result - expected).norm() < 1e-3 * expected.norm()
    assert expected.norm() > 1e-3


def test_an_unsupported_model_is_trained_by_trls_own_trainer_with_a_warning(
    nano: load.Loaded, trainers: Builder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = sampling.unwrapped(nano.model).config.text_config
    monkeypatch.setattr(config, "layer_types", ["sliding_attention"] * len(config.layer_types))
    ours, stock = trainers(gradient_checkpointing=True)
    assert type(ours) is ResumableTrainer
    assert ours.args.gradient_checkpointing and stock.args.gradient_checkpointing
    assert "prompts are not shared for `qwen2_vl`" in caplog.text


@pytest.mark.parametrize("variant", VARIANTS)
def test_both_steps_on_the_same_completions_equal_those_of_trl(
    variant: str, nano: load.Loaded, trainers: Builder
) -> None:
    # bnpo and the entropy average over a forward pass, and TRL's passes have other rows
    forwards = 1 if variant in ("bnpo", "entropy", "top entropy") else 2
    rewards: list[Any] = []

    def reward(**options: Any) -> list[float | None]:
        rewards[:] = _equal_for_the_first_question(**options)
        return list(rewards)

    ours, stock = trainers(reward, forwards=forwards, num_iterations=2, **{"epsilon": 0.01, **VARIANTS[variant]})
    batch = _batch(stock)
    if variant == "rloo":
        batch["advantages"] = _leave_one_out(rewards)
    torch.manual_seed(0)
    ours._step, ours._buffered_inputs = 0, None
    before = [weight.detach().clone() for weight in nano.model.parameters() if weight.requires_grad]
    try:
        for step in range(2):
            stock_losses = [stock._compute_loss(nano.model, part) for part in _parts(batch, forwards)]
            expected = _gradient(nano.model, stock_losses)
            parts = []
            for forward in range(forwards):
                ours._step = step * forwards + forward
                parts.append(ours._prepare_inputs(_rows(ours)))
            skipped = sum(int(part["skipped"].sum()) for part in parts)
            assert skipped == 0 if "entropy" in variant else 0 < skipped < QUESTIONS * GROUP
            losses = [ours._compute_loss(nano.model, part) for part in parts]
            result = _gradient(nano.model, losses)
            assert torch.stack(losses).sum().item() == pytest.approx(torch.stack(stock_losses).sum().item(), abs=2e-6)
            # In TRL the advantages of a zero-variance group are not exactly 0: it divides rounding errors by 1e-4.
            assert (result - expected).norm() < 1e-3 * expected.norm()
            assert expected.norm() > 1e-4
            # At the second step ratios differ from 1, so that the old log-probabilities matter.
            if variant != "sapo":
                name = "cispo_clip_ratio" if variant == "cispo" else "clip_ratio/region_mean"
                assert (max(stock._metrics["train"][name][-forwards:]) > 0) == (step == 1)
            _move(nano.model)
    finally:
        for weight, value in zip((w for w in nano.model.parameters() if w.requires_grad), before, strict=True):
            weight.data.copy_(value)


def _leave_one_out(rewards: list[float]) -> torch.Tensor:
    """Each reward minus the mean of the others of its group."""
    result = []
    for place, reward in enumerate(rewards):
        start = place // GROUP * GROUP
        others = [rewards[other] for other in range(start, start + GROUP) if other != place]
        result.append(reward - sum(others) / len(others))
    return torch.tensor(result)


def _move(model: Any) -> None:
    """As an optimizer step would."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(5)), alpha=2e-2)


def test_the_same_completions_are_sampled(nano: load.Loaded, trainers: Builder) -> None:
    ours, stock = trainers()
    result, expected = _batch(ours, seed=11), _batch(stock, seed=11)
    assert set(result) == set(expected) | {"sampling_per_token_logps"}
    for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "image_grid_thw"):
        assert torch.equal(result[name], expected[name]), name
    assert nano.model.training


def test_log_probabilities_show_a_sampler_without_the_adapter(
    nano: load.Loaded, trainers: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mean_difference() -> float:
        ours, _stock = trainers(forwards=1)
        torch.manual_seed(0)
        ours._compute_loss(nano.model, ours._prepare_inputs(_rows(ours)))
        [mean] = ours._metrics["train"][agreement.MEAN]
        return float(mean)

    assert mean_difference() < 1e-5
    monkeypatch.setattr(linear, "is_plain_lora", lambda _layer: False)
    monkeypatch.setattr(decoder.Decoder, "_base_of", lambda _self, layer: layer.base_layer)
    assert mean_difference() > 1e-4


def test_pixels_stay_in_main_memory(trainers: Builder) -> None:
    ours, _stock = trainers()

    batch = {"input_ids": torch.zeros(2, 3), "pixel_values": torch.zeros(4, 5), "image_grid_thw": torch.ones(1, 3)}
    ours.args._setup_devices = torch.device("meta")  # what `args.device` returns
    moved = ours._prepare_input(batch)
    assert {name: value.device.type for name, value in moved.items()} == {
        "input_ids": "meta", "pixel_values": "cpu", "image_grid_thw": "meta",
    }  # fmt: skip


def test_log_probs_of_mixed_prompts_equal_those_of_separate_rows(nano: load.Loaded, trainers: Builder) -> None:
    ours, stock = trainers(beta=0.1, num_iterations=2)
    batch = _batch(ours)
    assert {"old_per_token_logps", "ref_per_token_logps"} <= set(batch)
    mixed = unsplit_pixel_values_by_grid(
        row_selection.select_rows(split_pixel_values_by_grid(batch), [0, 5, 1, 9, 4, 10, 2])
    )
    ids, mask = (torch.cat([mixed[f"prompt_{name}"], mixed[f"completion_{name}"]], dim=1) for name in ("ids", "mask"))
    images = {name: mixed[name] for name in ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")}
    completion = mixed["completion_ids"].shape[1]
    with torch.no_grad():
        result = ours._get_per_token_logps_and_entropies(
            nano.model, ids, mask, completion, 3, compute_entropy=True, **images
        )
        expected = stock._get_per_token_logps_and_entropies(
            nano.model, ids, mask, completion, 3, compute_entropy=True, **images
        )
    counted = mixed["completion_mask"].bool()
    for values, expected_values in zip(result[:2], expected[:2], strict=True):
        assert torch.allclose(values[counted], expected_values[counted], atol=1e-4)
    for name in ("old_per_token_logps", "ref_per_token_logps"):  # nothing was trained yet: all three are equal
        assert torch.allclose(result[0][counted], mixed[name][counted], atol=1e-4)
    assert result[0][counted].min() < -0.1


def test_no_row_is_skipped_if_the_recipe_or_a_kl_term_forbids_it(trainers: Builder) -> None:
    for settings in ({"skip_zero_variance_groups": False}, {"beta": 0.1}):
        ours, _stock = trainers(reward=_nothing, **settings)
        assert not ours._prepare_inputs(_rows(ours))["skipped"].any()


def test_a_step_without_variance_needs_no_forward_pass_and_has_no_gradient(
    nano: load.Loaded, trainers: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _stock = trainers(reward=_nothing)
    inputs = ours._prepare_inputs(_rows(ours))
    assert inputs["skipped"].all()
    assert ours._metrics["train"]["trained"] == [0.0]

    def never(*_arguments: Any, **_named: Any) -> None:
        raise AssertionError("a forward pass without a gradient")

    monkeypatch.setattr(nano.model, "forward", never)
    loss = ours._compute_loss(nano.model, inputs)
    assert loss.item() == 0
    assert _gradient(nano.model, [loss]).abs().max() == 0  # zeros instead of None: momentum decays as in TRL


def test_groups_whose_variance_is_a_rounding_error_count_as_zero_variance(trainers: Builder) -> None:
    ours, _stock = trainers(reward=_nothing)
    for value in (0.3, 1.3, 0.1 + 0.2 + 1.0):
        ours.reward_funcs[0] = lambda row, value=value, **_: [value] * len(row)
        ours._step, ours._buffered_inputs = 0, None
        ours._prepare_inputs(_rows(ours))
        assert ours._metrics["train"]["frac_reward_zero_std"][-1] == 1.0


def test_the_settings_of_the_recipe_are_passed_to_the_trainer(trainers: Builder) -> None:
    ours, _stock = trainers(
        epsilon=0.1,
        epsilon_high=0.3,
        num_iterations=2,
        mask_truncated_completions=False,
        multi_objective_aggregation="normalize_then_sum",
    )
    config: GRPOConfig = ours.args
    assert (config.epsilon, config.epsilon_high, config.num_iterations) == (0.1, 0.3, 2)
    assert config.mask_truncated_completions is False
    assert config.multi_objective_aggregation == "normalize_then_sum"
    assert ours.sampler.sampling.end_ids == ours.eos_token_ids


def test_a_group_that_is_divided_into_batches_has_the_same_prompts(trainers: Builder) -> None:
    ours, stock = trainers()
    ours.sampler.rows_per_generate = GROUP
    assert torch.equal(_batch(ours)["prompt_ids"], _batch(stock)["prompt_ids"])


@pytest.mark.parametrize("load_in", ["4bit", "16bit"])
def test_vllm_is_an_error_before_anything_is_loaded(load_in: str) -> None:
    error = device.unsupported_error(load_recipe("rarl", ["model.rollout=vllm", f"model.load_in={load_in}"], nano=True))
    assert isinstance(error, RecipeError)
    assert ("4-bit" if load_in == "4bit" else "images") in error.what
    assert "model.rollout=auto" in error.fix
    assert device.unsupported_error(load_recipe("rarl", nano=True)) is None


def test_a_stop_waits_for_the_last_step_on_the_same_completions() -> None:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    stop = callbacks.StopSignal(None)
    stop.reason = "SIGINT"
    callback = callbacks.RunCallback(run=None, stop=stop, report=lambda *_: None, steps_per_batch=2)  # type: ignore[arg-type]  # not used
    for step, stops in ((3, False), (4, True), (10, False)):
        control, state = TrainerControl(), TrainerState(global_step=step, max_steps=10)
        callback.on_step_end(TrainingArguments(use_cpu=True), state, control)
        assert (control.should_training_stop, control.should_save) == (stops, stops)


def test_questions_with_and_without_images_are_scored_in_one_batch_as_alone(nano: load.Loaded, tmp_path: Path) -> None:
    """TRL passes None for the images of a question without any, which processors refuse."""
    method = _method(skip_zero_variance_groups=False)
    with_image, bare, other = phantom.samples("train", 3)
    samples = [with_image, replace(bare, images=()), other]
    rows = [training_data.TrainingRow(sample, 0) for sample in samples]
    dataset = training_data.as_dataset(rows, FAMILY, phantom.open_image, nano.policy, with_completion=False)
    common = {
        "output_dir": str(tmp_path), "max_steps": 1, "use_cpu": True, "report_to": "none", "bf16": False,
        "per_device_train_batch_size": method.rows_per_step, "gradient_accumulation_steps": 1,
        "gradient_checkpointing": False, "remove_unused_columns": False, "disable_tqdm": True,
    }  # fmt: skip
    trainer: Any = grpo.build_trainer(method, nano, dataset, [_nothing], common, Batch(1, QUESTIONS * GROUP, False))
    trainer.current_gradient_accumulation_steps = 1
    nano.model.train()
    batch = row_selection.split_images_by_row(_batch(trainer), GROUP)
    assert [len(grid) for grid in batch["image_grid_thw"]] == [1] * GROUP + [0] * GROUP + [1] * GROUP

    def scored(numbers: list[int]) -> torch.Tensor:
        selected = row_selection.select_rows(
            {name: value for name, value in batch.items() if _is_by_row(value)}, numbers
        )
        ids = torch.cat([selected["prompt_ids"], selected["completion_ids"]], dim=1)
        mask = torch.cat([selected["prompt_mask"], selected["completion_mask"]], dim=1)
        images = {name: selected[name] for name in ("pixel_values", "image_grid_thw", "mm_token_type_ids")}
        width = selected["completion_ids"].shape[1]
        values: torch.Tensor = trainer._get_per_token_logps_and_entropies(nano.model, ids, mask, width, **images)[0]
        return values.detach()

    together = scored(list(range(QUESTIONS * GROUP)))
    alone = torch.cat([scored([number]) for number in range(QUESTIONS * GROUP)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def _is_by_row(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, torch.Tensor) and value.ndim > 0)
