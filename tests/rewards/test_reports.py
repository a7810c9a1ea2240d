"""Rewards of reports, and the texts that must not earn them."""

import random
from functools import cache

import pytest

from lowmed import prompt, rewards
from lowmed.answer.findings.medical_words import FINDINGS
from lowmed.nano import phantom_report
from lowmed.recipe.io import load_recipe
from lowmed.rewards.abstention import abstentions
from lowmed.rewards.accuracy import Accuracy
from lowmed.rewards.check import check_rewards
from lowmed.rewards.format import Format
from lowmed.rewards.report_findings import ReportFindings
from lowmed.rewards.report_overlap import ReportOverlap
from lowmed.rewards.weighted import Weighted, total, with_corpus
from lowmed.sample import Sample

NORMAL = (
    "Findings: The heart is normal in size. The lungs are clear. There is no pleural effusion or pneumothorax.\n"
    "Impression: No acute abnormality."
)
ABNORMAL = (
    "Findings: The heart is enlarged. There is a small left pleural effusion. There is no pneumothorax.\n"
    "Impression: Cardiomegaly and a small left effusion."
)
REFERENCES = (ABNORMAL, *[NORMAL] * 7, "Findings: There is a large nodule in the right upper lobe. No effusion.")
SAMPLES = [
    Sample(f"s{number}", "Write a report.", text, "report", f"g{number}", "t", images=("i",))
    for number, text in enumerate(REFERENCES)
]
SAMPLE, NORMAL_SAMPLE = SAMPLES[:2]
NAMES = tuple(dict.fromkeys(FINDINGS.values()))


@cache
def findings() -> ReportFindings:
    return ReportFindings().with_corpus(SAMPLES)


def completion(text: str) -> str:
    return f"<answer>{text}</answer>"


def overlap(text: str, metric: str = "google_bleu", sample: Sample = SAMPLE) -> float:
    value = ReportOverlap(metric)(sample, text).value  # type: ignore[arg-type]
    assert value is not None
    return value


def agreement(text: str, sample: Sample = SAMPLE) -> float:
    value = findings()(sample, text).value
    assert value is not None
    return value


@pytest.mark.parametrize("sample", SAMPLES[:2])
def test_the_reference_earns_1_in_any_case_and_spacing(sample: Sample) -> None:
    for text in (sample.answer, sample.answer.upper(), " ".join(sample.answer.split())):
        assert overlap(completion(text), sample=sample) == overlap(completion(text), "rouge_l", sample) == 1.0
        assert agreement(completion(text), sample) == 1.0


NOTHING = {
    "empty": "",
    "empty tag": completion(""),
    "punctuation": completion("... !"),
    "report in the think block": f"<think>{ABNORMAL}</think><answer></answer>",
    "report in the think block, refusal": f"<think>{ABNORMAL}</think>{completion('I cannot say.')}",
    "several tags": completion(ABNORMAL) + completion(NORMAL),
    "the same tag twice": completion(ABNORMAL) * 2,
    "no tag": ABNORMAL,
    "prompt copied": completion("Write a report. Use the requested form."),
    "reference twice": completion(f"{ABNORMAL} {ABNORMAL}"),
    "reference ten times": completion(" ".join([ABNORMAL] * 10)),
    "one sentence again and again": completion("The heart is enlarged. " * 12),
    "reference in a long text": completion(ABNORMAL + " The next region was looked at with care and patience." * 40),
    "long text without an end": completion(" ".join(f"word{number}" for number in range(2000))),
}


@pytest.mark.parametrize("text", NOTHING.values(), ids=NOTHING.keys())
def test_texts_that_earn_nothing(text: str) -> None:
    assert agreement(text) == 0.0
    assert overlap(text) == overlap(text, "rouge_l") == 0.0 or (overlap(text) < 0.03 and overlap(text, "rouge_l") < 0.1)


def test_the_normal_report_earns_no_findings_where_the_image_is_abnormal() -> None:
    assert agreement(completion(NORMAL)) < 0.1
    assert agreement(completion(NORMAL), NORMAL_SAMPLE) == 1.0


def test_an_invented_finding_costs_more_than_a_usual_statement_earns() -> None:
    invented = NORMAL.replace("The lungs are clear.", "There is a large right pneumothorax.")
    assert agreement(completion(invented), NORMAL_SAMPLE) < 0.6


