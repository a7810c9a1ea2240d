"""The reasoning reward: agreement with the explanation, and none for a contradiction."""

import random
import time
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rewards.reports import LATER_REPORTS, REPORTS, SAMPLES

from lowmed import rewards
from lowmed.errors import RunError
from lowmed.nano import phantom
from lowmed.rewards.reasoning import Reasoning
from lowmed.sample import Sample
from lowmed.testbed import samples as testbed

EXPLANATION = "The right lung is clear. A large round mass lies in the left lower zone. No effusion is seen."
SAMPLE = Sample("s", "What is seen?", "mass", "open", "g", "t", explanation=EXPLANATION)
OTHERS = phantom.samples("train", 60)


def reasoning(*samples: Sample) -> Reasoning:
    return Reasoning().with_corpus([*OTHERS, *samples])


def _value(thought: str) -> float:
    value = reasoning(SAMPLE)(SAMPLE, f"<think>{thought}</think><answer>mass</answer>").value
    assert value is not None
    return value


def test_the_explanation_itself_earns_1() -> None:
    assert _value(EXPLANATION) == 1.0


def test_a_single_right_word_and_rambling_earn_less_than_an_honest_sentence() -> None:
    honest = _value("There is a round mass in the left lower zone and no effusion.")
    assert honest > 0.5
    assert _value("A mass here.") < honest
    assert (
        _value(EXPLANATION + " Also the ribs, spine and many other things could be described at length." * 8) < honest
    )


@pytest.mark.parametrize(
    "thought",
    [
        EXPLANATION.replace("left", "right"),
        EXPLANATION.replace("No effusion", "An effusion"),
        EXPLANATION.replace("lower", "upper"),
        EXPLANATION + " A large round mass lies in the right lower zone.",
        "No large round mass lies in the left lower zone.",
    ],
)
def test_a_contradiction_earns_nothing(thought: str) -> None:
    assert _value(thought) == 0.0


@pytest.mark.parametrize(
    "completion",
    [
        f"<think>{EXPLANATION}",
        f"{EXPLANATION}<answer>mass</answer>",
        f"<think>{EXPLANATION}</think>",
        f"<think>{EXPLANATION}</think><think>{EXPLANATION}</think><answer>mass</answer>",
        "<think>mass mass mass mass</think><answer>mass</answer>",
        "",
    ],
)
def test_reasoning_outside_the_think_block_earns_nothing(completion: str) -> None:
    assert reasoning(SAMPLE)(SAMPLE, completion).value == 0.0


@pytest.mark.parametrize(
    ("explanation", "thought"),
    [
        ("A mass lies in the left lung and no effusion.", "A mass lies in the left lung. There is no effusion."),
        ("A mass lies in the left lung. No effusion.", "A mass lies in the left lung, no effusion."),
        (
            "The left lung is clear. The right lung is not clear.",
            "The right lung is not clear. The left lung is clear.",
        ),
    ],
)
def test_the_same_findings_in_other_sentences_do_not_contradict(explanation: str, thought: str) -> None:
    sample = Sample("s", "What is seen?", "mass", "open", "g", "t", explanation=explanation)
    value = reasoning(sample)(sample, f"<think>{thought}</think><answer>mass</answer>").value
    assert value is not None
    assert value > 0.8


def test_it_abstains_without_an_explanation_or_requested_reasoning() -> None:
    unexplained = Sample("s", "What is seen?", "mass", "open", "g", "t")
    assert reasoning()(unexplained, "<think>a b c</think><answer>mass</answer>").value is None
    assert Reasoning("answer")(SAMPLE, "<answer>mass</answer>").value is None


def test_without_training_explanations_it_raises_and_does_not_pay() -> None:
    with pytest.raises(RunError, match="no training explanations"):
        Reasoning()(SAMPLE, f"<think>{EXPLANATION}</think><answer>mass</answer>")
    [built] = rewards.build([("reasoning", 1.0, {"by": "lexical"})])
    assert built(SAMPLE, f"<think>{EXPLANATION}</think><answer>mass</answer>").value == 1.0


