"""GGUF files of text-only models hold what transformers loads, and llama.cpp's rules give the same tokens."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ship import gguf_text_made as made
from ship.test_gguf import fields, kinds, tensors
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from lowmed.errors import RunError
from lowmed.ship.gguf.convert import write_gguf
from lowmed.ship.gguf.source import require_convertible

gguf = pytest.importorskip("gguf", reason="the extra `gguf` is not installed")

LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 256}  # fmt: skip
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
WORDS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+"
OTHERS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# The expressions by which llama.cpp splits text, one after the other, for each `tokenizer.ggml.pre`.
EXPRESSIONS = {
    "qwen2": [rf"{WORDS}|\p{{N}}|{OTHERS}"],
    "llama-bpe": [rf"{WORDS}|\p{{N}}{{1,3}}|{OTHERS}"],
    "smollm": [r"\p{N}", GPT2],
    "gpt-2": [GPT2],
}
PROMPT = torch.arange(2, 122).reshape(2, 60) * 4


def f16(folder: Path, out: Path) -> Path:
    return write_gguf(folder, out, ("f16",), name="made")[0]


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = model.eval()(PROMPT).logits
    return result


def read_by_transformers(file: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": False, "head_dim": 32}),
        ("qwen2", {}),
        ("qwen2", {"tie_word_embeddings": False, "num_key_value_heads": 4}),
        ("qwen3", {"head_dim": 128}),  # the only one that transformers assumes for a GGUF file
        ("qwen3", {"head_dim": 128, "tie_word_embeddings": False}),
    ],
)
def test_transformers_reads_the_same_model_from_the_f16_file(
    family: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    folder = made.save_model(family, tmp_path / "merged", **changes)
    file = f16(folder, tmp_path / "out")
    result, wanted = read_by_transformers(file), AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for name in ("head_dim", "hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads",
                 "num_hidden_layers", "num_key_value_heads", "rms_norm_eps", "rope_parameters", "vocab_size",
                 "eos_token_id", "pad_token_id", "tie_word_embeddings"):  # fmt: skip
        if family == "qwen2" and name == "head_dim":
            continue  # transformers takes the quotient
        expected = getattr(wanted.config, name)
        assert getattr(result.config, name) == (pytest.approx(expected) if name == "rms_norm_eps" else expected), name
    torch.testing.assert_close(logits(result), logits(wanted), atol=1e-4, rtol=1e-4)
    assert [path.name for path in file.parent.iterdir()] == ["made-f16.gguf"]  # no projector


@pytest.mark.parametrize(
    ("rope", "head_dim"),
    [
        (LLAMA3, 32),
        (LLAMA3 | {"original_max_position_embeddings": 8192}, 128),  # Llama 3.1
        (LLAMA3 | {"original_max_position_embeddings": 8192, "factor": 32.0}, 64),  # Llama 3.2
    ],
)
def test_the_scaling_of_llama_3_is_a_tensor_of_factors(rope: dict[str, Any], head_dim: int, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"head_dim": head_dim, "num_hidden_layers": 1, "max_position_embeddings": 131072}
    folder = made.save_model("llama", tmp_path / "merged", rope_parameters=rope, **settings)
    plain = LlamaConfig.from_pretrained(folder, rope_parameters={"rope_type": "default", "rope_theta": 5e5})
    factors = tensors(f16(folder, tmp_path / "out"))["rope_freqs.weight"]
    wanted = LlamaRotaryEmbedding(plain).inv_freq / LlamaRotaryEmbedding(LlamaConfig.from_pretrained(folder)).inv_freq
    np.testing.assert_allclose(factors, wanted.numpy(), rtol=1e-5)
    assert (factors[0], factors[-1]) == (1, rope["factor"])
    assert any(1 < factor < rope["factor"] for factor in factors)


def test_a_scaled_model_is_the_merged_one_but_for_the_tensor_that_transformers_does_not_read(tmp_path: Path) -> None:
    folder = made.save_model("llama", tmp_path / "merged", rope_parameters=LLAMA3, head_dim=32)
    result, wanted = (
        read_by_transformers(f16(folder, tmp_path / "out")),
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
    )
    expected = logits(wanted)
    assert (logits(result) - expected).abs().max() > 0.1
    result.model.rotary_emb = wanted.model.rotary_emb
    torch.testing.assert_close(logits(result), expected, atol=1e-4, rtol=1e-4)


def rows(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    return weight.reshape(heads, -1, weight.shape[1])


def test_llama_alone_has_the_rows_of_queries_and_keys_as_neighboring_pairs(tmp_path: Path) -> None:
    for family in ("llama", "qwen2", "qwen3"):
        folder = made.save_model(family, tmp_path / family)
        state = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
        result = tensors(f16(folder, tmp_path / f"{family}-gguf"))
        for letter, heads in (("q", 4), ("k", 2)):
            plain = rows(state[f"model.layers.1.self_attn.{letter}_proj.weight"].numpy(), heads)
            stored = rows(result[f"blk.1.attn_{letter}.weight"], heads)
            half = plain.shape[1] // 2
            first, second = (plain[:, :half], plain[:, half:])
            pairs = (stored[:, ::2], stored[:, 1::2]) if family == "llama" else (stored[:, :half], stored[:, half:])
            np.testing.assert_array_equal(pairs, (first, second))


def test_the_metadata_holds_head_sizes_and_vocabulary_and_nothing_of_images(tmp_path: Path) -> None:
    folder = made.save_model("qwen3", tmp_path / "merged", head_dim=32)
    result = fields(f16(folder, tmp_path / "out"))
    assert result["general.architecture"] == "qwen3"
    sizes = {name.removeprefix("qwen3."): value for name, value in result.items() if name.startswith("qwen3.")}
    assert sizes == {
        "block_count": 3, "context_length": 4096, "embedding_length": 64, "feed_forward_length": 96, "vocab_size": 520,
        "attention.head_count": 4, "attention.head_count_kv": 2, "attention.key_length": 32,
        "attention.value_length": 32, "attention.layer_norm_rms_epsilon": pytest.approx(1e-6),
        "rope.dimension_count": 32, "rope.freq_base": 5e5,
    }  # fmt: skip
    assert len(result["tokenizer.ggml.tokens"]) == 520
    assert result["tokenizer.chat_template"] == (folder / "chat_template.jinja").read_text()


def test_q8_0_quantizes_every_matrix_of_a_text_model(tmp_path: Path) -> None:
    folder = made.save_model("llama", tmp_path / "merged", rope_parameters=LLAMA3, tie_word_embeddings=False)
    types = kinds(write_gguf(folder, tmp_path / "out", ("q8_0",), name="made")[0])
    assert {name for name, kind in types.items() if kind == "F32"} == {
        name for name in types if "norm" in name or name == "rope_freqs.weight"
    }
    assert set(types.values()) == {"F32", "Q8_0"}


def tokenizer_of(file: Path) -> Tokenizer:
    """The tokenizer that llama.cpp makes of the file's metadata."""
    content = fields(file)
    tokens, types = content["tokenizer.ggml.tokens"], content["tokenizer.ggml.token_type"]
    pre = content["tokenizer.ggml.pre"]
    merges = [tuple(merge.split(" ")) for merge in content["tokenizer.ggml.merges"]]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    result = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=pre == "llama-bpe"))
    result.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(one), "isolated") for one in EXPRESSIONS[pre]),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    for token, kind in zip(tokens, types, strict=True):
        if kind in (gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED):
            result.add_tokens([AddedToken(token, normalized=False, special=kind == gguf.TokenType.CONTROL)])
    return result


