"""Checks of an adapter and of a merged model: is the adapter intact, does it have an effect, does the merge agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lowmed import answer
from lowmed.adapter.fit import layer_problems, require_fit
from lowmed.adapter.intake import Adapter, read_adapter
from lowmed.adapter.tensor_file import TensorLocation
from lowmed.engine import chat, device, load
from lowmed.engine.adapter import for_peft
from lowmed.recipe import ModelSpec
from lowmed.ship import completions
from lowmed.ship.adapter import base_shapes, factors
from lowmed.ship.completions import QuestionSet
from lowmed.ship.layer_checks import check_against_peft
from lowmed.ship.merge import MergeInputs, merge_tensor
from lowmed.ship.records import Check, Parity
from lowmed.ship.weights import is_language_linear, loaded_names

MIN_SAME_ANSWERS = 0.9  # share of answers on which adapter and merged model must agree; lowmed's own choice
MIN_RETAINED = 0.5  # share of the adapter that rounding must leave; lowmed's own choice


@dataclass(frozen=True)
class AdapterOutputs:
    """The adapter's outputs on its base: completions, the answers read from them, and the logits of their tokens."""

    completions: list[list[int]]
    answers: list[str | None]
    logits: list[torch.Tensor]


def check_files(adapter: Adapter, base: Path, tensors: Mapping[str, TensorLocation]) -> list[Check]:
    """Checks that need no model: layers and values of the adapter's weights, and PEFT's change of every layer.

    Args:
        adapter: the adapter.
        base: folder of the base.
        tensors: its tensors.

    Raises:
        RunError: the adapter belongs to another base.
    """
    shapes = base_shapes(tensors)
    require_fit(adapter, shapes)
    problems = layer_problems(adapter, shapes)
    keys = f"{len(adapter.layers)} layers, {adapter.kind}"
    zero, not_finite = [], []
    for module in sorted(adapter.layers):
        parts = factors(adapter, module)
        zero += [] if parts["lora_B"].any() and parts["lora_A"].any() else [module]
        not_finite += [] if all(part.isfinite().all() for part in parts.values()) else [module]
    count = len(adapter.layers)
    checks = [
        Check(
            "keys match the base",
            not problems,
            f"{keys}; {len(problems)} differ, first: {problems[0]}" if problems else keys,
        ),
        Check(
            "LoRA B is not zero",
            len(zero) < count,
            f"{len(zero)} of {count} layers are zero, first {zero[0]}" if zero else f"none of {count} layers is zero",
        ),
        Check(
            "weights are finite",
            not not_finite,
            f"{len(not_finite)} layers hold NaN or infinity, first {not_finite[0]}"
            if not_finite
            else f"all {count} layers",
        ),
    ]
    return checks if not_finite else [*checks, check_against_peft(adapter, base, tensors)]


def check_adapter(
    model: ModelSpec, base: Path, folder: Path, questions: QuestionSet
) -> tuple[list[Check], AdapterOutputs]:
    """Load the adapter on its base, as in training. Compare it with the base alone and with PEFT outside lowmed.

    Args:
        model: the base as the run loaded it.
        base: folder of the base.
        folder: folder of the adapter.
        questions: prompts and images to answer.

    Raises:
        LowmedError: the machine or the model does not allow it.
    """
    loaded = load.with_adapter(load.load_base(model, device.find_device(model)), folder)
    tuned = completions.greedy_completions(loaded, questions)
    logits = completions.completion_logits(loaded, questions, tuned)
    with loaded.model.disable_adapter():
        base_logits = completions.completion_logits(loaded, questions, tuned)
    differences = [float((one - other).abs().max()) for one, other in zip(logits, base_logits, strict=True)]
    changed = sum(difference > 0 for difference in differences)
    adapter = read_adapter(str(folder)).named_for(loaded.family)
    with for_peft(adapter) as plain:
        by_peft = completions.completions_with_peft(
            loaded, questions, base, Path(plain), four_bit=model.load_in == "4bit"
        )
    same = sum(one == other for one, other in zip(by_peft, tuned, strict=False))
    checks = [
        Check(
            "logits differ from the base",
            changed == len(differences),
            f"on {changed} of {len(differences)} questions, by at most {max(differences):.4g}",
        ),
        Check(
            "PEFT alone gives the same tokens",
            same == len(by_peft),
            f"{same} of {len(by_peft)} completions are the same"
            + (", with its layers renamed: under their old names PEFT ignores them" if adapter.renamed else ""),
        ),
    ]
    outputs = AdapterOutputs(tuned, read_answers(loaded, questions, tuned), logits)
    del loaded
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return checks, outputs


