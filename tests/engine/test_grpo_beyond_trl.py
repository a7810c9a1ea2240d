"""Settings of GRPO that TRL's trainer does not have: groups that are replaced, and references in the forward pass."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from trl.trainer.utils import unsplit_pixel_values_by_grid

from lowmed import prompt
from lowmed.engine import device, grpo, grpo_trainer, load, patches, references, row_selection, training_data
from lowmed.methods import GrpoSpec
from lowmed.nano import phantom
from lowmed.plan.workload import Batch
from lowmed.recipe import LoraSpec, ModelSpec

FAMILY = prompt.family("reasoning")
MODEL = ModelSpec(name="nano", load_in="16bit")
QUESTIONS, GROUP, SCHEDULED = 3, 4, 6
REFERENCE_REWARD = 1.5
Build = Callable[..., Any]


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


@pytest.fixture
def build(nano: load.Loaded, tmp_path: Path) -> Iterator[Build]:
    """The trainer of some settings and of a reward, for two steps of three questions."""

    def trainer(reward: Any, forwards: int = 2, **settings: Any) -> Any:
        method = GrpoSpec(
            **{
                "kind": "grpo", "num_generations": GROUP, "prompts_per_step": QUESTIONS, "max_completion_length": 40,
                "max_steps": 2, "rewards": [{"name": "accuracy"}], **settings,
            }
        )  # fmt: skip
        samples = phantom.samples("train", 9)
        rows = training_data.schedule(samples, SCHEDULED + method.spare_draws, len(FAMILY.wordings), 0)
        dataset = training_data.as_dataset(rows, FAMILY, phantom.open_image, nano.policy, with_completion=False)
        common = {
            "output_dir": str(tmp_path), "max_steps": method.max_steps, "use_cpu": True, "report_to": "none",
            "per_device_train_batch_size": method.rows_per_step // forwards, "gradient_accumulation_steps": forwards,
            "gradient_checkpointing": False, "bf16": False, "remove_unused_columns": False, "disable_tqdm": True,
        }  # fmt: skip
        made: Any = grpo.build_trainer(method, nano, dataset, [reward], common, Batch(1, QUESTIONS * GROUP, False))
        made.current_gradient_accumulation_steps = forwards
        made.rows = rows
        nano.model.train()
        torch.manual_seed(0)
        return made

    yield trainer


def _parts(trainer: Any, forwards: int = 2) -> list[dict[str, Any]]:
    examples = [trainer.train_dataset[question] for question in range(QUESTIONS) for _ in range(GROUP)]
    parts = []
    for step in range(forwards):
        trainer._step = step
        parts.append(trainer._prepare_inputs(examples))
    return parts


def _gradient(model: Any, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    torch.autograd.backward(loss)
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.requires_grad])


def _spread(row: list[int], completion_ids: list[list[int]], **_: Any) -> list[float | None]:
    """Different for each completion, except for scheduled questions 0 and 2."""
    return [
        0.5 if number in (0, 2) else len(ids) + place / 7
        for place, (number, ids) in enumerate(zip(row, completion_ids, strict=True))
    ]


def test_groups_without_variance_are_replaced_by_groups_of_spare_questions(nano: load.Loaded, build: Build) -> None:
    trainer = build(_spread, dynamic_sampling=1)
    parts = _parts(trainer)
    rows = [row for part in parts for row in part["row"]]
    assert sorted(rows) == sorted([1, SCHEDULED, SCHEDULED + 1] * GROUP)
    metrics = trainer._metrics["train"]
    assert metrics["dynamic_sampling/extra_completions"] == [2 * GROUP]
    assert metrics["dynamic_sampling/replaced_groups"] == [2]
    assert metrics["frac_reward_zero_std"] == [0]
    assert len(metrics["reward"]) == 1  # of the scheduled questions alone
    ours = _gradient(nano.model, torch.stack([trainer._compute_loss(nano.model, part) for part in parts]).sum())

    merged = [
        {name: torch.cat([part[name] for part in parts]) if isinstance(part[name], torch.Tensor) and part[name].ndim
         else part[name] if isinstance(part[name], torch.Tensor) else [*parts[0][name], *parts[1][name]]
         for name in part if name != "skipped"}
        for part in parts[:1]
    ]  # fmt: skip
    stock = unsplit_pixel_values_by_grid(merged[0])
    assert stock["num_items_in_batch"] == stock["completion_mask"].sum()
    trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation = 1
    loss = super(grpo_trainer.SharedPrefixTrainer, trainer)._compute_loss(nano.model, stock)
    expected = _gradient(nano.model, loss)
    assert (ours - expected).norm() < 1e-4 * expected.norm()


def test_a_batch_has_its_own_spare_questions_and_rounds_are_limited(build: Build) -> None:
    trainer = build(lambda row, **_: [0.5] * len(row), dynamic_sampling=2)
    trainer.state.global_step = 1
    drawn: list[int] = []
    scored = trainer._scored

    def recorded(examples: list[dict[str, Any]]) -> dict[str, Any]:
        drawn.extend(example["row"] for example in examples[::GROUP])
        return dict(scored(examples))

    trainer._scored = recorded
    parts = _parts(trainer)
    first = SCHEDULED + 2 * QUESTIONS  # the spare questions before belong to the first step
    assert drawn == [0, 1, 2, *range(first, first + 2 * QUESTIONS)]
    assert sorted(row for part in parts for row in part["row"]) == sorted([0, 1, 2] * GROUP)  # none was better
    assert all(part["skipped"].all() for part in parts)


def test_a_batch_with_images_takes_a_group_without() -> None:
    def batch(rows: int, prompt_length: int, completion: int, images: bool) -> dict[str, Any]:
        values: dict[str, Any] = {
            "prompt_ids": torch.full((rows, prompt_length), 7), "prompt_mask": torch.ones(rows, prompt_length),
            "completion_ids": torch.full((rows, completion), 8), "completion_mask": torch.ones(rows, completion),
            "advantages": torch.arange(rows).float(), "row": list(range(rows)), "num_items_in_batch": torch.tensor(3),
        }  # fmt: skip
        if images:
            values["mm_token_type_ids"] = torch.ones(rows, prompt_length + completion)
            values |= {"pixel_values": [torch.ones(4, 6)] * rows, "image_grid_thw": [torch.ones(1, 3)] * rows}
            values["num_images"] = [1] * rows
        return values

    result = row_selection.replace_groups(batch(4, 5, 2, True), batch(2, 3, 4, False), {1: 0}, 2, pad_token=9)
    assert result["prompt_ids"].tolist() == [[7] * 5] * 2 + [[9, 9, 7, 7, 7]] * 2
    assert result["prompt_mask"].tolist() == [[1] * 5] * 2 + [[0, 0, 1, 1, 1]] * 2
    assert result["completion_ids"].tolist() == [[8, 8, 9, 9]] * 2 + [[8] * 4] * 2
    assert result["mm_token_type_ids"].tolist() == [[1] * 7 + [0, 0]] * 2 + [[0] * 9] * 2
    assert [len(pixels) for pixels in result["pixel_values"]] == [4, 4, 0, 0]
    assert result["num_images"] == [1, 1, 0, 0]
    assert result["row"] == [0, 1, 0, 1]
    assert row_selection.replace_groups(batch(2, 3, 4, False), batch(2, 5, 2, True), {0: 0}, 2, 9)["row"] == [0, 1]


def _reference_of(trainer: Any, loaded: load.Loaded) -> Callable[[int], tuple[list[int], float] | None]:
    """The reference completions of the questions, except of question 1."""

    def of(number: int) -> tuple[list[int], float] | None:
        text = prompt.training_completion(FAMILY, trainer.rows[number].sample)
        ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"] + [loaded.end_ids[0]]
        return None if number == 1 else (ids, REFERENCE_REWARD)

    return of


def _log_probs(loaded: load.Loaded, trainer: Any, number: int, ids: list[int]) -> torch.Tensor:
    """The log-probabilities of a completion by the model's own forward pass, one row at a time."""
    example = trainer.train_dataset[number]
    text = loaded.processor.apply_chat_template(example["prompt"], tokenize=False, add_generation_prompt=True)
    encoded = dict(loaded.processor(text=[text], images=[example["images"]], return_tensors="pt"))
    completion = torch.tensor([ids])
    kinds = torch.cat([encoded.pop("mm_token_type_ids"), torch.zeros_like(completion)], dim=1)
    encoded["input_ids"] = torch.cat([encoded["input_ids"], completion], dim=1)
    encoded["attention_mask"] = torch.ones_like(encoded["input_ids"])
    logits = loaded.model(**encoded, mm_token_type_ids=kinds).logits[0, -len(ids) - 1 : -1]
    values: torch.Tensor = logits.log_softmax(-1).gather(1, completion[0][:, None])[:, 0]
    return values