@pytest.mark.parametrize("pre", list(EXPRESSIONS))
def test_the_tokens_of_llama_cpp_s_rules_are_those_of_the_merged_folder(pre: str, tmp_path: Path) -> None:
    folder = made.save_model("llama", tmp_path / "merged", pre=pre, num_hidden_layers=1)
    file = f16(folder, tmp_path / "out")
    assert fields(file)["tokenizer.ggml.pre"] == pre
    tokenizer, result = AutoTokenizer.from_pretrained(folder), tokenizer_of(file)
    wanted = [tokenizer(text)["input_ids"] for text in made.TEXTS]
    assert [result.encode(text).ids for text in made.TEXTS] == wanted
    others = []
    for other in set(EXPRESSIONS) - {pre}:  # every other name would give other tokens
        made.save_tokenizer(folder, other)
        others.append([AutoTokenizer.from_pretrained(folder)(text)["input_ids"] for text in made.TEXTS])
    assert wanted not in others


def test_a_tokenizer_that_transformers_changes_on_loading_is_exported_as_it_was_trained(tmp_path: Path) -> None:
    folder = made.save_model("llama", tmp_path / "merged", pre="smollm", num_hidden_layers=1)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False}  # as published with SmolLM2
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    require_convertible(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)  # as a merge does
    result = tokenizer_of(f16(folder, tmp_path / "out"))
    assert [result.encode(text).ids for text in made.TEXTS] == [tokenizer(text)["input_ids"] for text in made.TEXTS]


def test_transformers_reads_the_tokenizer_of_qwen_from_the_file(tmp_path: Path) -> None:
    folder = made.save_model("qwen3", tmp_path / "merged")
    file = f16(folder, tmp_path / "out")
    result = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    wanted = AutoTokenizer.from_pretrained(folder)
    texts = [text.replace(made.THINK, "") for text in made.TEXTS]  # it reads control tokens only
    assert [result(text)["input_ids"] for text in texts] == [wanted(text)["input_ids"] for text in texts]
    assert result.chat_template == wanted.chat_template


