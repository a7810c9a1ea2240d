"""The GRPO trainer against TRL's own: the same losses and gradients from fewer and shorter forward passes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import split_pixel_values_by_grid, split_tensor_dict, unsplit_pixel_values_by_grid

from lowmed import prompt
from lowmed.engine import callbacks, device, grpo, grpo_batch, load, training_data
from lowmed.engine.prefix import sampling
from lowmed.engine.prefix.logprobs import use_plain_torch
from lowmed.errors import RecipeError
from lowmed.nano import phantom
from lowmed.recipe import GrpoSpec, LoraSpec, ModelSpec
from lowmed.recipe.io import load_recipe

FAMILY = prompt.family("diverse")
MODEL = ModelSpec(name="nano", load_in="16bit")
QUESTIONS, GROUP = 3, 4
LOSSES = ("dapo", "grpo", "dr_grpo", "bnpo")


@pytest.fixture(scope="module")
def nano() -> load.Loaded:
    """nano in 32 bits, its adapter already somewhere."""
    machine_here = device.find_device(MODEL)
    loaded = load.with_trainable_adapter(load.load_base(MODEL, machine_here), LoraSpec(), "nano")
    use_plain_torch()
    torch.manual_seed(3)
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0.0, 0.02)
    return loaded


def _method(**settings: Any) -> GrpoSpec:
    given = {
        "kind": "grpo", "num_generations": GROUP, "prompts_per_step": QUESTIONS, "max_completion_length": 28, "max_steps": 4,
        "rewards": [{"name": "accuracy"}],
    }  # fmt: skip
    return GrpoSpec(**{**given, **settings})


def _settles_the_first(row: list[int], completion_ids: list[list[int]], **_: Any) -> list[float | None]:
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
        reward: Any = _settles_the_first, forwards: int = 2, gradient_checkpointing: bool = False, **settings: Any
    ) -> tuple[Any, Any]:
        method = _method(**settings)
        turns = training_data.schedule(phantom.samples("train", 8), 12, len(FAMILY.wordings), 0)
        dataset = training_data.as_dataset(turns, FAMILY, phantom.picture, nano.policy, with_reference=False)
        common = {
            "output_dir": str(tmp_path), "max_steps": method.max_steps, "use_cpu": True, "report_to": "none",
            "per_device_train_batch_size": method.rows_per_step // forwards, "gradient_accumulation_steps": forwards,
            "gradient_checkpointing": gradient_checkpointing, "bf16": False, "remove_unused_columns": False,
            "disable_tqdm": True,
        }  # fmt: skip
        ours: Any = grpo.build_trainer(method, nano, dataset, [reward], common, QUESTIONS * GROUP)
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


def _made(trainer: Any, seed: int = 0) -> dict[str, Any]:
    """One batch of completions, by TRL's own code around what the trainer replaces."""
    torch.manual_seed(seed)
    made: dict[str, Any] = trainer._generate_and_score_completions(_rows(trainer))
    return made


