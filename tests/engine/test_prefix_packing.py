"""Log-probabilities with each prompt read once equal those of forwarding every row alone, with equal gradients."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from models import tiny
from PIL import Image

from lowmed import prompt
from lowmed.engine import device, load, patches, transformers_backend
from lowmed.engine.prefix import packing
from lowmed.models import FAMILIES
from lowmed.nano import phantom
from lowmed.recipe import LoraSpec, ModelSpec

FAMILY = prompt.family("diverse")
PROMPT_OF_ROW = (0, 1, 0, 2, 3, 1, 0, 2)  # the prompt of each row; rows of one prompt need not be adjacent
LENGTHS = (9, 4, 1, 12, 3, 0, 5, 12)  # tokens of its completion; 0 is a truncated completion, which is masked
LONGEST = max(LENGTHS) + 2  # two columns are padding in every row


def moved(model: Any) -> Any:
    """The model with a random adapter, in training mode."""
    torch.manual_seed(3)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0.0, 0.05)
    return model.train()


def nano(load_in: str) -> load.Loaded:
    model = ModelSpec(name="nano", load_in=load_in)
    loaded = load.with_trainable_adapter(load.load_base(model, device.find_device(model)), LoraSpec(), "nano")
    patches.use_torch_log_probs()
    moved(loaded.model)
    return loaded


@pytest.fixture(scope="module", params=["16bit", "4bit"])
def loaded(request: pytest.FixtureRequest) -> load.Loaded:
    return nano(request.param)


def questions(loaded: load.Loaded) -> list[dict[str, torch.Tensor]]:
    """Four prompts of different lengths with one image, one of another size, none, and two."""
    image, *others = (phantom.open_image(sample.images[0]) for sample in phantom.samples("train", 3))
    about: list[list[Image.Image]] = [[image], [others[0].resize((84, 140))], [], [image, others[1]]]
    result = []
    for number, images in enumerate(about):
        content = [{"type": "image"} for _ in images] + [{"type": "text", "text": "What is seen? " * (number + 1)}]
        text = loaded.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        encoded = loaded.processor(text=[text], images=images or None, return_tensors="pt")
        result.append(dict(encoded))
    return result


def batch_of(prompts: list[dict[str, torch.Tensor]], vocabulary: int) -> tuple[dict[str, Any], list[torch.Tensor]]:
    """The rows as a trainer pads them, and the completion of each."""
    torch.manual_seed(1)
    completions = [torch.randint(32, vocabulary, (length,)) for length in LENGTHS]
    width = max(each["input_ids"].shape[1] for each in prompts)
    some = {name: each[:0] for name, each in prompts[0].items() if name in ("pixel_values", "image_grid_thw")}
    rows: dict[str, list[torch.Tensor]] = {"input_ids": [], "attention_mask": [], "mm_token_type_ids": []}
    for prompt_number, completion in zip(PROMPT_OF_ROW, completions, strict=True):
        sides = width - prompts[prompt_number]["input_ids"].shape[1], LONGEST - len(completion)
        ids = torch.cat([prompts[prompt_number]["input_ids"][0], completion])
        kinds = prompts[prompt_number].get("mm_token_type_ids", torch.zeros_like(prompts[prompt_number]["input_ids"]))[
            0
        ]
        rows["input_ids"].append(torch.nn.functional.pad(ids, sides))
        rows["attention_mask"].append(torch.nn.functional.pad(torch.ones_like(ids), sides))
        rows["mm_token_type_ids"].append(torch.nn.functional.pad(kinds, (sides[0], LONGEST)))
    images = {
        name: [prompts[prompt_number].get(name, none) for prompt_number in PROMPT_OF_ROW] for name, none in some.items()
    }
    return {name: torch.stack(each) for name, each in rows.items()} | images, completions


def log_probs(
    model: Any, inputs: dict[str, Any], gradient_checkpointing: bool = False, autocast: Any = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies of all completion tokens, row by row."""
    both = packing.log_probs(
        model,
        inputs,
        LONGEST,
        temperature=0.9,
        gradient_checkpointing=gradient_checkpointing,
        autocast=autocast or nullcontext(),
    )
    counted = inputs["attention_mask"][:, -LONGEST:].bool()
    assert all(each[~counted].abs().sum() == 0 for each in both)
    return both[0][counted], both[1][counted]