def test_generated_explanations_earn_1_and_mirrored_ones_0() -> None:
    samples = phantom.samples("train", 200)
    reward = Reasoning().with_corpus(samples)
    mirrored = 0
    for sample in samples:
        assert reward(sample, f"<think>{sample.explanation}</think><answer>x</answer>").value == 1.0
        sides = {"left", "right"} & set(sample.explanation.replace(",", "").replace(".", "").split())
        if len(sides) == 1:
            mirror = sample.explanation.replace("left", "\x01").replace("right", "left").replace("\x01", "right")
            assert reward(sample, f"<think>{mirror}</think><answer>x</answer>").value == 0.0
            mirrored += 1
    assert mirrored > 50


@pytest.fixture(scope="module")
def of_reports() -> Reasoning:
    return Reasoning().with_corpus(SAMPLES)


def _paid(reward: Reasoning, sample: Sample, text: str) -> float:
    value = reward(sample, f"<think>{text}</think><answer>see the report</answer>").value
    assert value is not None
    return value


@pytest.mark.parametrize("number", range(len(REPORTS)))
def test_a_paraphrase_earns_much_and_a_false_version_nothing(of_reports: Reasoning, number: int) -> None:
    sample, report = SAMPLES[number], REPORTS[number]
    assert _paid(of_reports, sample, report.text) == 1.0
    assert _paid(of_reports, sample, report.paraphrase) > 0.6
    for false in report.false:
        assert _paid(of_reports, sample, false) == 0.0, false


def test_words_out_of_order_earn_at_most_a_quarter(of_reports: Reasoning) -> None:
    draw = random.Random(0)
    orders: dict[str, list[float]] = {"sorted": [], "reversed": [], "shuffled": []}
    for sample, report in zip(SAMPLES, REPORTS, strict=True):
        words = report.text.split()
        bare = [word.strip(".,") for word in words]
        for each in (words, bare):
            orders["sorted"].append(_paid(of_reports, sample, " ".join(sorted(each))))
            orders["reversed"].append(_paid(of_reports, sample, " ".join(each[::-1])))
            orders["shuffled"].append(_paid(of_reports, sample, " ".join(draw.sample(each, len(each)))))
    assert {name: fmean(values) for name, values in orders.items() if fmean(values) > 0.1} == {}
    assert max(*orders["sorted"], *orders["reversed"]) <= 0.25


def test_texts_about_other_images_earn_nearly_nothing(of_reports: Reasoning) -> None:
    values = [
        _paid(of_reports, sample, other.text)
        for sample, report in zip(SAMPLES, REPORTS, strict=True)
        for other in REPORTS
        if other is not report
    ]
    assert fmean(values) < 0.02
    everything = " ".join(report.text for report in REPORTS)
    assert fmean(_paid(of_reports, sample, everything) for sample in SAMPLES) < 0.2


def test_hedges_earn_half_at_most_and_both_alternatives_nothing(of_reports: Reasoning) -> None:
    for sample, report in zip(SAMPLES, REPORTS, strict=True):
        hedged = " ".join(f"Possibly, {part}" for part in report.text.split(". "))
        assert _paid(of_reports, sample, hedged) <= 0.5
        assert _paid(of_reports, sample, f"{report.text} {report.false[0]}") == 0.0


def test_stating_less_and_padding_earn_less_than_the_complete_reasoning(of_reports: Reasoning) -> None:
    for sample, report in zip(SAMPLES, REPORTS, strict=True):
        parts = report.text.split(". ")
        assert 0.2 < _paid(of_reports, sample, f"{parts[0]}.") < 1.0 or len(parts) == 1
        padding = " The ribs show old fractures. A tube lies in the stomach. The spine has scoliosis."
        assert _paid(of_reports, sample, report.text + padding * 2) < 0.9