def _parts(made: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """A batch in equal parts, by TRL's own code."""
    return [unsplit_pixel_values_by_grid(part) for part in split_tensor_dict(split_pixel_values_by_grid(made), count)]


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_gradient_are_those_of_trl(
    loss: str, gradient_checkpointing: bool, nano: load.Loaded, trainers: Builder
) -> None:
    forwards = 1 if loss == "bnpo" else 2  # bnpo's divisor is the forward pass's own, so that the cut of rows matters
    ours, stock = trainers(loss_type=loss, forwards=forwards, gradient_checkpointing=gradient_checkpointing)
    assert ours.gradient_checkpointing == gradient_checkpointing
    assert not ours.args.gradient_checkpointing  # TRL's would send a gradient through the tower
    made = _made(stock)
    lengths = made["completion_mask"].sum(dim=1)
    assert 0 < (lengths[GROUP:] == 0).sum() < 2 * GROUP  # some completions were cut, some not, beside the settled group
    expected_losses = [stock._compute_loss(nano.model, part) for part in _parts(made, forwards)]
    expected = _gradient(nano.model, expected_losses)

    torch.manual_seed(0)
    ours._step, ours._buffered_inputs = 0, None
    parts = []
    for step in range(forwards):
        ours._step = step
        parts.append(ours._prepare_inputs(_rows(ours)))
    kept = torch.cat([~part["idle"] for part in parts])
    assert kept.sum() < 2 * GROUP
    losses = [ours._compute_loss(nano.model, part) for part in parts]
    result = _gradient(nano.model, losses)
    assert torch.stack(losses).sum().item() == pytest.approx(torch.stack(expected_losses).sum().item(), abs=1e-7)
    # A settled group's advantages are not quite 0 in TRL but rounding over 1e-4.
    assert (result - expected).norm() < 1e-3 * expected.norm()
    assert expected.norm() > 1e-3


def test_a_model_that_is_not_known_is_trained_by_trls_own_trainer_and_that_is_said(
    nano: load.Loaded, trainers: Builder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = sampling.unwrapped(nano.model).config.text_config
    monkeypatch.setattr(config, "layer_types", ["sliding_attention"] * len(config.layer_types))
    ours, stock = trainers(gradient_checkpointing=True)
    assert type(ours) is GRPOTrainer
    assert ours.args.gradient_checkpointing and stock.args.gradient_checkpointing
    assert "the layers of a qwen2_vl are not known" in caplog.text


@pytest.mark.parametrize("loss", LOSSES)
def test_both_steps_on_the_same_replies_are_those_of_trl(loss: str, nano: load.Loaded, trainers: Builder) -> None:
    forwards = 1 if loss == "bnpo" else 2
    ours, stock = trainers(loss_type=loss, forwards=forwards, num_iterations=2, epsilon=0.01)
    made = _made(stock)
    torch.manual_seed(0)
    ours._step, ours._buffered_inputs = 0, None
    before = [weight.detach().clone() for weight in nano.model.parameters() if weight.requires_grad]
    try:
        for step in range(2):
            stock_losses = [stock._compute_loss(nano.model, part) for part in _parts(made, forwards)]
            expected = _gradient(nano.model, stock_losses)
            parts = []
            for forward in range(forwards):
                ours._step = step * forwards + forward
                parts.append(ours._prepare_inputs(_rows(ours)))
            assert 0 < sum(int(part["idle"].sum()) for part in parts) < QUESTIONS * GROUP
            losses = [ours._compute_loss(nano.model, part) for part in parts]
            result = _gradient(nano.model, losses)
            assert torch.stack(losses).sum().item() == pytest.approx(torch.stack(stock_losses).sum().item(), abs=2e-6)
            # A settled group's advantages are not quite 0 in TRL but rounding over 1e-4.
            assert (result - expected).norm() < 1e-3 * expected.norm()
            assert expected.norm() > 1e-4
            clipped = stock._metrics["train"]["clip_ratio/region_mean"][-forwards:]
            assert (max(clipped) > 0) == (step == 1)  # ratios left 1, so that the old log-probabilities matter
            _move(nano.model)
    finally:
        for weight, value in zip((w for w in nano.model.parameters() if w.requires_grad), before, strict=True):
            weight.data.copy_(value)


def _move(model: Any) -> None:
    """As an optimizer step would."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(5)), alpha=2e-2)


def test_the_same_replies_are_drawn(nano: load.Loaded, trainers: Builder) -> None:
    ours, stock = trainers()
    result, expected = _made(ours, seed=11), _made(stock, seed=11)
    assert set(result) == set(expected)
    for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "image_grid_thw"):
        assert torch.equal(result[name], expected[name]), name
    assert nano.model.training


def test_scores_of_mixed_prompts_are_those_of_whole_rows(nano: load.Loaded, trainers: Builder) -> None:
    ours, stock = trainers(beta=0.1, num_iterations=2)
    made = _made(ours)
    assert {"old_per_token_logps", "ref_per_token_logps"} <= set(made)
    mixed = unsplit_pixel_values_by_grid(
        grpo_batch.select_rows(split_pixel_values_by_grid(made), [0, 5, 1, 9, 4, 10, 2])
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
    for mine, theirs in zip(result[:2], expected[:2], strict=True):
        assert torch.allclose(mine[counted], theirs[counted], atol=1e-4)
    for name in ("old_per_token_logps", "ref_per_token_logps"):  # nothing was trained yet: all three are one
        assert torch.allclose(result[0][counted], mixed[name][counted], atol=1e-4)
    assert result[0][counted].min() < -0.1


def test_nothing_is_left_out_where_the_recipe_or_a_kl_term_forbids_it(trainers: Builder) -> None:
    for settings in ({"skip_zero_variance_groups": False}, {"beta": 0.1}):
        ours, _stock = trainers(reward=_nothing, **settings)
        assert not ours._prepare_inputs(_rows(ours))["idle"].any()


def test_an_update_without_spread_costs_no_forward_and_gives_no_gradient(
    nano: load.Loaded, trainers: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _stock = trainers(reward=_nothing)
    inputs = ours._prepare_inputs(_rows(ours))
    assert inputs["idle"].all()
    assert ours._metrics["train"]["trained"] == [0.0]

    def never(*_arguments: Any, **_named: Any) -> None:
        raise AssertionError("a forward pass that moves nothing")

    monkeypatch.setattr(nano.model, "forward", never)
    loss = ours._compute_loss(nano.model, inputs)
    assert loss.item() == 0
    assert _gradient(nano.model, [loss]).abs().max() == 0  # zeros and not None: momentum moves on as in TRL


def test_groups_that_trl_takes_for_spread_are_counted_as_settled(trainers: Builder) -> None:
    ours, _stock = trainers(reward=_nothing)
    for value in (0.3, 1.3, 0.1 + 0.2 + 1.0):
        ours.reward_funcs[0] = lambda row, value=value, **_: [value] * len(row)
        ours._step, ours._buffered_inputs = 0, None
        ours._prepare_inputs(_rows(ours))
        assert ours._metrics["train"]["frac_reward_zero_std"][-1] == 1.0


def test_the_recipe_reaches_the_trainer(trainers: Builder) -> None:
    ours, _stock = trainers(
        epsilon=0.1,
        epsilon_high=0.3,
        num_iterations=2,
        mask_truncated_completions=False,
        multi_objective_aggregation="normalize_then_sum",
    )
    given: GRPOConfig = ours.args
    assert (given.epsilon, given.epsilon_high, given.num_iterations) == (0.1, 0.3, 2)
    assert given.mask_truncated_completions is False
    assert given.multi_objective_aggregation == "normalize_then_sum"
    assert ours.sampling.end_ids == ours.eos_token_ids


def test_a_prompt_that_is_cut_into_chunks_is_read_once_a_chunk(trainers: Builder) -> None:
    ours, stock = trainers()
    ours.rows_per_generate = GROUP
    assert torch.equal(_made(ours)["prompt_ids"], _made(stock)["prompt_ids"])


@pytest.mark.parametrize("load_in", ["4bit", "16bit"])
def test_vllm_is_refused_before_anything_is_loaded(load_in: str) -> None:
    refused = device.unsupported_error(
        load_recipe("rarl", ["model.rollout=vllm", f"model.load_in={load_in}"], nano=True)
    )
    assert isinstance(refused, RecipeError)
    assert ("4-bit" if load_in == "4bit" else "images") in refused.what
    assert "model.rollout=transformers" in refused.fix
    assert device.unsupported_error(load_recipe("rarl", nano=True)) is None


def test_a_stop_waits_for_the_last_step_on_the_same_replies() -> None:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    stop = callbacks.StopSignal(None)
    stop.reason = "SIGINT"
    watcher = callbacks.RunCallback(run=None, stop=stop, report=lambda *_: None, iterations=2)  # type: ignore[arg-type]  # not asked
    for update, stops in ((3, False), (4, True), (10, False)):
        control, state = TrainerControl(), TrainerState(global_step=update, max_steps=10)
        watcher.on_step_end(TrainingArguments(use_cpu=True), state, control)
        assert (control.should_training_stop, control.should_save) == (stops, stops)