MIXES: dict[str, dict[str, Any]] = {
    "sum": {"kind": "sum", "weight": 0.3},
    "chord": {"kind": "chord", "peak": 0.6, "valley": 0.2, "decay_steps": 4},
    "chord with token weights": {"kind": "chord", "peak": 0.6, "valley": 0.6, "token_weights": True},
    "luffy": {"kind": "luffy", "gamma": 0.1},
    "luffy of Dr.GRPO": {"kind": "luffy", "gamma": 0.2},
}


@pytest.mark.parametrize("name", MIXES)
def test_loss_and_gradient_equal_the_formula(name: str, nano: load.Loaded, build: Build) -> None:
    settings: dict[str, Any] = {
        "loss_type": "dr_grpo" if "Dr." in name else "dapo",
        "scale_rewards": "none" if "Dr." in name else "group",
        "skip_zero_variance_groups": name != "chord",
    }
    trainer = build(_spread, mix=MIXES[name], **settings)
    trainer.references = _reference_of(trainer, nano)
    trainer.state.global_step = 2
    parts = _parts(trainer)
    losses = [trainer._compute_loss(nano.model, part) for part in parts]
    ours = _gradient(nano.model, torch.stack(losses).sum())

    rewards: dict[int, list[float]] = {}
    for part in parts:
        for number, reward in zip(part["row"], part["rewards"].tolist(), strict=True):
            rewards.setdefault(number, []).append(reward)
    sampled_tokens = parts[0]["completion_mask"].sum() + parts[1]["completion_mask"].sum()
    of_references = {
        number: _log_probs(nano, trainer, number, one[0]) for number in (0, 2) if (one := trainer.references(number))
    }
    tokens = sum(len(values) for values in of_references.values())
    plain = build(_spread, **settings)
    of_sampled = torch.stack([plain._compute_loss(nano.model, part) for part in _parts(plain)]).sum()
    if name == "sum":
        expected = of_sampled - 0.3 * sum(values.sum() for values in of_references.values()) / tokens
    elif name.startswith("chord"):
        mu = 0.6 if "token" in name else 0.4  # half of the way from 0.6 to 0.2
        factors = {
            number: (values.exp() * (1 - values.exp())).detach() if "token" in name else torch.ones_like(values)
            for number, values in of_references.items()
        }
        total = sum((factors[number] * values).sum() for number, values in of_references.items())
        expected = (1 - mu) * of_sampled - mu * total / tokens
    else:
        gamma = MIXES[name]["gamma"]
        # The rewards of both groups are 0.5, so that their standard deviation counts as 1.
        assert rewards[0] == rewards[2] == [0.5] * GROUP
        advantage = REFERENCE_REWARD - 0.5
        total = sum((values.exp() / (values.exp() + gamma) * advantage).sum() for values in of_references.values())
        if "Dr." in name:
            rows = QUESTIONS * GROUP
            share, divisor = rows / (rows + 2), float((rows + 2) * 40)
        else:
            share, divisor = float(sampled_tokens / (sampled_tokens + tokens)), float(sampled_tokens + tokens)
        expected = share * of_sampled - total / divisor
    assert torch.stack(losses).sum().item() == pytest.approx(expected.item(), abs=1e-5)
    result = _gradient(nano.model, expected)
    assert (ours - result).norm() < 2e-3 * result.norm()


def test_a_reference_is_compared_with_its_group() -> None:
    group = torch.tensor([0.0, 1.0, 1.0, torch.nan])
    assert references._advantage(1.0, group, True).item() == pytest.approx((1 / 3) / group[:3].std().item())
    assert references._advantage(1.0, group, False).item() == pytest.approx(1 / 3)
    assert references._advantage(0.7, torch.full((3,), 0.2), True).item() == pytest.approx(0.5)
    assert references._advantage(0.7, torch.full((3,), torch.nan), True).item() == 0