def expected(
    model: Any, prompts: list[dict[str, torch.Tensor]], completions: list[torch.Tensor], autocast: Any = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by the stock forward pass, each row alone and without padding."""
    values = []
    for prompt_number, completion in zip(PROMPT_OF_ROW, completions, strict=True):
        images = {
            name: prompts[prompt_number][name]
            for name in ("pixel_values", "image_grid_thw")
            if name in prompts[prompt_number]
        }
        ids = torch.cat([prompts[prompt_number]["input_ids"], completion[None]], dim=1)
        kinds = {"mm_token_type_ids": (ids == model.config.image_token_id).int()} if images else {}
        with autocast or nullcontext():
            logits = model(
                input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **images, **kinds
            ).logits
        every = (logits[0, -len(completion) - 1 : -1].float() / 0.9).log_softmax(1)
        entropy = -(every.exp() * every).sum(1).detach()
        values.append((every.gather(1, completion[:, None])[:, 0], entropy))
    scores, entropies = (torch.cat(each) for each in zip(*values, strict=True))
    return scores, entropies


def gradient(model: Any, scores: torch.Tensor) -> torch.Tensor:
    """The gradient of a sum in which every token has another weight."""
    model.zero_grad()
    torch.autograd.backward((scores * torch.linspace(-1, 2, len(scores))).sum())
    return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.requires_grad])


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_values_and_gradients_equal_those_of_separate_rows(loaded: load.Loaded, gradient_checkpointing: bool) -> None:
    prompts = questions(loaded)
    inputs, completions = batch_of(prompts, 256)
    scores, entropies = expected(loaded.model, prompts, completions)
    true = gradient(loaded.model, scores)
    ours, our_entropies = log_probs(loaded.model, inputs, gradient_checkpointing)
    assert torch.allclose(ours, scores, atol=2e-5)
    assert torch.allclose(our_entropies, entropies, atol=2e-5)
    assert (gradient(loaded.model, ours) - true).norm() < 1e-5 * true.norm()
    assert true.norm() > 1e-2


def test_checkpointing_gives_the_same_gradient_to_the_bit(loaded: load.Loaded) -> None:
    inputs, _completions = batch_of(questions(loaded), 256)
    for autocast in (None, torch.autocast("cpu", torch.bfloat16)):
        kept, again = (
            gradient(loaded.model, log_probs(loaded.model, inputs, again, autocast)[0]) for again in (False, True)
        )
        assert torch.equal(kept, again)


def test_without_a_graph_the_values_are_the_same_with_and_without_the_adapter(loaded: load.Loaded) -> None:
    prompts = questions(loaded)
    inputs, completions = batch_of(prompts, 256)
    tuned = log_probs(loaded.model, inputs)[0].detach()
    with torch.no_grad():
        assert torch.equal(log_probs(loaded.model, inputs, gradient_checkpointing=True)[0], tuned)
        with loaded.model.disable_adapter():
            base = log_probs(loaded.model, inputs)[0]
            assert torch.allclose(base, expected(loaded.model, prompts, completions)[0], atol=2e-5)
    assert (base - tuned).abs().max() > 0.01


def test_a_batch_without_images_works(loaded: load.Loaded) -> None:
    prompts = questions(loaded)
    inputs, completions = batch_of(prompts, 256)
    texts = [row for row, prompt_number in enumerate(PROMPT_OF_ROW) if prompt_number == 2]
    alone = {name: inputs[name][texts] for name in ("input_ids", "attention_mask")}
    both = packing.log_probs(
        loaded.model, alone, LONGEST, temperature=0.9, gradient_checkpointing=False, autocast=nullcontext()
    )
    counted = alone["attention_mask"][:, -LONGEST:].bool()
    every = torch.split(expected(loaded.model, prompts, completions)[0], list(LENGTHS))
    assert torch.allclose(both[0][counted], torch.cat([every[row] for row in texts]), atol=2e-5)


def test_in_bf16_the_error_is_similar_to_that_of_the_stock_forward(loaded: load.Loaded) -> None:
    prompts = questions(loaded)
    inputs, completions = batch_of(prompts, 256)
    true, _ = expected(loaded.model, prompts, completions)
    exact = gradient(loaded.model, true)

    def error(scores: torch.Tensor) -> tuple[float, float]:
        off = float((scores - true).detach().norm())
        return off, float((gradient(loaded.model, scores) - exact).norm())

    half = torch.autocast("cpu", torch.bfloat16)
    stock = error(expected(loaded.model, prompts, completions, half)[0])
    ours = error(log_probs(loaded.model, inputs, gradient_checkpointing=True, autocast=half)[0])
    assert stock[0] > 1e-3  # half precision is in use
    assert ours[0] < 1.5 * stock[0]
    assert ours[1] < 1.5 * stock[1]


def saved_bytes(model: Any, inputs: dict[str, Any], gradient_checkpointing: bool) -> int:
    """What a forward pass keeps for its backward pass, weights left out, each storage once."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}
    alive = []  # so that no address is used twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        scores = packing.log_probs(
            model,
            inputs,
            LONGEST,
            temperature=1.0,
            gradient_checkpointing=gradient_checkpointing,
            autocast=nullcontext(),
        )[0]
    del scores
    return sum(kept.values())