@pytest.mark.parametrize(
    ("start", "template", "adds"),
    [
        ("<|endoftext|>", "{{ bos_token }}", True),  # Llama 3
        ("<|endoftext|>", "", False),  # the tokenizer adds it to other texts, the chats of training have none
        ("", "{{ bos_token }}", False),
        ("", "", False),  # SmolLM2, Qwen
    ],
)
def test_a_prompt_has_the_start_token_as_often_as_in_training(
    start: str, template: str, adds: bool, tmp_path: Path
) -> None:
    folder = made.save_model("llama", tmp_path / "merged", num_hidden_layers=1)
    made.save_tokenizer(folder, "llama-bpe", start=start, template=template)
    file = f16(folder, tmp_path / "out")
    content = fields(file)
    assert content["tokenizer.ggml.add_bos_token"] is adds
    bos = content["tokenizer.ggml.tokens"][content["tokenizer.ggml.bos_token_id"]]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": "12?"}]
    trained = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    # llama-server removes the start token of a rendered chat if its tokenizer adds one.
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    tokens = tokenizer_of(file).encode(text.removeprefix(bos) if adds else text).ids
    assert [content["tokenizer.ggml.bos_token_id"]] * adds + tokens == trained
    assert trained.count(tokenizer.bos_token_id) == bool(template)
    assert content["tokenizer.ggml.eos_token_id"] == tokenizer.eos_token_id
    assert content["tokenizer.ggml.padding_token_id"] == tokenizer.pad_token_id


YARN = {"rope_type": "yarn", "rope_theta": 5e5, "factor": 4.0, "original_max_position_embeddings": 1024}


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        ("llama", {"rope_parameters": YARN}, "llama.cpp's Llama requires 'default' or 'llama3', this model has 'yarn'"),
        ("qwen2", {"rope_parameters": LLAMA3}, "requires 'default', this model has 'llama3'"),
        ("qwen3", {"rope_parameters": YARN}, "requires 'default', this model has 'yarn'"),
        ("llama", {"rope_parameters": LLAMA3 | {"partial_rotary_factor": 0.5}}, "requires 1.0, this model has 0.5"),
        ("llama", {"attention_bias": True}, "requires False, this model has True"),
        ("llama", {"mlp_bias": True}, "requires False, this model has True"),
        ("qwen3", {"attention_bias": True}, "requires False, this model has True"),
        ("llama", {"hidden_act": "gelu"}, "requires 'silu', this model has 'gelu'"),
        ("qwen2", {"head_dim": 32}, "requires 16.0, this model has 32"),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1,
             "layer_types": ["full_attention", "sliding_attention", "sliding_attention"]},
            "this model has ['full_attention', 'sliding_attention']",
        ),
    ],
)  # fmt: skip
def test_a_config_that_llama_cpp_cannot_run_is_refused_before_and_after_the_merge(
    family: str, changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = made.save_model(family, tmp_path / "merged", **changes)
    with pytest.raises(RunError) as after:
        write_gguf(folder, tmp_path / "out")
    with pytest.raises(RunError) as before:
        require_convertible(folder)
    assert words in after.value.what == before.value.what
    assert not (tmp_path / "out").exists()


Content = dict[str, Any]


def ends_in_a_token(content: Content) -> None:
    content["post_processor"]["single"].reverse()


def strips_spaces(content: Content) -> None:
    content["added_tokens"][0]["lstrip"] = True


def follows_merges(content: Content) -> None:
    content["model"]["ignore_merges"] = False


def with_field(name: str, value: Any) -> Callable[[Content], None]:
    return lambda content: content.update({name: value})


METASPACE = {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "split": True}
PREFIX = made.bytes_step(use_regex=True) | {"add_prefix_space": True}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_field("pre_tokenizer", made.split_step(r"\p{N}{1,2}")), "supports the pre-tokenizers qwen2, llama-bpe, "),
        (with_field("pre_tokenizer", None), "this tokenizer has [{'type': 'none'}]"),
        (with_field("pre_tokenizer", METASPACE), "Metaspace"),
        (with_field("pre_tokenizer", PREFIX), "'add_prefix_space': True"),
        (with_field("normalizer", {"type": "Lowercase"}), "llama-bpe requires None, this tokenizer has {'type'"),
        (strips_spaces, "requires [], this tokenizer has ['<|endoftext|>'"),
        (follows_merges, "llama-bpe requires True, this tokenizer has False"),
        (ends_in_a_token, "the tokenizer adds <|im_end|> to every text"),
    ],
)
def test_a_tokenizer_that_llama_cpp_cannot_follow_is_refused_before_and_after_the_merge(
    change: Callable[[Content], None], words: str, tmp_path: Path
) -> None:
    folder = made.save_model("llama", tmp_path / "merged", num_hidden_layers=1)
    made.save_tokenizer(folder, "llama-bpe", start="<|im_end|>" if change is ends_in_a_token else "")
    content = json.loads((folder / "tokenizer.json").read_text())
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    for refuse in (require_convertible, lambda merged: write_gguf(merged, tmp_path / "out")):
        with pytest.raises(RunError) as refused:
            refuse(folder)
        assert words in refused.value.what
    assert not (tmp_path / "out").exists()
