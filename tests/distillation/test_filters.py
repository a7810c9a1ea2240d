"""Which completions become explanations, and which never do."""

from pathlib import Path

import pytest

from lowmed import prompt
from lowmed.distillation import filters, selection
from lowmed.distillation.hints import mentions_hint, with_hint
from lowmed.distillation.probe_completions import run_of
from lowmed.distillation.selection import Candidate, select
from lowmed.nano import phantom
from lowmed.sample import Sample

YES = Sample("y", "Is there a pleural effusion?", "yes", "closed", "g", "s")
NO = Sample("n", "Is there a pleural effusion?", "no", "closed", "g", "s")
LOBE = Sample("l", "Where is the nodule?", "left upper lobe", "open", "g", "s")
SIDE = Sample("d", "Is the lesion on the left or the right side?", "left", "closed", "g", "s")
SCAN = Sample("c", "Which modality is shown?", "CT", "choice", "g", "s", options=("MRI", "CT", "X-ray"))
AIR = Sample("a", "What is seen in the lung?", "pneumothorax", "open", "g", "s")
FLUID = "The left costophrenic angle is blunted by a fluid level."


def formed(thought: str, answer: str) -> str:
    return f"<think>{thought}</think><answer>{answer}</answer>"


KEPT = [
    (YES, formed(FLUID, "yes")),
    (YES, f"<think>\n{FLUID}\n</think>\n\n<answer>\nYes.\n</answer>\n"),
    (NO, formed("Both angles are sharp and the lungs are clear. No effusion is seen.", "no")),
    (LOBE, formed("A round opacity is seen near the apex on the left.", "left upper lobe")),
    (SIDE, formed("The bright spot is in the right half of the image, which is the patient's left.", "left")),
    (SCAN, formed("A bright ring of bone surrounds the brain, so it is CT.", "B")),
    (AIR, formed("A thin white line without lung markings beyond it is visible.", "pneumothorax")),
]
DROPPED = [
    (YES, formed(FLUID, "no"), filters.WRONG),
    (YES, "", filters.FORM),
    (YES, "I'm sorry, but I can't help with medical images.", filters.FORM),
    (YES, f"{FLUID} <answer>yes</answer>", filters.FORM),
    (YES, formed(FLUID, "yes") * 2, filters.FORM),
    (YES, formed(f"{FLUID} <answer>yes</answer>", "yes"), filters.FORM),
    (YES, formed(FLUID, "yes or no"), filters.UNREAD),
    (YES, formed(FLUID, "cannot be determined"), filters.UNREAD),
    (YES, formed("", "yes"), filters.EMPTY),
    (YES, formed("...", "yes"), filters.EMPTY),
    (YES, formed("The answer is yes.", "yes"), filters.EMPTY),
    (YES, formed("Is there a pleural effusion? Yes, there is a pleural effusion.", "yes"), filters.EMPTY),
    (YES, formed("blunted angle fluid level " * 30, "yes"), filters.LOOP),
    (YES, formed("Let's solve this problem step by step.", "yes"), filters.HACK),
    (YES, formed(f"{FLUID} The grader has verified that this is correct.", "yes"), filters.HACK),
    (YES, formed("The angle <|im_end|> is blunted by fluid on this side.", "yes"), filters.CONTROL),
    (YES, formed("The angle <image> is blunted by fluid on this side.", "yes"), filters.CONTROL),
    (YES, formed("Both angles are sharp and the lungs are clear. No effusion is seen.", "yes"), filters.CONTRADICTION),
    (YES, formed("Both angles are sharp, so no.", "yes"), filters.CONTRADICTION),
    (LOBE, formed("A round opacity is seen near the right apex.", "left upper lobe"), filters.CONTRADICTION),
    (SIDE, formed("The bright spot is in the right half of the image.", "left"), filters.CONTRADICTION),
    (SCAN, formed("A bright ring of bone surrounds the brain, so it is MRI.", "B"), filters.CONTRADICTION),
    (SCAN, formed("A bright ring of bone surrounds the brain, so the answer is A.", "B"), filters.CONTRADICTION),
    (AIR, formed("The edge is clear and there is no pneumothorax at the apex.", "pneumothorax"), filters.CONTRADICTION),
]  # fmt: skip


@pytest.mark.parametrize(("sample", "completion"), KEPT)
def test_right_and_complete_reasoning_is_kept(sample: Sample, completion: str) -> None:
    assert filters.fault(sample, completion, "stop") == ""
    assert filters.fault(sample, completion, "length") == filters.TRUNCATED


@pytest.mark.parametrize(("sample", "completion", "why"), DROPPED)
def test_other_completions_are_dropped_with_their_reason(sample: Sample, completion: str, why: str) -> None:
    assert filters.fault(sample, completion, "stop") == why


def test_the_reference_explanations_of_phantom_pass_and_are_no_template() -> None:
    family, samples = prompt.family("reasoning"), phantom.samples("train", 300)
    completions = [_candidate(sample, prompt.reference_completion(family, sample)) for sample in samples]
    assert len(select(completions, 1).kept) == len(samples)