def test_checkpointing_keeps_little_more_than_each_layers_input() -> None:
    loaded = nano("16bit")
    prompts = questions(loaded)
    inputs, _completions = batch_of(prompts, 256)
    text = loaded.model.config.text_config
    tokens = sum(each["input_ids"].shape[1] for each in prompts) + sum(max(length - 1, 0) for length in LENGTHS)
    one = tokens * text.hidden_size * 4
    all_activations, inputs_alone = (
        saved_bytes(loaded.model, inputs, gradient_checkpointing) for gradient_checkpointing in (False, True)
    )
    assert inputs_alone < (text.num_hidden_layers + 1) * one
    assert all_activations > 10 * inputs_alone


def test_the_tower_and_the_embeddings_build_no_graph() -> None:
    loaded = nano("16bit")
    inputs, _completions = batch_of(questions(loaded), 256)
    seen: list[bool] = []
    first = loaded.model.get_base_model().model.language_model.layers[0]
    first.register_forward_pre_hook(lambda _layer, given: seen.append(given[0].requires_grad))
    gradient(loaded.model, log_probs(loaded.model, inputs, gradient_checkpointing=True)[0])
    assert seen == [False, False]  # and once more in the backward pass
    assert loaded.vision_cache is not None
    assert loaded.vision_cache.requested == 4  # images of the distinct prompts, in one pass


def test_nothing_to_score_is_a_zero_with_a_gradient_of_zeros(loaded: load.Loaded) -> None:
    inputs, _completions = batch_of(questions(loaded), 256)
    inputs["attention_mask"][:, -LONGEST:] = 0
    scores, _ = packing.log_probs(
        loaded.model, inputs, LONGEST, temperature=1.0, gradient_checkpointing=True, autocast=nullcontext()
    )
    assert scores.abs().sum() == 0
    loaded.model.zero_grad()
    torch.autograd.backward(scores.sum())
    assert all(weight.grad.abs().sum() == 0 for weight in loaded.model.parameters() if weight.requires_grad)


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
@pytest.mark.parametrize("model_type", ["qwen2_5_vl", "qwen3_vl", "llama", "qwen2", "qwen3"])
def test_scores_of_every_family_are_those_of_whole_rows(model_type: str, gradient_checkpointing: bool) -> None:
    torch.manual_seed(0)
    config = tiny.config(model_type)
    base = transformers_backend.auto_class(FAMILIES[model_type]).from_config(config, attn_implementation="sdpa")
    model = moved(transformers_backend.add_adapter(base, LoraSpec()))
    patches.use_torch_log_probs()
    with_images = hasattr(config, "vision_config")
    values = 2 * 3 * config.vision_config.patch_size**2 if with_images else 0
    prompts = []
    for text, grids in ((5, [[1, 4, 6]]), (9, []), (3, [[1, 8, 4], [1, 4, 4]]), (11, [[1, 4, 4]])):
        ids = [torch.randint(32, 256, (text,))]
        for _, height, width in grids if with_images else ():
            ids += [torch.tensor([595]), torch.full((height * width // 4,), 598), torch.tensor([596])]
        encoded = {"input_ids": torch.cat([*ids, torch.randint(32, 256, (4,))])[None]}
        if with_images:
            encoded["mm_token_type_ids"] = (encoded["input_ids"] == 598).int()
        if grids and with_images:
            encoded["image_grid_thw"] = torch.tensor(grids)
            encoded["pixel_values"] = torch.randn(int(encoded["image_grid_thw"].prod(1).sum()), values)
        prompts.append(encoded)
    inputs, completions = batch_of(prompts, 256)
    scores, _ = expected(model, prompts, completions)
    true = gradient(model, scores)
    ours, _ = log_probs(model, inputs, gradient_checkpointing)
    assert torch.allclose(ours, scores, atol=2e-5)
    assert (gradient(model, ours) - true).norm() < 1e-5 * true.norm()


def test_equal_texts_with_different_images_are_different_prompts() -> None:
    ids = torch.tensor([[1, 2], [1, 2], [1, 2], [3, 2]])
    dark, light = torch.zeros(4, 3), torch.ones(4, 3)
    assert packing.group_by_prompt(ids, [dark, light, dark.clone(), dark]) == ([0, 1, 3], [0, 1, 0, 2])
    assert packing.group_by_prompt(ids, None) == ([0, 3], [0, 0, 0, 1])
