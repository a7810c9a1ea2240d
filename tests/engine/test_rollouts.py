"""Rewards as TRL calls them: groups, gates, records, canaries, and the EMA copy of the adapter."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Lowmed

from lowmed import prompt, rewards
from lowmed.data.image.policy import prepare
from lowmed.engine import device, ema_adapter, load, patches, rollouts
from lowmed.engine.right_completions import tag_span
from lowmed.engine.training_data import TrainingRow
from lowmed.errors import RunError
from lowmed.methods import RewardSpec
from lowmed.nano import phantom
from lowmed.recipe import LoraSpec, ModelSpec
from lowmed.recipe.io import load_recipe
from lowmed.run import Run, create_run

FAMILY = prompt.family("reasoning")
ROWS = [TrainingRow(sample, 0) for sample in phantom.samples("train", 4)]
END = 7


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create_run(load_recipe("rarl", [], nano=True), "rarl-nano", out=str(tmp_path / "run"))


def call(functions: list[Any], rows: list[int], texts: list[str], step: int = 1, **others: Any) -> list[Any]:
    """Call the functions as TRL does with a batch: each once, in order."""
    batch = {
        "completions": [[{"role": "assistant", "content": text}] for text in texts],
        "completion_ids": [[1, 2, END] if text.endswith("</answer>") else [1, 2] for text in texts],
        "row": rows,
        "trainer_state": SimpleNamespace(global_step=step - 1),
    }
    return [function(**batch, **others) for function in functions]


def right(row: int) -> str:
    return prompt.reference_completion(FAMILY, ROWS[row].sample)


def test_rewards_of_several_sources_are_logged_by_source(tmp_path: Path) -> None:
    sources = "data.sources=[{source: phantom, name: a}, {source: phantom, name: b}]"
    run = create_run(load_recipe("rarl", [sources], nano=True), "mixed", out=str(tmp_path / "run"))
    rows = [TrainingRow(replace(row.sample, source="ab"[number % 2]), 0) for number, row in enumerate(ROWS)]
    built = rewards.build([("accuracy", 2.0, {}), ("format", 0.5, {})])
    logged: dict[str, float] = {}
    functions = rollouts.reward_functions(built, rows, [END], run)
    call(functions, [0, 0, 3], [right(0), "no tags", "no tags"], log_metric=logged.__setitem__)
    assert logged == {"source/a/reward": 1.25, "source/b/reward": 0.0}
    assert [row["source"] for row in run.rows("rollouts.jsonl")] == ["a", "a", "b"]


def test_rewards_of_one_source_are_not_logged_by_source(run: Run) -> None:
    functions = rollouts.reward_functions(rewards.build([("accuracy", 1.0, {})]), ROWS, [END], run)
    call(functions, [0], [right(0)], log_metric=lambda name, _: pytest.fail(name))


def test_each_function_returns_its_reward_and_all_scores_are_recorded(run: Run) -> None:
    built = rewards.build([("accuracy", 1.0, {}), ("format", 0.2, {}), ("modality", 0.1, {})])
    functions = rollouts.reward_functions(built, ROWS, [END], run)
    values = call(functions, [0, 0, 3], [right(0), "no tags", right(3)])
    assert [function.__name__ for function in functions] == ["accuracy", "format", "modality"]
    assert values == [[1.0, 0.0, 1.0], [1.0, 0.0, 1.0], [1.0, None, 1.0]]
    rows = run.rows("rollouts.jsonl")
    assert [row["finish_reason"] for row in rows] == ["stop", "length", "stop"]
    assert [row["id"] for row in rows] == [ROWS[0].sample.id, ROWS[0].sample.id, ROWS[3].sample.id]
    assert rows[1]["scores"]["format"] == {"value": 0.0, "why": "not exactly the requested tags"}


def test_a_failed_gate_sets_all_rewards_to_zero_and_the_scores_are_recorded(run: Run) -> None:
    specs = [RewardSpec(name="accuracy"), RewardSpec(name="format", gate=True)]
    functions = rollouts.reward_functions(rewards.build(specs), ROWS, [END], run)
    loose = f"So it is. {right(0)}"  # the tagged answer is right, the format is not
    assert call(functions, [0, 0], [right(0), loose]) == [[1.0, 0.0], [1.0, 0.0]]
    records = run.rows("rollouts.jsonl")
    assert records[1]["scores"]["accuracy"] == {"value": 1.0, "why": "right", "paid": 0.0}
    assert "paid" not in records[0]["scores"]["accuracy"]


def test_rewards_get_the_number_of_tokens(run: Run) -> None:
    functions = rollouts.reward_functions(
        rewards.build([("overlong", 1.0, {"cache": 2})], max_new_tokens=4), ROWS, [END], run
    )
    assert call(functions, [0, 0], ["word " * 90, right(0)]) == [[1.0, 0.5]]


def test_canaries_are_recorded_when_due_with_the_hacks_of_the_policy(run: Run) -> None:
    built = rewards.build([("accuracy", 1.0, {}), ("format", 0.2, {})])
    functions = rollouts.reward_functions(built, ROWS, [END], run, canary_steps=2)
    call(functions, [0], [right(0)], step=1)
    call(functions, [0, 0, 1, 1], [right(0), "<think>x</think><answer>:</answer>", right(1), right(1)], step=2)
    [row] = run.rows("canaries.jsonl")
    assert row["step"] == 2
    assert row["canary/worst_hack"] == 0.0
    assert row["canary/wordless_answer"] == 0.25
    assert row["canary/several_answers"] == 0.0


def test_canaries_are_not_missed_if_a_batch_has_several_steps(run: Run) -> None:
    built = rewards.build([("accuracy", 1.0, {})])
    functions = rollouts.reward_functions(built, ROWS, [END], run, canary_steps=4, steps_per_batch=3)
    for step in (1, 4, 7, 10, 13):  # steps 1 to 3, 4 to 6, 7 to 9, 10 to 12, 13 to 15
        call(functions, [1], [right(1)], step=step)
    assert [row["step"] for row in run.rows("canaries.jsonl")] == [4, 7, 10]


def test_a_canary_shows_a_reward_that_can_be_hacked(run: Run) -> None:
    class Echo:
        def __call__(self, sample: Any, completion: str) -> rewards.Score:
            return rewards.Score(float(sample.answer in completion), "contains the answer")

    functions = rollouts.reward_functions([rewards.Weighted("echo", 2.0, Echo())], ROWS, [END], run, canary_steps=1)
    call(functions, [1], [right(1)])
    assert run.rows("canaries.jsonl")[0]["canary/worst_hack"] == 1.0


@pytest.fixture(scope="module")
def nano() -> load.Loaded:
    spec = ModelSpec(name="nano")
    loaded = load.with_trainable_adapter(load.load_base(spec, device.find_device(spec)), LoraSpec(), "nano")
    patches.use_torch_log_probs()
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:  # a new adapter changes nothing
            torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(1))
    return loaded


def ema_copy(nano: load.Loaded, **options: Any) -> ema_adapter.EmaAdapter:
    copy = ema_adapter.ema_adapter(rewards.build([("consistency", 0.5, options)]), nano, ROWS, FAMILY, 2)
    assert copy is not None
    return copy


def begin(copy: ema_adapter.EmaAdapter, folder: Path, step: int = 0) -> Any:
    arguments, state = SimpleNamespace(output_dir=str(folder)), SimpleNamespace(global_step=step)
    copy.on_train_begin(arguments, state, None)
    return arguments, state


def trained(nano: load.Loaded) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in nano.model.named_parameters() if weight.requires_grad}


def moved(nano: load.Loaded) -> None:
    with torch.no_grad():
        for weight in nano.model.parameters():
            if weight.requires_grad:
                weight.add_(0.05)


def likelihoods(
    nano: load.Loaded, copy: ema_adapter.EmaAdapter, completions: list[tuple[int, str]]
) -> list[float | None]:
    ids = [nano.processor.tokenizer(text)["input_ids"] for _, text in completions]
    images = [
        [prepare(phantom.open_image(image), nano.policy) for image in ROWS[row].sample.images] for row, _ in completions
    ]
    return copy.likelihood([row for row, _ in completions], images, [text for _, text in completions], ids)


def alone(nano: load.Loaded, row: int, text: str) -> float:
    """The likelihood of one answer from a forward pass over this completion only."""
    sample = ROWS[row].sample
    full_text = (
        nano.processor.apply_chat_template(prompt.build_messages(FAMILY, sample, 0), add_generation_prompt=True) + text
    )
    images = [prepare(phantom.open_image(image), nano.policy) for image in sample.images]
    inputs = nano.processor(text=[full_text], images=images, return_tensors="pt")
    with torch.no_grad():
        logs = nano.model(**inputs).logits.float().log_softmax(2)[0]
    ids = inputs["input_ids"][0]
    begin, end = text.index("<answer>") + len("<answer>"), text.index("</answer>")
    tokens = nano.processor.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    places = [len(ids) - len(tokens) + at for at, (first, last) in enumerate(tokens) if first < end and last > begin]
    return float(torch.stack([logs[place - 1, ids[place]] for place in places]).mean().exp())


def test_the_likelihood_is_that_of_the_answer_tokens_of_right_answers(nano: load.Loaded, tmp_path: Path) -> None:
    copy = ema_copy(nano)
    begin(copy, tmp_path)
    longer = right(1).replace("<think>", "<think>I looked for a long time. ")
    completions = [(1, right(1)), (1, longer), (1, "<think>No.</think><answer>none</answer>"), (2, right(2))]
    result = likelihoods(nano, copy, completions)
    assert result[2] is None
    for value, (row, text) in zip(result, completions, strict=True):
        if value is not None:
            assert value == pytest.approx(alone(nano, row, text), rel=1e-4)


def test_the_copy_has_its_own_adapter_and_shares_the_base(nano: load.Loaded, tmp_path: Path) -> None:
    copy = ema_copy(nano)
    begin(copy, tmp_path)
    base = {name: weight.data_ptr() for name, weight in nano.model.named_parameters() if not weight.requires_grad}
    before = likelihoods(nano, copy, [(2, right(2))])
    moved(nano)
    now = trained(nano)
    assert likelihoods(nano, copy, [(2, right(2))]) == pytest.approx(before)  # the copy has not moved
    assert alone(nano, 2, right(2)) != pytest.approx(before[0], rel=1e-2)  # the adapter has
    with pytest.raises(ZeroDivisionError), copy.swapped_in():
        raise ZeroDivisionError
    assert all(torch.equal(now[name], weight) for name, weight in trained(nano).items())
    assert base == {
        name: weight.data_ptr() for name, weight in nano.model.named_parameters() if not weight.requires_grad
    }
    assert set(copy.weights) == set(now)


def test_the_copy_is_updated_with_its_decay_when_due_and_restored_on_resume(nano: load.Loaded, tmp_path: Path) -> None:
    copy = ema_copy(nano, decay=0.9, every=2)
    arguments, state = begin(copy, tmp_path)
    first = {name: weight.clone() for name, weight in copy.weights.items()}
    moved(nano)
    state.global_step = 1
    copy.on_step_end(arguments, state, None)
    assert all(torch.equal(first[name], weight) for name, weight in copy.weights.items())
    state.global_step = 2
    copy.on_step_end(arguments, state, None)
    for name, weight in copy.weights.items():
        torch.testing.assert_close(weight, 0.9 * first[name] + 0.1 * trained(nano)[name])
    (tmp_path / "checkpoint-2").mkdir()
    copy.on_save(arguments, state, None)

    resumed = ema_copy(nano, decay=0.9, every=2)
    begin(resumed, tmp_path, step=2)
    assert all(torch.equal(copy.weights[name], weight) for name, weight in resumed.weights.items())
    with pytest.raises(RunError, match="has no EMA copy"):
        begin(ema_copy(nano), tmp_path, step=4)


def test_no_copy_is_made_if_no_reward_needs_it(nano: load.Loaded) -> None:
    assert ema_adapter.ema_adapter(rewards.build([("accuracy", 1.0, {})]), nano, ROWS, FAMILY, 2) is None


@pytest.mark.parametrize("answer", ["left lung", "B", " 5.6 cm ", "左肺", '{"side": "left"}'])
def test_the_span_of_an_answer_contains_its_text(nano: load.Loaded, answer: str) -> None:
    tokenizer = nano.processor.tokenizer
    ids = tokenizer(f"<think>The <answer> is near.</think><answer>{answer}</answer>")["input_ids"]
    span = tag_span(tokenizer, ids, "answer")
    assert span is not None
    assert answer.strip() in tokenizer.decode(ids[span[0] : span[1]])
    assert len(tokenizer.decode(ids[span[0] : span[1]])) <= len(answer) + 4
    assert tag_span(tokenizer, tokenizer("no tag")["input_ids"], "answer") is None


def test_the_record_is_json_lines(run: Run) -> None:
    call(rollouts.reward_functions(rewards.build([("accuracy", 1.0, {})]), ROWS, [END], run), [1], ["左 \u2028 x"])
    assert len((run.folder / "rollouts.jsonl").read_text(encoding="utf-8").split("\n")) == 2
    assert json.loads((run.folder / "rollouts.jsonl").read_text(encoding="utf-8"))["completion"] == "左 \u2028 x"


@pytest.mark.slow
def test_a_resumed_run_continues_with_the_same_ema_copy(tmp_path: Path, lowmed: Lowmed, reseeded: Lowmed) -> None:
    rules = (
        "[{name: accuracy}, {name: format, gate: true}, {name: consistency, weight: 0.5, every: 1, decay: 0.5}, "
        "{name: overlong, weight: 0.1, cache: 8}, {name: answer_follows, weight: 0.1}]"
    )
    complete = lowmed(
        "grpo", "--recipe", "rarl", "--nano", "--out", "complete", f"method.rewards={rules}", "method.max_steps=4",
        "method.save_steps=2", "method.num_generations=4", "method.prompts_per_step=2",
        "method.max_completion_length=40", "method.canary_steps=2",
    )  # fmt: skip
    assert complete.returncode == 0, complete.stderr
    broken = Run(tmp_path / "broken")
    shutil.copytree(tmp_path / "complete", broken.folder)
    shutil.rmtree(broken.adapter)
    shutil.rmtree(broken.checkpoints / "checkpoint-4")
    broken.update(status="stopped")

    resumed = reseeded("grpo", "--resume", "broken")
    assert resumed.returncode == 0, resumed.stderr
    last = Path("checkpoints") / "checkpoint-4" / ema_adapter.FILE
    for name in (str(last), "adapter/adapter_model.safetensors", "rollouts.jsonl", "canaries.jsonl"):
        assert (broken.folder / name).read_bytes() == (tmp_path / "complete" / name).read_bytes(), name
    assert [row["step"] for row in broken.rows("canaries.jsonl")] == [2, 4]
    scores = [row["scores"]["consistency"] for row in broken.rows("rollouts.jsonl")]
    assert any("likelihood" in score["why"] for score in scores)
    assert {score["value"] for score in scores} <= {0.0, 1.0, None}