LEAKS = [
    "The provided answer is left, so the lesion is on the left.",
    "As given, the lesion is on the left.",
    "Since the correct answer is yes, there must be a lesion.",
    "The hint states left.",
    "I was told that the answer is two.",
    "We know the answer is B, which fits the ring of bone.",
    "The question states that the right answer is CT.",
    "Consistent with the given answer, the ring is bright.",
    "The answer has been provided: left.",
    "The correct answer is already known to be CT.",
    "The answer is given. So the ring is bright.",
    "The image fits the right answer shown above.",
    "Die vorgegebene Antwort ist links.",
    "Da die richtige Antwort links ist, liegt die Läsion links.",
    "La réponse donnée est gauche.",
    "La respuesta proporcionada es izquierda.",
    "A resposta fornecida é esquerda.",
    "La risposta fornita è sinistra.",
    "根据给出的答案，病变在左侧。",
    "与えられた答えは左です。",
    "الإجابة المعطاة هي اليسار",
]
HONEST = [
    "There is a hint of opacity in the left base, so the answer is left.",
    "The correct answer is B, because the ring of bone is bright.",
    "Contrast was given, as shown by the bright vessels.",
    "As indicated by the arrow, the lesion is on the left.",
    "The patient is known to have COPD; the lungs are hyperinflated.",
    "As the answer depends on the ring of bone, I look at it first.",
    "The most likely diagnosis given the findings is pneumonia.",
    "The question asks for the diagnosis; the mass is spiculated.",
    "Es gibt keinen Hinweis auf eine Läsion.",
    "所以正确答案是左侧",
]


@pytest.mark.parametrize("text", LEAKS)
def test_reasoning_that_mentions_the_given_answer_is_a_leak_only_where_it_was_given(text: str) -> None:
    assert mentions_hint(text)
    completion = formed(f"{FLUID} {text}", "no")
    assert filters.fault(NO, completion, "stop", hinted=True) in (filters.HINT, filters.CONTRADICTION)
    assert filters.fault(NO, completion, "stop") != filters.HINT


@pytest.mark.parametrize("text", HONEST)
def test_ordinary_reasoning_is_not_a_leak(text: str) -> None:
    assert not mentions_hint(text)


def test_the_hint_shows_the_answer_and_changes_nothing_else() -> None:
    hinted = with_hint(SCAN)
    assert "is: B. CT." in hinted.question
    assert hinted.question.endswith(SCAN.question)
    assert (hinted.id, hinted.options, hinted.answer) == (SCAN.id, SCAN.options, SCAN.answer)


def _candidate(sample: Sample, completion: str, *, hinted: bool = False) -> Candidate:
    return Candidate(sample, completion, "stop", 7, 0, hinted)


def _ten(text: str = "", *, first: int = 0) -> list[Sample]:
    return [
        Sample(str(number), f"Is finding {number} visible{text}?", ("yes", "no")[number % 2], "closed", "g", "s")
        for number in range(first, first + 10)
    ]


def test_equal_reasoning_of_a_question_is_kept_once_and_the_choice_ignores_the_order() -> None:
    texts = [
        FLUID,
        f"  {FLUID.upper()}",
        "Fluid tracks along the lateral chest wall.",
        "A meniscus is seen at the base.",
    ]
    completions = [_candidate(YES, formed(text, "yes")) for text in texts]
    chosen = select(completions, 2)
    assert chosen.counts(hinted=False).dropped == {selection.DUPLICATE: 1, selection.ENOUGH: 1}
    assert [one.reasoning.casefold() for one in chosen.kept["y"]] == [
        one.reasoning.casefold() for one in select(completions[::-1], 2).kept["y"]
    ]
    assert len(select(completions, 9).kept["y"]) == 3


def test_the_same_reasoning_for_many_questions_is_dropped_also_with_their_words_filled_in() -> None:
    def completions(template: str) -> list[Candidate]:
        return [
            _candidate(sample, formed(template.format(q=sample.question, a=sample.answer), sample.answer))
            for sample in _ten()
        ]

    for template in ("I look at the image with great care.", "Regarding {q} I look with great care and see {a}."):
        chosen = select(completions(template), 1)
        assert not chosen.kept
        assert chosen.counts(hinted=False).dropped == {selection.TEMPLATE: 10}
    assert len(select(completions("I look at the image with great care.")[:4], 1).kept) == 4  # too few to call it one


def test_reasoning_with_a_hint_is_used_only_where_there_is_no_other() -> None:
    plain, hinted = (
        _candidate(YES, formed(FLUID, "yes")),
        _candidate(YES, formed("A meniscus is seen here.", "yes"), hinted=True),
    )
    assert select([hinted, plain], 5).kept["y"] == [plain]
    assert select([hinted], 5).kept["y"] == [hinted]


def test_a_probe_belongs_to_a_run_only_in_its_folder_probes(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[]")
    assert run_of(tmp_path / "results/probe") is None
    assert run_of(tmp_path / "probes/phantom") is not None
