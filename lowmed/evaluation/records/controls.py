"""Effects of the controls."""

from lowmed.evaluation.records.report_metrics import ScoreDifference
from lowmed.records import Part

Interval = tuple[float, float]


class ControlAccuracy(Part):
    """Accuracy on the same questions with the real and with the altered input."""

    real: float
    """Accuracy with the real input."""
    accuracy: float
    """Accuracy with the altered input."""
    by_image: Interval
    """Interval of `accuracy`, by image."""
    effect: float
    """`real` - `accuracy`; for the shuffled image this is visual reliance."""
    effect_by_image: Interval
    """Interval of `effect`, paired, by image."""
    p_by_image: float
    """Sign-flip test over images that the effect is 0."""


class ControlEffect(Part):
    """Effect of one control."""

    questions: int
    """Questions to which the control applies."""
    strict: ControlAccuracy | None = None
    """Strict grades; absent without questions, and null if all are reports."""
    lenient: ControlAccuracy | None = None
    """Lenient grades; likewise."""
    reports: dict[str, ScoreDifference] | None = None
    """Real (`second`) minus altered input (`first`), by figure; absent without reports."""
    changed: float | None = None
    """Share of questions whose extracted answer changes."""
    unread: float | None = None
    """Share of unread completions with the altered input."""


class ControlReport(Part):
    """Effects of the controls on one system; a control that was not run is absent."""

    blind: ControlEffect | None = None
    """No image."""
    grey: ControlEffect | None = None
    """A gray image of the same size."""
    shuffled: ControlEffect | None = None
    """The image of another group."""
    options: ControlEffect | None = None
    """Options reordered."""
    flipped: ControlEffect | None = None
    """Image mirrored, left and right exchanged in the text."""
    contrastive: ControlEffect | None = None
    """The real input, decoded against a gray image. The accuracy of the model is that of ordinary decoding."""
    verdict: str = ""
    """Whether the answers depend on the image."""

    def effects(self) -> dict[str, ControlEffect]:
        """The controls that apply to at least one question, by name."""
        names = ("blind", "grey", "shuffled", "options", "flipped", "contrastive")
        effects: dict[str, ControlEffect | None] = {name: getattr(self, name) for name in names}
        return {name: effect for name, effect in effects.items() if effect and effect.questions}
