"""Findings of a text: what is seen, whether it is denied or hedged, side, place, properties and numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowmed.answer.findings import Finding, contradicts, is_english, read_findings


def _named(text: str, name: str) -> Finding:
    [finding] = [finding for finding in read_findings(text).findings if finding.name == name]
    return finding


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("A large left pleural effusion.", "effusion", {"sides": {"left"}, "places": {"pleura"}}),
        ("The effusion on the left is large.", "effusion", {"sides": {"left"}, "properties": {("large", False)}}),
        ("There is a hepatic lesion.", "lesion", {"places": {"liver"}}),
        ("A lesion in the liver.", "lesion", {"places": {"liver"}}),
        ("A 3.4 cm mass.", "mass", {"measures": {("length", 34.0)}}),
        ("The mass measures 34 mm.", "mass", {"measures": {("length", 34.0)}}),
        ("Two lesions are seen.", "lesion", {"count": 2.0}),
        ("The number of lesions is 2, and the count is two.", "count", {"count": 2.0}),
        ("The lungs are not clear.", "lung", {"denied": False, "properties": {("normal", True)}}),
        ("No enlarged heart.", "heart", {"denied": False, "properties": {("enlarged", True)}}),
        ("The kidney is hydronephrotic.", "kidney", {"properties": {("hydronephrotic", False)}}),
        (
            "Lesions at upper left and lower right.",
            "lesion",
            {"places": {"upper", "upper left", "lower", "lower right"}},
        ),
    ],
)
def test_a_finding_has_its_attributes(text: str, name: str, expected: dict[str, object]) -> None:
    finding = _named(text, name)
    assert {key: getattr(finding, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("text", "denied", "affirmed"),
    [
        ("No mass, nodule or effusion.", {"mass", "nodule", "effusion"}, set()),
        ("No effusion but a mass.", {"effusion"}, {"mass"}),
        ("There is no effusion and the lesion is large.", {"effusion"}, {"lesion"}),
        ("A mass without calcification.", {"calcification"}, {"mass"}),
        ("Effusion is absent. A mass is present.", {"effusion"}, {"mass"}),
        ("The effusion is not seen, the mass is seen.", {"effusion"}, {"mass"}),
        ("The lung is free of nodules.", {"nodule"}, {"lung"}),
        (
            "There are no signs of fractures, tumors, or other abnormalities.",
            {"fracture", "mass", "abnormality"},
            set(),
        ),
        ("A mass rather than an abscess.", {"abscess"}, {"mass"}),
        ("The scan doesn't show a fracture.", {"fracture"}, set()),
        (
            "A normal brain without any obvious signs of fracture, mass, or other findings.",
            {"fracture", "mass"},
            {"brain"},
        ),
        ("No compression of the mass.", {"compression"}, {"mass"}),
        ("No mass in the abdomen, nodule or effusion.", {"mass", "nodule", "effusion"}, {"abdomen"}),
        ("The nodule is seen and the effusion is not.", {"effusion"}, {"nodule"}),
        ("Mild cardiomegaly without pneumothoraces.", {"pneumothorax"}, {"cardiomegaly"}),
    ],
)
def test_a_denial_reaches_its_own_findings_only(text: str, denied: set[str], affirmed: set[str]) -> None:
    findings = [finding for finding in read_findings(text).findings if finding.kind != "other"]
    assert {finding.name for finding in findings if finding.denied} == denied
    assert {finding.name for finding in findings if not finding.denied} == affirmed


@pytest.mark.parametrize(
    "text",
    [
        "A possible mass.",
        "There may be a mass.",
        "Possibly, there is a mass.",
        "A mass cannot be excluded.",
        "A mass is likely.",
        "There is a mass. This cannot be excluded.",
        "A mass or a cyst.",
    ],
)
def test_a_hedged_finding_is_no_statement(text: str) -> None:
    assert _named(text, "mass").hedged


@pytest.mark.parametrize(
    "text",
    [
        "To determine if there is a mass, we look at the lung.",
        "MRI is commonly used to diagnose masses.",
        "It is a frequent site of masses.",
    ],
)
def test_a_question_or_a_generality_states_no_finding(text: str) -> None:
    assert "mass" not in {finding.name for finding in read_findings(text).findings}


@pytest.mark.parametrize(
    "text",
    [
        "zone lower left the in lies mass round large A",
        "A in large left lies lower mass round the zone",
        "the the lung is is clear clear",
        "mass lung left clear effusion round large seen zone lower",
    ],
)
def test_words_without_the_order_of_a_sentence_state_no_finding(text: str) -> None:
    reading = read_findings(text)
    assert [finding for finding in reading.findings if finding.kind == "finding"] == []
    assert reading.disordered >= 3


@pytest.mark.parametrize(
    ("text", "reference", "conflict"),
    [
        ("A left effusion.", "A right effusion.", True),
        ("A bilateral effusion.", "A right effusion.", True),
        ("An effusion.", "A right effusion.", False),
        ("No effusion.", "A right effusion.", True),
        ("No left effusion.", "A right effusion.", False),
        ("A left effusion.", "No right effusion.", False),
        ("The left lung is clear.", "The right lung is clear.", False),
        ("The left kidney is cystic.", "The right kidney is cystic. The left kidney is normal.", True),
        ("A 5 cm mass.", "A 3.4 cm mass.", True),
        ("A 34 mm mass.", "A 3.4 cm mass.", False),
        ("Three lesions.", "Two lesions.", True),
        ("A mass in the upper lobe.", "A mass in the lower lobe.", True),
        ("Lesions at upper left and lower left.", "Lesions at upper left and lower right.", True),
        ("Herniation at L4/L5.", "Herniation at L3/L4.", True),
        ("The side is not left.", "The side is left.", True),
        ("A CT image.", "An MRI image.", True),
        ("An MRI or CT image.", "An MRI image.", False),
        ("A left effusion with shift to the right.", "A right effusion with shift to the left.", True),
        ("A small left and a large right effusion.", "A fracture of the rib.", False),
        ("Vascular but no neural invasion.", "Neural invasion but no vascular invasion.", True),
        ("A small left mass and a large right mass.", "A large left mass and a small right mass.", True),
    ],
)
def test_texts_that_cannot_both_be_true_are_in_conflict(text: str, reference: str, conflict: bool) -> None:
    assert bool(contradicts(read_findings(text).findings, read_findings(reference).findings)) == conflict


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("The image shows a mass.", True),
        ("Cardiomegaly. Left effusion.", True),
        ("Das Bild zeigt eine große Raumforderung links.", False),
        ("La imagen muestra un derrame pleural izquierdo.", False),
        ("左肺可见一个大的肿块。", False),
        ("", False),
    ],
)
def test_english_is_recognized_by_its_words(text: str, english: bool) -> None:
    assert is_english(text) == english


@given(st.text() | st.text("left right no not mass is the a of 5 cm , . or may"))
def test_every_text_can_be_read(text: str) -> None:
    findings = read_findings(text).findings
    assert isinstance(contradicts(findings, findings), str)
    assert is_english(text) in (True, False)