def test_a_constant_of_the_most_frequent_findings_earns_nothing_on_average() -> None:
    frequent = "The lungs are clear. No effusion is seen. The heart is normal."
    rare = (
        "A mass lies in the left lung.",
        "There is a rib fracture on the right.",
        "A nodule lies in the right apex.",
    )
    texts = [f"{frequent} {rare[number % 3]}" if number % 2 else frequent for number in range(60)]
    samples = [
        Sample(f"f{number}", "Describe it.", "x", "open", "g", "t", explanation=text)
        for number, text in enumerate(texts)
    ]
    reward = Reasoning().with_corpus(samples)
    scores = [reward(sample, f"<think>{frequent}</think><answer>x</answer>").value for sample in samples]
    assert all(score is None for score in scores[::2])  # nothing distinguishes these images
    assert all(score is not None and score < 0.3 for score in scores[1::2])
    assert all(_paid(reward, sample, sample.explanation) == 1.0 for sample in samples[1::2])


def test_the_question_repeated_earns_nothing() -> None:
    samples = testbed.samples("train", 600)
    reward = Reasoning().with_corpus(samples)
    present = [sample for sample in samples if sample.topic == "presence"]
    repeated = [_paid(reward, sample, sample.question) for sample in present]
    statements = [
        (sample, sample.question.replace("Is there", "There is").replace("?", "."))
        for sample in present
        if sample.question.startswith("Is there")
    ]
    stated = [_paid(reward, sample, text) for sample, text in statements]
    honest = [_paid(reward, sample, sample.explanation) for sample in present]
    assert max(repeated) == 0.0
    assert max(stated) == 0.0
    assert honest == [1.0] * len(present)


@pytest.mark.parametrize("question", phantom.QUESTIONS["side"])
def test_of_the_alternatives_in_a_question_the_right_one_earns_and_the_wrong_one_or_both_do_not(question: str) -> None:
    gains = []
    for sample in OTHERS:
        if sample.question != question:
            continue
        other = "left" if sample.answer == "right" else "right"
        start = sample.explanation.split(" in the ")[0]
        ends = ("", f" on the {sample.answer}", f" on the {other}", " on the left or the right")
        unnamed, right, wrong, both = (_paid(reasoning(), sample, f"{start}{end}.") for end in ends)
        assert wrong == both == 0
        assert right >= unnamed
        gains.append(right - unnamed)
    assert fmean(gains) > 0.1


def test_without_other_explanations_every_fact_counts_in_full() -> None:
    reward = Reasoning().with_corpus([SAMPLE])
    assert _paid(reward, SAMPLE, "A large round mass lies in the left lower zone.") > 0.5


def test_the_reward_of_a_sample_does_not_depend_on_its_own_explanation_in_the_corpus() -> None:
    sample, *others = phantom.samples("train", 50)
    text = f"<think>{others[0].explanation}</think><answer>x</answer>"
    assert Reasoning().with_corpus(others)(sample, text) == Reasoning().with_corpus([sample, *others])(sample, text)


@pytest.mark.parametrize(
    ("explanation", "paraphrase", "other"),
    [
        (
            "Das Bild zeigt eine große Raumforderung im linken Unterlappen.",
            "eine große Raumforderung im linken",
            "links",
        ),
        ("左肺下叶可见一个大的肿块，没有积液。", "左肺下叶可见肿块", "右肾"),
    ],
)
def test_other_languages_are_compared_by_pairs_of_words(explanation: str, paraphrase: str, other: str) -> None:
    sample = Sample("l", "?", "x", "open", "g", "t", explanation=explanation)
    reward = reasoning(sample)
    assert _paid(reward, sample, explanation) == 1.0
    assert 0.2 < _paid(reward, sample, paraphrase) < 1.0
    assert _paid(reward, sample, f"{other} a b c") == 0.0
    assert _paid(reward, sample, " ".join(reversed(explanation.split() if " " in explanation else explanation))) < 0.25


