"""The questions of the testbed: topics of one to three steps, each with its answer and its reasoning.

| topic     | steps | kind   | answers                                          |
| --------- | ----- | ------ | ------------------------------------------------ |
| presence  | 1     | closed | yes, no                                          |
| modality  | 1     | choice | CT, MRI, X-ray, ultrasound                       |
| density   | 1     | open   | dense, lucent                                    |
| margin    | 1     | open   | smooth, spiculated                               |
| count     | 1     | open   | two, one, three, four                            |
| size      | 1     | number | 8, 12, 18 (mm, by the scale bar)                 |
| count_by  | 2     | open   | one, two, three                                  |
| larger    | 2     | open   | the quadrant of the larger of two findings       |
| diagnosis | 3     | choice | benign, malignant, cyst, by a rule in the text   |
| change    | 3     | choice | grown, shrunk, stable, against an earlier image  |
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lowmed.nano.canvas import Draws
from lowmed.sample import Kind
from lowmed.testbed.scene import DENSITIES, MARGINS, MILLIMETERS, QUADRANTS, SEEN, Finding, Scene, earlier

NUMBERS = ("none", "one", "two", "three", "four")
MALIGNANT_OVER = 10  # mm
RULE = (
    f"Rule: spiculated over {MALIGNANT_OVER} mm is malignant, smooth and lucent is a cyst, any other finding is benign."
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a scene.

    Attributes:
        text: the question.
        answer: its answer.
        reasoning: sentences, one for each step; the last one ends with the answer.
        before: the earlier image of a question about a change.
    """

    text: str
    answer: str
    reasoning: tuple[str, ...]
    before: Scene | None = None


@dataclass(frozen=True, slots=True)
class Topic:
    """One kind of question: steps of reasoning, possible answers, numbers of findings, and how a question is posed."""

    steps: int
    kind: Kind
    answers: tuple[str, ...]
    findings: tuple[int, int]
    ask: Callable[[Draws, Scene], Question]


def diagnosis(finding: Finding) -> str:
    """The diagnosis of a finding by RULE."""
    if finding.margin == "spiculated" and finding.millimeters > MALIGNANT_OVER:
        return "malignant"
    return "cyst" if finding.margin == "smooth" and finding.density == "lucent" else "benign"


def _presence(draws: Draws, scene: Scene) -> Question:
    quadrant = draws.one(QUADRANTS)
    there = [finding for finding in scene.findings if finding.quadrant == quadrant]
    answer = "yes" if there else "no"
    # A reasoning reward must not pay the question repeated, so the reasoning has what only the image shows.
    shown = f"a {there[0].density} {there[0].margin} finding" if there else "normal tissue"
    return Question(
        draws.one((f"Is there a finding in the {quadrant}?", f"Does the {quadrant} show a finding?")),
        answer,
        (f"The {quadrant} shows {shown}.", f"So the answer is {answer}."),
    )


def _modality(draws: Draws, scene: Scene) -> Question:
    text = draws.one(("What is the imaging modality?", "Which modality was used?"))
    return Question(text, scene.modality, (f"The modality is {scene.modality}.",))


def _density(draws: Draws, scene: Scene) -> Question:
    finding = draws.one(scene.findings)
    where = finding.quadrant
    return Question(
        draws.one((f"What is the density of the finding in the {where}?", f"Is the {where} finding dense or lucent?")),
        finding.density,
        (f"The finding in the {where} is {finding.shape} and {finding.density}.", f"The density is {finding.density}."),
    )


def _margin(draws: Draws, scene: Scene) -> Question:
    finding = draws.one(scene.findings)
    where = finding.quadrant
    return Question(
        draws.one(
            (f"What is the margin of the finding in the {where}?", f"Is the {where} finding smooth or spiculated?")
        ),
        finding.margin,
        (f"The finding in the {where} is {finding.shape} and {finding.margin}.", f"The margin is {finding.margin}."),
    )


def _size(draws: Draws, scene: Scene) -> Question:
    finding = draws.one(scene.findings)
    where, size = finding.quadrant, str(finding.millimeters)
    return Question(
        draws.one((f"How many mm is the finding in the {where}?", f"What is the size of the {where} finding in mm?")),
        size,
        (f"The finding in the {where} is {finding.shape} and {size} mm wide.", f"The size is {size}."),
    )