@pytest.mark.parametrize("form", ["{}", "no {}", "{}. No {}"])
def test_a_list_of_all_findings_earns_little(form: str) -> None:
    few = [form.replace("{}", name) for name in ("effusion", "cardiomegaly", *NAMES[:8])]
    for names in ([form.replace("{}", name) for name in NAMES], few):
        text = completion(f"There is {', '.join(names)}.")
        assert agreement(text) < 0.3
        assert overlap(text) < 0.15


def test_listing_every_side_earns_less_than_the_right_one() -> None:
    every = ABNORMAL.replace("a small left", "a small left and a large right and a bilateral")
    assert agreement(completion(every)) < 0.8 * agreement(completion(ABNORMAL))


def test_the_words_of_the_reference_in_another_order_earn_little() -> None:
    words = ABNORMAL.split()
    values = []
    for seed in range(20):
        shuffled = list(words)
        random.Random(seed).shuffle(shuffled)
        values.append((agreement(completion(" ".join(shuffled))), overlap(completion(" ".join(shuffled)))))
    assert max(value for value, _ in values) < 0.4
    assert max(value for _, value in values) < 0.4


def test_a_report_gains_nothing_by_length() -> None:
    padded = f"{ABNORMAL} The images were compared with care."
    assert overlap(completion(padded)) < 1
    assert overlap(completion(padded), "rouge_l") < 1
    assert agreement(completion(padded)) <= 1
    half = ABNORMAL.split("\n")[0]
    assert overlap(completion(half)) < overlap(completion(ABNORMAL))


def test_format_limits_length_and_repetition_of_a_report() -> None:
    form = Format("answer")
    assert form(SAMPLE, completion(ABNORMAL)).value == 1.0
    assert form(SAMPLE, completion(f"{ABNORMAL} {NORMAL}")).value == 1.0
    assert "at most" in form(SAMPLE, completion(" ".join(f"word{number}" for number in range(200)))).why
    assert form(SAMPLE, completion(f"{NORMAL} {NORMAL}")).why == "report has a sentence twice"
    assert form(SAMPLE, completion("left right " * 16)).why == "report repeats itself"


def test_rewards_of_short_answers_abstain_on_reports_and_the_reverse() -> None:
    assert Accuracy()(SAMPLE, completion(ABNORMAL)).value is None
    other = Sample("o", "Is there a mass?", "yes", "closed", "g", "t")
    assert ReportOverlap()(other, completion("yes")).value is None
    assert findings()(other, completion("yes")).value is None


def test_reports_among_other_questions_do_not_count_as_abstentions_of_accuracy() -> None:
    family = prompt.family("direct")
    closed = Sample("c", "Is there a mass?", "yes", "closed", "c", "t")
    built = rewards.build([("accuracy", 1.0, {}), ("report_findings", 1.0, {})], "answer")
    mixed = {one.reward: (one.questions, one.abstained) for one in abstentions(built, [*SAMPLES, closed], family)}
    assert mixed == {"accuracy": (1, 0), "report_findings": (len(SAMPLES), 0)}
    [alone, _] = abstentions(built, SAMPLES, family)
    assert alone.on_most


def test_findings_abstain_on_a_reference_without_findings_or_in_another_language() -> None:
    for text in ("Images of a hand.", "Kein Erguss, keine Fraktur, das Herz ist nicht vergrößert."):
        sample = Sample("x", "Write a report.", text, "report", "g", "t")
        assert findings()(sample, completion(text)).value is None
        assert ReportOverlap()(sample, completion(text)).value == 1.0


def _recipe_rewards() -> list[Weighted]:
    return rewards.for_recipe(load_recipe("report", nano=True))


def test_no_hack_beats_a_wrong_report_and_nothing_blind_earns_half() -> None:
    report = check_rewards(_recipe_rewards(), phantom_report.samples("train", 120), prompt.family("report"))
    assert report.failures == ()
    assert {"every finding", "words of the reference in another order"} <= {hack.hack for hack in report.hacks}


def test_the_recipe_pays_a_better_report_more() -> None:
    built = with_corpus(_recipe_rewards(), SAMPLES)

    def pays(text: str) -> float:
        return total(built, {reward.name: reward(SAMPLE, completion(text)) for reward in built})

    other_side = ABNORMAL.replace("left", "right")
    assert pays(ABNORMAL) > pays(other_side) > pays(NORMAL) > pays("I cannot say this from the image.")