@pytest.mark.parametrize(
    ("explanation", "mirror"),
    [
        ("Eine Raumforderung im linken Unterlappen.", "Eine Raumforderung im rechten Unterlappen."),
        ("Un derrame en el pulmón izquierdo.", "Un derrame en el pulmón derecho."),
        ("右肺清晰。左肺可见肿块。", "左肺清晰。右肺可见肿块。"),
    ],
)
def test_another_side_earns_nothing_in_other_languages(explanation: str, mirror: str) -> None:
    sample = Sample("l", "?", "x", "open", "g", "t", explanation=explanation)
    assert _paid(reasoning(sample), sample, explanation) == 1.0
    assert _paid(reasoning(sample), sample, mirror) == 0.0


def test_reports_written_after_the_rules_are_read_too() -> None:
    later = [Sample(f"l{i}", "?", "x", "open", "g", "t", explanation=one.text) for i, one in enumerate(LATER_REPORTS)]
    reward = Reasoning().with_corpus([*SAMPLES, *later])
    paraphrases = [_paid(reward, sample, one.paraphrase) for sample, one in zip(later, LATER_REPORTS, strict=True)]
    assert min(paraphrases) > 0.4
    assert fmean(paraphrases) > 0.8
    for sample, one in zip(later, LATER_REPORTS, strict=True):
        assert [false for false in one.false if _paid(reward, sample, false) > 0] == []
        words = one.text.split()
        assert max(_paid(reward, sample, " ".join(order)) for order in (sorted(words), words[::-1])) <= 0.25


def test_the_completions_of_a_step_are_scored_in_milliseconds() -> None:
    samples = phantom.samples("train", 200)
    reward = Reasoning().with_corpus(samples)
    pairs = [
        (sample, f"<think>{number} findings. {other.explanation}</think><answer>x</answer>")
        for sample in samples[:8]
        for number, other in enumerate(samples[100:108])
    ]
    started = time.process_time()
    for sample, completion in pairs:
        reward(sample, completion)
    assert time.process_time() - started < 0.25


@given(st.text() | st.text("left right no . ; and mass 5"), st.text() | st.text("left right no . ; and mass 5"))
def test_any_explanation_and_thought_have_a_value_in_range(explanation: str, thought: str) -> None:
    sample = Sample("s", "What is seen?", "mass", "open", "g", "t", explanation=explanation)
    value = reasoning(sample)(sample, f"<think>{thought}</think><answer>mass</answer>").value
    assert value is None or 0.0 <= value <= 1.0


VOCABULARY = (
    *("the", "a", "no", "not", "and", "or", "but", "with", "in", "of", "on", "is", "are", "shows", "left", "right"),
    *("bilateral", "upper", "lower", "large", "small", "normal", "enlarged", "lung", "heart", "mass", "effusion"),
    *("lesion", "two", "3.4", "cm", "mm", "possible", "may", "MRI", "CT", ".", ",", "it", "cannot", "excluded"),
    *("absent", "which", "so", "T2", "L4", "because"),
)


@given(st.lists(st.sampled_from(VOCABULARY), min_size=4, max_size=40), st.sampled_from(OTHERS))
def test_every_explanation_earns_1_for_itself_or_the_reward_abstains(words: list[str], other: Sample) -> None:
    text = " ".join(words)
    sample = Sample("s", "What is seen?", "mass", "open", "g", "t", explanation=text)
    score = reasoning(sample)(sample, f"<think>{text}</think><answer>mass</answer>")
    assert score.value in (1.0, None) or score.why in ("empty think block", "think block repeats itself")
    copied = reasoning(sample)(other, f"<think>{text}</think><answer>{other.answer}</answer>").value
    assert copied is None or 0.0 <= copied <= 1.0
