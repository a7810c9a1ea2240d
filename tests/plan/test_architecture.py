import json
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED

from lowmed import architectures
from lowmed.data.image.policy import image_tokens, pixel_policy
from lowmed.errors import SetupError
from lowmed.models import FAMILIES
from lowmed.recipe import ModelSpec

SKELETON = SHARED / "data" / "qwen2-vl-2b-skeleton"
SHIPPED = json.loads(architectures.SHIPPED.read_text())


@pytest.mark.parametrize("name", SHIPPED)
def test_parameter_counts_agree_with_transformers(name: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    values = dict(SHIPPED[name])
    if "vision_config" not in values:
        config, auto = AutoConfig.for_model(**values), AutoModelForCausalLM
    else:
        config, auto = _with_tower(values), AutoModelForImageTextToText
    with torch.device("meta"):
        model = auto.from_config(config)
    model.tie_weights()
    counted = dict.fromkeys(("text", "embedding", "vision"), 0)
    for part, weight in model.named_parameters():
        of_vision = any(name in part for name in ("visual", "vision_", "multi_modal_projector", "connector"))
        kind = "vision" if of_vision else "embedding" if "embed_tokens" in part or "lm_head" in part else "text"
        counted[kind] += weight.numel()
    result = architectures.shipped()[name]
    assert counted == {
        "text": result.text_linear + result.text_rest,
        "embedding": result.embedding,
        "vision": result.vision,
    }


def _with_tower(values: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    if FAMILIES[values["model_type"]].fixed_size:
        return AutoConfig.for_model(**values)
    text = values.get("text_config") or {key: value for key, value in values.items() if key != "vision_config"}
    return AutoConfig.for_model(
        values["model_type"],
        text_config={**text, "model_type": f"{values['model_type']}_text"},
        vision_config=values["vision_config"],
        tie_word_embeddings=values["tie_word_embeddings"],
    )


# Millions of parameters, and of those outside the embeddings, as far as the model cards have them.
PUBLISHED = {
    "meta-llama/Llama-3.2-1B-Instruct": (1230, None), "meta-llama/Llama-3.2-3B-Instruct": (3210, None),
    "meta-llama/Llama-3.1-8B-Instruct": (8030, None), "Qwen/Qwen2.5-0.5B-Instruct": (490, 360),
    "Qwen/Qwen2.5-1.5B-Instruct": (1540, 1310), "Qwen/Qwen2.5-3B-Instruct": (3090, 2770),
    "Qwen/Qwen2.5-7B-Instruct": (7610, 6530), "Qwen/Qwen3-0.6B": (600, 440), "Qwen/Qwen3-1.7B": (1700, 1400),
    "Qwen/Qwen3-4B": (4000, 3600), "Qwen/Qwen3-8B": (8200, 6950), "HuggingFaceTB/SmolLM2-135M-Instruct": (135, None),
    "HuggingFaceTB/SmolLM2-360M-Instruct": (360, None), "HuggingFaceTB/SmolLM2-1.7B-Instruct": (1710, None),
}  # fmt: skip


# Parameters of the files on the hub, as its pages count them.
FIXED_SIZE = {
    "google/gemma-3-4b-it": 4_300_079_472, "google/gemma-3-12b-it": 12_187_325_040,
    "HuggingFaceTB/SmolVLM2-256M-Video-Instruct": 256_484_928,
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": 507_482_304, "HuggingFaceTB/SmolVLM2-2.2B-Instruct": 2_246_784_880,
}  # fmt: skip


@pytest.mark.parametrize("name", FIXED_SIZE)
def test_models_with_one_image_size_have_the_published_sizes(name: str) -> None:
    assert architectures.shipped()[name].parameters == FIXED_SIZE[name]


def test_tunes_have_the_dimensions_of_shipped_models_or_are_refused() -> None:
    for name, base in architectures.tunes().items():
        if base is None:
            with pytest.raises(SetupError, match="code of its own"):
                architectures.require_known_family(ModelSpec(name=name))
        else:
            assert architectures.read_architecture(ModelSpec(name=name)) == architectures.shipped()[base]


@pytest.mark.parametrize(
    ("name", "tokens"),
    [("google/medgemma-4b-it", 256), ("OpenGVLab/InternVL3-2B-hf", 256), ("HuggingFaceTB/SmolVLM2-2.2B-Instruct", 81),
     ("HuggingFaceTB/SmolVLM2-500M-Video-Instruct", 64)],
)  # fmt: skip
def test_every_image_of_a_model_with_one_image_size_has_the_same_tokens(name: str, tokens: int) -> None:
    policy = pixel_policy(ModelSpec(name=name, max_image_tokens=64))
    assert policy.most_tokens == tokens
    assert {image_tokens(width, height, policy) for width, height in ((8, 8), (20, 3000), (5000, 4000))} == {tokens}


def test_text_only_models_have_the_published_sizes() -> None:
    known = architectures.shipped()
    assert {name for name, one in known.items() if not one.vision} == set(PUBLISHED)
    for name, (parameters, others) in PUBLISHED.items():
        assert known[name].parameters / 1e6 == pytest.approx(parameters, rel=0.013)
        if others:
            rest = known[name].text_linear + known[name].text_rest
            assert rest / 1e6 == pytest.approx(others, rel=0.011)


def test_qwen2_vl_2b_has_the_published_parameters() -> None:
    result = architectures.read_architecture(ModelSpec())
    assert result.parameters == 2_208_985_600
    assert result.text_linear == 1_310_195_712
    assert result.lora(16) == 18_464_768


@pytest.mark.skipif(not SKELETON.is_dir(), reason="the config folder is not at ../shared/data/qwen2-vl-2b-skeleton")
def test_a_local_config_folder_gives_the_shipped_architecture() -> None:
    assert architectures.read_architecture(ModelSpec(name=str(SKELETON))) == architectures.read_architecture(
        ModelSpec()
    )


def test_the_parameters_of_nano_are_counted_exactly() -> None:
    from safetensors import safe_open

    from lowmed import nano

    with safe_open(str(nano.folder() / "model.safetensors"), "numpy") as weights:
        names = set(weights.keys())
        count = sum(weights.get_slice(name).get_shape()[0] * _rest(weights.get_slice(name)) for name in names)
    assert architectures.read_architecture(ModelSpec(name="nano")).parameters == count


def _rest(part: object) -> int:
    product = 1
    for size in part.get_shape()[1:]:  # type: ignore[attr-defined]
        product *= size
    return product


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('{"model_type": "llava"}', "are not supported"),
        ('{"model_type": "qwen2_vl"}', "has no"),
        ("not json", "config.json of the model cannot be read"),
        (None, "config.json of the model cannot be read"),
    ],
)
def test_a_folder_without_a_supported_model_is_rejected(content: str | None, what: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(SetupError, match=what):
        architectures.read_architecture(ModelSpec(name=str(tmp_path)))


def test_an_unknown_hub_id_is_rejected() -> None:
    with pytest.raises(SetupError, match="is unknown"):
        architectures.read_architecture(ModelSpec(name="somebody/else"))


SMALL = {
    "model_type": "qwen2_vl",
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 10,
    "vision_config": {"depth": 1, "embed_dim": 2, "patch_size": 14, "hidden_size": 8},
}


VISION = {"hidden_size": 2, "intermediate_size": 4, "num_hidden_layers": 1, "image_size": 28, "patch_size": 14}
FIXED = {
    "model_type": "internvl",
    "text_config": {name: value for name, value in SMALL.items() if isinstance(value, int)},
    "vision_config": VISION,
    "image_seq_length": 1,
}


@pytest.mark.parametrize(
    "wrong",
    [
        FIXED | {"text_config": 5},
        FIXED | {"vision_config": VISION | {"image_size": []}},
        FIXED | {"vision_config": VISION | {"patch_size": 0}},
        FIXED | {"image_seq_length": 0},
        FIXED | {"image_seq_length": "many"},
        FIXED | {"downsample_ratio": 0},
    ],
)
def test_invalid_dimensions_of_a_model_with_one_image_size_are_rejected(wrong: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(FIXED))
    assert architectures.read_architecture(ModelSpec(name=str(tmp_path))).image_tokens == 1
    (tmp_path / "config.json").write_text(json.dumps(wrong))
    with pytest.raises(SetupError, match="invalid dimensions"):
        architectures.read_architecture(ModelSpec(name=str(tmp_path)))


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        SMALL | {"num_attention_heads": 0},
        SMALL | {"num_key_value_heads": 0},
        SMALL | {"intermediate_size": "8"},
        SMALL | {"hidden_size": None},
        SMALL | {"num_hidden_layers": -1},
        SMALL | {"vision_config": 5},
        SMALL | {"vision_config": {"depth": 1, "embed_dim": 2, "patch_size": "x", "hidden_size": 8}},
    ],
)
def test_invalid_dimensions_are_rejected(wrong: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(wrong))
    with pytest.raises(SetupError, match="invalid dimensions"):
        architectures.read_architecture(ModelSpec(name=str(tmp_path)))
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    assert architectures.read_architecture(ModelSpec(name=str(tmp_path))).parameters > 0
