"""What a testbed image shows: its modality, its findings, and features that have no meaning."""

from dataclasses import dataclass, replace

from lowmed.nano.canvas import Draws

QUADRANTS = ("upper left", "upper right", "lower left", "lower right")
SHAPES = ("round", "oval")
DENSITIES = ("dense", "lucent")
MARGINS = ("smooth", "spiculated")
MILLIMETERS = (8, 12, 18)  # with these scales, pixels alone do not decide
SCALES = (10, 15)  # pixels for 10 mm
SEEN = ("CT", "MRI", "X-ray", "ultrasound")
UNSEEN = ("mammography", "fundus")
STYLES = ("A", "B")  # of two hospitals
CORNERS = QUADRANTS  # of the image; the marker is in one of them
DISTRACTORS = ("wire", "ring")
MOST_FINDINGS = len(QUADRANTS)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. Its size is the longest diameter without spicules."""

    quadrant: str
    shape: str
    density: str
    margin: str
    millimeters: int


@dataclass(frozen=True, slots=True)
class Scene:
    """The content of an image. The findings are in reading order, at most one in each quadrant."""

    modality: str
    findings: tuple[Finding, ...]
    scale: int
    distractors: tuple[str, ...] = ()
    marker: str = CORNERS[0]
    style: str = STYLES[0]

    def at(self, quadrant: str) -> Finding:
        """The finding in a quadrant that has one."""
        return next(finding for finding in self.findings if finding.quadrant == quadrant)


def draw_scene(draws: Draws, modality: str, fewest: int, most: int) -> Scene:
    """A random scene with `fewest` to `most` findings; all their attributes are independent and equally likely."""
    count = draws.integer(fewest, most)
    places = draws.shuffled(QUADRANTS)[:count]
    findings = tuple(
        Finding(place, draws.one(SHAPES), draws.one(DENSITIES), draws.one(MARGINS), draws.one(MILLIMETERS))
        for place in QUADRANTS
        if place in places
    )
    distractors = tuple(name for name in DISTRACTORS if draws.integer(0, 2) == 0)
    return Scene(modality, findings, draws.one(SCALES), distractors)


def earlier(draws: Draws, scene: Scene, quadrant: str, millimeters: int) -> Scene:
    """The same patient before: one finding had another size, and the scale may differ."""
    findings = tuple(
        replace(finding, millimeters=millimeters) if finding.quadrant == quadrant else finding
        for finding in scene.findings
    )
    return replace(scene, findings=findings, scale=draws.one(SCALES))