def read_answers(loaded: load.Loaded, questions: QuestionSet, tokens: Sequence[list[int]]) -> list[str | None]:
    """The answers in the completions; None where there is no single answer."""
    opening = chat.assistant_start(loaded.processor, questions.family).opening
    texts = [completions.decode(loaded, ids, opening) for ids in tokens]
    pairs = zip(questions.samples, texts, strict=True)
    return [answer.read(text, sample, finish).value for sample, (text, finish) in pairs]


def measure_parity(
    model: ModelSpec,
    merged: Path,
    questions: QuestionSet,
    outputs: AdapterOutputs,
    other_reference: MergeInputs | None = None,
) -> list[Parity]:
    """Compare the merged folder with the adapter; optionally also the merge over another reference.

    The other merge is not written: its tensors replace those of the loaded model.

    Args:
        model: the run's model, which sets device and pixel policy.
        merged: the merged folder.
        questions: prompts and images to answer.
        outputs: the adapter's outputs.
        other_reference: a merge over another reference, or None.
    """
    # Weights that are stored in 4 bits load as they are; `16bit` prevents a second quantization.
    stored = {"name": str(merged), "revision": None, "load_in": "16bit", "weights": "pretrained"}
    loaded = load.load_base(model.model_copy(update=stored), device.find_device(model))
    results = [_parity("as written", loaded, questions, outputs)]
    if other_reference:
        parameters = dict(loaded.model.named_parameters())
        with torch.no_grad():
            loaded_as = loaded_names(other_reference.base)
            linear = {name for name, location in other_reference.base.items() if is_language_linear(name, location)}
            for name in sorted(linear | set(other_reference.targets)):
                parameters[loaded_as[name]].copy_(merge_tensor(other_reference, name).merged)
        results.append(_parity(other_reference.reference, loaded, questions, outputs))
    del loaded
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return results


def parity_check(parity: Parity) -> Check:
    """Whether adapter and merged model agree on enough answers."""
    detail = (
        f"{parity.same_answers:.3f} of {parity.questions} answers are the same (required: {MIN_SAME_ANSWERS}), "
        f"{parity.same_completions:.3f} in every token; logits differ by at most {parity.max_logit_difference:.4g}, "
        f"by {parity.mean_logit_difference:.4g} on average"
    )
    return Check("adapter and merged model agree", parity.same_answers >= MIN_SAME_ANSWERS, detail)


def retained_check(retained: float, precision: str) -> Check:
    """Whether weights of that precision retain enough of the adapter."""
    detail = f"{retained:.3f} of it is retained in the {precision} weights (required: {MIN_RETAINED})"
    return Check("rounding keeps the adapter", retained >= MIN_RETAINED, detail)


def _parity(reference: str, loaded: load.Loaded, questions: QuestionSet, outputs: AdapterOutputs) -> Parity:
    tokens = completions.greedy_completions(loaded, questions)
    answers = read_answers(loaded, questions, tokens)
    logits = completions.completion_logits(loaded, questions, outputs.completions)
    differences = [(one - other).abs() for one, other in zip(logits, outputs.logits, strict=True)]
    count = len(questions.samples)
    return Parity(
        reference=reference,
        questions=count,
        same_answers=sum(one == other for one, other in zip(answers, outputs.answers, strict=True)) / count,
        same_completions=sum(one == other for one, other in zip(tokens, outputs.completions, strict=True)) / count,
        max_logit_difference=max(float(difference.max()) for difference in differences),
        mean_logit_difference=sum(float(difference.mean()) for difference in differences) / count,
    )