def _count(draws: Draws, scene: Scene) -> Question:
    answer = NUMBERS[len(scene.findings)]
    return Question(
        draws.one(("How many findings are there?", "Count the findings.")),
        answer,
        (f"There are findings in the {_places(scene.findings)}.", f"The count is {answer}."),
    )


def _count_by(draws: Draws, scene: Scene) -> Question:
    name, values = draws.one((("density", DENSITIES), ("margin", MARGINS)))
    value = draws.one(values)
    of_findings = [getattr(finding, name) for finding in scene.findings]
    listed = ", ".join(f"{finding.quadrant} {own}" for finding, own in zip(scene.findings, of_findings, strict=True))
    answer = NUMBERS[of_findings.count(value)]
    return Question(
        draws.one((f"How many findings are {value}?", f"Count the {value} findings.")),
        answer,
        (f"The findings are {listed}.", f"The count of {value} is {answer}."),
    )


def _larger(draws: Draws, scene: Scene) -> Question:
    first, second = draws.shuffled(scene.findings)[:2]
    # Findings of equal size have no answer; the caller draws another scene.
    sizes = f"{first.quadrant} finding is {first.millimeters} mm, the {second.quadrant} one {second.millimeters} mm"
    larger = first if first.millimeters > second.millimeters else second
    answer = larger.quadrant if first.millimeters != second.millimeters else ""
    return Question(
        draws.one(
            (
                f"Which finding is larger, {first.quadrant} or {second.quadrant}?",
                f"Where is the larger finding, {first.quadrant} or {second.quadrant}?",
            )
        ),
        answer,
        (f"The {sizes}.", f"The larger is {answer}."),
    )


def _diagnosis(draws: Draws, scene: Scene) -> Question:
    sizes = [finding.millimeters for finding in scene.findings]
    largest = max(scene.findings, key=lambda finding: finding.millimeters)
    answer = diagnosis(largest) if sizes.count(max(sizes)) == 1 else ""
    listed = ", ".join(f"{finding.quadrant} {finding.millimeters} mm" for finding in scene.findings)
    return Question(
        RULE + draws.one((" What is the largest finding?", " What is the diagnosis of the largest finding?")),
        answer,
        (
            f"The findings are {listed}.",
            f"The largest, {largest.quadrant}, is {largest.density} and {largest.margin}.",
            f"The diagnosis is {answer}.",
        ),
    )


def _change(draws: Draws, scene: Scene) -> Question:
    finding = draws.one(scene.findings)
    where, after, size_before = finding.quadrant, finding.millimeters, draws.one(MILLIMETERS)
    answer = "stable" if size_before == after else "grown" if size_before < after else "shrunk"
    return Question(
        draws.one((f"How did the {where} finding change?", f"Has the finding in the {where} grown or shrunk?")),
        answer,
        (
            f"Before, the {where} finding was {size_before} mm.",
            f"Now it is {after} mm.",
            f"The change is {answer}.",
        ),
        earlier(draws, scene, where, size_before),
    )


def _places(findings: tuple[Finding, ...]) -> str:
    return " and ".join(finding.quadrant for finding in findings)


# The first answer of each is the one that the dial `prior` makes frequent, and that a model may learn as a habit.
TOPICS: Mapping[str, Topic] = {
    "presence": Topic(1, "closed", ("yes", "no"), (1, 3), _presence),
    "modality": Topic(1, "choice", SEEN, (1, 3), _modality),
    "density": Topic(1, "open", DENSITIES, (1, 3), _density),
    "margin": Topic(1, "open", MARGINS, (1, 3), _margin),
    "count": Topic(1, "open", ("two", "one", "three", "four"), (1, 4), _count),
    "size": Topic(1, "number", ("12", "8", "18"), (1, 3), _size),
    "count_by": Topic(2, "open", ("two", "one", "three"), (2, 4), _count_by),
    "larger": Topic(2, "open", QUADRANTS, (2, 3), _larger),
    "diagnosis": Topic(3, "choice", ("benign", "malignant", "cyst"), (2, 3), _diagnosis),
    "change": Topic(3, "choice", ("stable", "grown", "shrunk"), (1, 2), _change),
}
