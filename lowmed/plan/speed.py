"""Seconds of an optimizer step: arithmetic over estimated GPU speeds, scaled by dry runs if any exist."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from lowmed.plan import cards, vision_memory
from lowmed.plan.calibration import MeasuredRun
from lowmed.plan.cards import Card, Speed
from lowmed.plan.memory import NF4, phases
from lowmed.plan.workload import Workload

LAYERS_TIMED = 28  # layers of the model that `Speed.decode_ms` refers to
BANDWIDTH_REACHED = 0.6  # share of the memory bandwidth
GRAPH_LAUNCHES = 0.05  # of `Speed.decode_ms`, with CUDA graphs: 900 kernels at 2.5 microseconds; an estimate


@dataclass(frozen=True)
class Time:
    """Seconds of one optimizer step, and of one evaluation during training.

    Attributes:
        generate: seconds for sampling completions.
        train: seconds for everything else.
        dry_runs: number of dry runs on that GPU that scale the estimate; with 0 it is not calibrated.
        dev: seconds of one evaluation on dev questions; 0 without dev questions.
        evaluations: number of these evaluations in a run.
    """

    generate: float
    train: float
    dry_runs: int = 0
    dev: float = 0.0
    evaluations: int = 0

    @property
    def step(self) -> float:
        """Seconds of the step."""
        return self.generate + self.train

    def run(self, max_steps: int) -> float:
        """Seconds of a run of `max_steps` steps, with its evaluations."""
        return max_steps * self.step + self.evaluations * self.dev


def estimate_time(workload: Workload, card: Card, measured: Sequence[MeasuredRun] = ()) -> Time | None:
    """The time of an optimizer step, or None if the speed of the GPU is unknown.

    Args:
        workload: recipe, model, row lengths and batch.
        card: the GPU.
        measured: measured runs of any GPU.
    """
    if card.speed is None:
        return None
    generate, train = _generate(workload, card.speed), _train(workload, card.speed)
    recipe = workload.recipe
    dev = _dev(workload, card.speed) if recipe.data.dev else 0.0
    evaluations = recipe.dev.evaluations(recipe.method.max_steps) if recipe.data.dev else 0
    runs = [run for run in measured if run.card_name == card.name and run.seconds]
    if not runs:
        return Time(generate, train, 0, dev, evaluations)
    scale = median(run.seconds["step"] / _step(run.workload, card.speed) for run in runs)
    return Time(generate * scale, train * scale, len(runs), dev * scale, evaluations)


def training_seconds(workload: Workload, card: Card) -> float:
    """Seconds of an optimizer step without sampling, to compare batch sizes. An unknown GPU gets a typical speed."""
    return _train(workload, card.speed or cards.TYPICAL)


def _step(workload: Workload, speed: Speed) -> float:
    return _generate(workload, speed) + _train(workload, speed)


def _generate(workload: Workload, speed: Speed) -> float:
    """Seconds of sampling if every completion reaches its maximum length: one decoding step per token and call."""
    method = workload.recipe.method
    if not method.completions_per_prompt:
        return 0.0
    rows = workload.batch.rows_per_generate
    calls = method.rows_per_step / rows
    token = _token(workload, speed, "rollout", rows)
    prefill = method.prompts_per_step * _prefill(workload)
    return (calls * method.max_sampled_tokens * token + prefill / (speed.tflops * 1e12)) / method.steps_per_batch


def _dev(workload: Workload, speed: Speed) -> float:
    """Seconds of an evaluation during training if every completion reaches its maximum length.

    After that, two forward passes over each row give entropy and KL divergence.
    """
    recipe = workload.recipe
    questions, tokens = recipe.dev.questions, recipe.eval.max_new_tokens
    calls = -(-questions // workload.batch.eval_batch_size)
    token = _token(workload, speed, "dev evaluation", workload.batch.eval_batch_size)
    row = _prompt(workload) + tokens
    forward = _linear(workload, row) + _attention(workload, row**2) + 2 * tokens * _head(workload)
    passes = 2 * questions * max(forward / (speed.tflops * 1e12), _launches(workload, speed))
    return calls * tokens * token + questions * _prefill(workload) / (speed.tflops * 1e12) + passes


def _token(workload: Workload, speed: Speed, phase: str, rows: int) -> float:
    """Seconds of one decoding step of `rows` rows."""
    model = workload.model
    four_bit = workload.recipe.model.load_in == "4bit" and not workload.batch.dequantizes_rollouts
    weight = NF4 + 2 * 2 if four_bit else 2  # 4-bit weights are written in 16 bit and read again
    bytes_read = phases(workload)[phase]["KV cache"] + weight * model.text_linear
    read = bytes_read / (speed.gb_per_s * 1e9 * BANDWIDTH_REACHED)
    launches = _launches(workload, speed) * (GRAPH_LAUNCHES if workload.uses_cuda_graphs else 1)
    return launches + read + 2 * rows * model.text_linear / (speed.tflops * 1e12)


def _prefill(workload: Workload) -> float:
    """Operations of reading one prompt with its images."""
    prompt = _prompt(workload)
    return _linear(workload, prompt) + _attention(workload, prompt**2) + _vision(workload)


def _head(workload: Workload) -> float:
    """Weights of the head, which gives the logits."""
    return workload.model.vocabulary * workload.model.hidden


def _train(workload: Workload, speed: Speed) -> float:
    """Seconds of forward, backward, recomputation with gradient checkpointing, and scoring passes.

    A pass takes as long as its operations and the dequantization of its weights, or as its kernel launches.
    """
    method, batch, model = workload.recipe.method, workload.batch, workload.model
    scoring = workload.scoring_passes / method.steps_per_batch
    passes = 3 if batch.gradient_checkpointing else 2
    dequantized = model.text_linear * (NF4 + 2 * 2) if workload.recipe.model.load_in == "4bit" else 0.0
    read = dequantized / (speed.gb_per_s * 1e9 * BANDWIDTH_REACHED)
    trained, scored = (
        max(_pass(one) / (speed.tflops * 1e12) + read, _launches(workload, speed))
        for one in (workload, replace(workload, scoring=True))
    )
    forwards = method.rows_per_step / batch.per_device_train_batch_size
    through_head = 3 * method.completions_per_row + scoring * method.scored_completions_per_row
    head = through_head * 2 * _head(workload) * workload.lengths.completion
    rest = method.rows_per_step * head + _encoded_questions(workload, passes + scoring) * _vision(workload)
    return forwards * (passes * trained + scoring * scored) + rest / (speed.tflops * 1e12)


def _pass(workload: Workload) -> float:
    """Operations of the decoder layers in one forward pass."""
    rows, shared = workload.completions_per_forward, workload.shared_prompts
    prompt, completion = _prompt(workload), workload.lengths.completion
    row = prompt + completion
    if not shared:
        return rows * (_linear(workload, row) + _attention(workload, row**2))
    # The completions' attention is masked, not causal, so no pair of query and key is skipped.
    completions = workload.completions_per_forward
    pairs = shared * prompt**2 + completions * 2 * completion * row
    return _linear(workload, shared * prompt + completions * completion) + _attention(workload, pairs)


def _encoded_questions(workload: Workload, passes: float) -> float:
    """Questions whose images are encoded in the training passes. In GRPO the cache has them from sampling.

    Exchanged images are images of other questions, which the cache may not have yet.
    """
    method = workload.recipe.method
    if not vision_memory.uses_vision_cache(workload):
        return method.rows_per_step * method.completions_per_row * passes
    if not method.completions_per_prompt:
        return method.rows_per_step * method.prompts_per_row
    return method.prompts_per_step / method.steps_per_batch if workload.exchanges_images else 0


def _prompt(workload: Workload) -> float:
    return workload.lengths.mean_image + workload.lengths.text


def _linear(workload: Workload, tokens: float) -> float:
    """Operations of the linear layers."""
    return 2 * workload.model.text_linear * tokens


def _attention(workload: Workload, pairs: float) -> float:
    """Operations of attention over this many pairs of query and key, half of which a causal mask skips."""
    return 2 * workload.model.layers * workload.model.heads * workload.model.head_dim * pairs


def _vision(workload: Workload) -> float:
    """Operations of encoding the images of one question."""
    model, lengths = workload.model, workload.lengths
    patches = model.patches_per_token * lengths.mean_image
    attention = 4 * model.vision_depth * model.vision_width * patches**2 / max(1, lengths.images)
    return 2 * model.vision * patches + attention


def _launches(workload: Workload, speed: Speed) -> float:
    """Seconds of the kernel launches of one pass."""
    return speed.decode_ms / 1e3 * workload.model.layers / LAYERS_TIMED
