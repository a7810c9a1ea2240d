"""The audit of a data set as a typed record, which is stored as `audit.json`."""

from typing import Literal

from lowmed.data.ingest.prepared_folder import DataCard
from lowmed.records import Part, Record


class AuditedData(Part):
    """The audited data: the card if they were prepared, their rows, and the digest of the file of samples."""

    card: DataCard | None
    rows: int
    rejected: int
    samples_sha256: str = ""


class AnswerShare(Part):
    """A frequent answer; `share` of all rows of the split."""

    answer: str
    rows: int
    share: float


class SplitCounts(Part):
    """Rows, images, kinds, modalities and answers of one split."""

    rows: int
    images: int
    groups: int
    kinds: dict[str, int]
    yes_no: int
    modalities: dict[str, int]
    distinct_answers: int
    top_answers: tuple[AnswerShare, ...]


class Spread(Part):
    """Minimum, median and maximum."""

    min: float
    median: float
    max: float


class BrokenImage(Part):
    """An image that does not open."""

    image: str
    problem: str


class TokenBin(Part):
    """Images with at least `low` and fewer than `below` tokens at their original size."""

    low: int
    below: int
    images: int


class ImageFigures(Part):
    """Images that load, their original sizes in pixels, and their tokens at these sizes.

    Attributes:
        expected: images that samples refer to.
        loaded: images that open.
        text_only: whether the data set was prepared without images.
        broken: the first images that do not open.
        width: in pixels.
        height: in pixels.
        aspect: long side over short side.
        tokens: at the original size.
        token_histogram: the same, in bins.
        budget: `max_image_tokens` of the pixel policy.
        over_budget: share of the images with more tokens than the budget.
        blank: images that show one value, or nearly.
        blank_shown: the first of them.
        partly_used: source files with frames that no image shows.
        unused_frames: these frames.
    """

    expected: int
    loaded: int
    text_only: bool
    broken: tuple[BrokenImage, ...]
    width: Spread | None
    height: Spread | None
    aspect: Spread | None
    tokens: Spread | None
    token_histogram: tuple[TokenBin, ...]
    budget: int
    over_budget: float
    blank: int = 0
    blank_shown: tuple[str, ...] = ()
    partly_used: int = 0
    unused_frames: int = 0


class ShownSample(Part):
    """A sample in a list of examples."""

    id: str
    question: str
    answer: str
    kind: str


class UnreadableGolds(Part):
    """Gold answers that do not read back as themselves, and the first of them; gold answers that cannot be learnt.

    Attributes:
        unread: gold answers that do not read back.
        shown: the first of them.
        letters: questions without options whose gold answer is a letter.
        outside: gold answers with a box outside of the stored image.
    """

    unread: int
    shown: tuple[ShownSample, ...]
    letters: int = 0
    outside: int = 0


class Repeats(Part):
    """Rows that repeat a question about the same images, and questions with several gold answers."""

    duplicates: int
    conflicts: int
    shown: tuple[tuple[ShownSample, ...], ...]


class LeakRecord(Part):
    """Keys of part `b` that also occur in part `a`.

    Attributes:
        kind: ids, images, files, decoded pixels or groups.
        a: label of the one part.
        b: label of the other part.
        shared: keys of `b` that occur in `a`.
        of: distinct keys of `b`.
        questions: questions of `b` with such a key.
        of_questions: questions of `b`.
        trained: whether one of the parts is trained on.
        examples: the first shared keys.
        sentence: the leak in words.
    """

    kind: str
    a: str
    b: str
    shared: int
    of: int
    questions: int
    of_questions: int
    trained: bool
    examples: tuple[str, ...]
    sentence: str


class NearPair(Part):
    """Two images that look alike: distance in bits, and which of the other data sets `b` is in, e.g. `other data 1`."""

    a: str
    b: str
    bits: int
    b_data: str


class NearDuplicates(Part):
    """Pairs of similar images across splits or data sets, and the nearest of them."""

    pairs: int
    within_bits: int
    shown: tuple[NearPair, ...]


class MetadataImage(Part):
    """An image file with metadata, by the kinds of metadata only."""

    image: str
    contains: tuple[str, ...]


class SuspiciousText(Part):
    """A path, an id or a part of an earlier turn that may identify a patient."""

    text: str
    looks_like: str


class TextImage(Part):
    """An image that may show text; boxes are left, top, right, bottom in pixels."""

    image: str
    boxes: tuple[tuple[int, int, int, int], ...]


class Privacy(Part):
    """Metadata in image files, names in paths and ids, text in images; the first of each, and images scanned."""

    metadata: int
    metadata_shown: tuple[MetadataImage, ...]
    names: int
    names_shown: tuple[SuspiciousText, ...]
    text: int
    text_shown: tuple[TextImage, ...]
    images_scanned: int


class MaskedImage(Part):
    """An image with covered boxes and boxes where the detector still finds text, in pixels of the stored image."""

    image: str
    covered: tuple[tuple[int, int, int, int], ...]
    remaining: tuple[tuple[int, int, int, int], ...]


class MaskedText(Part):
    """Text that `--mask-text` covered.

    Attributes:
        images: images with covered text.
        boxes: covered boxes.
        of: images that were searched for text.
        searched_again: stored images that the audit searched; 0 if the detector is not installed.
        remaining: those of them in which it still finds text.
        shown: the first images, those with remaining text before others.
    """

    images: int
    boxes: int
    of: int
    searched_again: int
    remaining: int
    shown: tuple[MaskedImage, ...]


class Resplit(Part):
    """The clean split that was written: by image or patient, its file, and rows by split."""

    by: Literal["image", "patient"]
    file: str
    rows: dict[str, int]


class AuditRecord(Record):
    """The audit of a data set.

    Attributes:
        data: the audited folder.
        counts: rows, images and answers by split.
        baselines: accuracy without images: split -> rule -> kind -> share of correct answers.
        images: images that load, and their sizes.
        gold: gold answers that cannot be read back.
        repeats: repeated questions.
        leaks: overlaps of the splits with each other and with other data sets.
        near: similar images across splits.
        privacy: texts and metadata that may identify a patient.
        masked: text that was covered; null for data that were prepared without `--mask-text`.
        reasons: reasons against training on the data.
        review: points for a person to review.
        verdict: `fail` if there are reasons.
        resplit: the clean split that was written.
    """

    data: AuditedData
    counts: dict[str, SplitCounts]
    baselines: dict[str, dict[str, dict[str, float]]]
    images: ImageFigures
    gold: UnreadableGolds
    repeats: Repeats
    leaks: tuple[LeakRecord, ...]
    near: NearDuplicates
    privacy: Privacy
    masked: MaskedText | None = None
    reasons: tuple[str, ...] = ()
    review: tuple[str, ...] = ()
    verdict: Literal["pass", "fail"] = "pass"
    resplit: Resplit | None = None
