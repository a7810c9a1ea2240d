"""Audit a data set: its content, reasons against training on it, and points for review."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from lowmed import answer
from lowmed.data import folder, validate
from lowmed.data.answer_prior import AnswerPrior
from lowmed.data.audit import image_figures, image_scan, leaks, masked_text, near_duplicates, phi_patterns, record
from lowmed.data.image.policy import PixelPolicy
from lowmed.data.ingest import prepared_folder
from lowmed.data.ingest.boxes import is_outside
from lowmed.data.ingest.golds import is_lone_letter
from lowmed.progress import Advance
from lowmed.sample import KINDS, Sample

SHOWN = 12  # rows, images or pairs of each kind in the record
SHOWN_PAIRS = 200
Splits = Mapping[str, Sequence[Sample]]
Rows = Sequence[Sample]


def audit(
    path: Path, policy: PixelPolicy, against: Sequence[Path] = (), advance: Advance = lambda done, note: None
) -> record.AuditRecord:
    """Audit a data set, and compare it with others.

    Args:
        path: a folder with `samples.jsonl`, or another such file in it.
        policy: the pixel policy that image sizes are compared with.
        against: further data sets.
        advance: called with the number of images scanned and a note.

    Raises:
        DataError: a folder contains no data set.
    """
    data = folder.load(str(path), images=False)
    root = path if path.is_dir() else path.parent
    card = prepared_folder.data_card(root)
    stored = [file for _, file in prepared_folder.stored_files(root)]
    references = list(dict.fromkeys(image for sample in data.samples for image in sample.images))
    text_only = card is not None and not card.has_images
    scans = [] if text_only else list(image_scan.scan_all(root, references, advance))
    digests = leaks.image_digests(stored, scans)
    parts = leaks.parts(data.splits)
    shared = leaks.within(parts, digests)
    pairs = _near_within(data.splits, scans)
    for label, other in other_data(against).items():
        other_parts, other_digests, hashes = _other(other, label)
        shared += leaks.across(parts, digests, other_parts, other_digests)
        pairs += _near_across(scans, hashes, label)
    result = record.AuditRecord(
        data=record.AuditedData(
            card=card,
            rows=len(data.samples),
            rejected=len(data.rejected),
            samples_sha256=prepared_folder.samples_digest(path if path.is_file() else path / prepared_folder.SAMPLES),
        ),
        counts={split: counts(samples) for split, samples in data.splits.items()},
        baselines=baselines(data.splits),
        images=image_figures.figures(references, scans, stored, policy, text_only),
        gold=gold(data.samples, scans),
        repeats=repeats(data.samples),
        leaks=tuple(leak.record for leak in shared),
        near=record.NearDuplicates(
            pairs=len(pairs), within_bits=near_duplicates.MAX_DISTANCE, shown=tuple(pairs[:SHOWN_PAIRS])
        ),
        privacy=privacy(data.samples, scans, prepared_folder.rejected_files(root)),
        masked=masked_text.masked_text(root, stored) if card and card.mask_text else None,
    )
    reasons = _reasons(result, shared)
    verdict = "fail" if reasons else "pass"
    return result.model_copy(update={"reasons": reasons, "review": _review(result), "verdict": verdict})


def other_data(against: Sequence[Path]) -> dict[str, Path]:
    """The data sets to compare with, by a label in place of their names, which may be names of patients."""
    return {f"other data {number}": path for number, path in enumerate(against, start=1)}


def counts(samples: Rows) -> record.SplitCounts:
    """Rows, images, kinds, modalities and answers of one split."""
    answers = Counter(answer.normalize(sample.answer) for sample in samples)
    return record.SplitCounts(
        rows=len(samples),
        images=len({image for sample in samples for image in sample.images}),
        groups=len({sample.group for sample in samples}),
        kinds=dict(Counter(sample.kind for sample in samples).most_common()),
        yes_no=answers["yes"] + answers["no"],
        modalities=dict(Counter(sample.modality or "not stated" for sample in samples).most_common()),
        distinct_answers=len(answers),
        top_answers=tuple(
            record.AnswerShare(answer=text, rows=count, share=round(count / len(samples), 4))
            for text, count in answers.most_common(SHOWN)
        ),
    )


def baselines(splits: Splits) -> dict[str, dict[str, dict[str, float]]]:
    """The accuracy without images on each split but `train`, by rule, for all questions and for each kind.

    `question`, `first words` and `overall` predict the most frequent training answer to the same question text, to the
    same first two words, or to any question (the first seen, on a tie; `overall` if the text is new). `prior` is the
    baseline that evaluation shows, which falls back from one to the next. Reports do not count.
    """
    graded = {split: [sample for sample in rows if sample.kind != "report"] for split, rows in splits.items()}
    splits = {split: rows for split, rows in graded.items() if rows}
    train = splits.get("train", ())
    if not train:
        return {}
    rules: dict[str, Callable[[Sample], str]] = {
        "question": _most_frequent(train, lambda sample: " ".join(sample.question.casefold().split())),
        "first words": _most_frequent(train, lambda sample: " ".join(sample.question.casefold().split()[:2])),
        "overall": _most_frequent(train, lambda _: ""),
        "prior": AnswerPrior(train).answer,
    }
    return {
        split: {name: _accuracy(rule, samples) for name, rule in rules.items()}
        for split, samples in splits.items()
        if split != "train"
    }


def gold(samples: Rows, scans: Sequence[image_scan.ImageScan] = ()) -> record.UnreadableGolds:
    """Gold answers that do not read back as themselves, letters without options, and boxes outside of their image."""
    unread = [sample for sample in samples if not validate.reads_back(sample)]
    sizes = {scan.reference: scan.size for scan in scans if not scan.problem}
    return record.UnreadableGolds(
        unread=len(unread),
        shown=tuple(_shown(sample) for sample in unread[:SHOWN]),
        letters=sum(not sample.options and is_lone_letter(sample.answer) for sample in samples),
        outside=sum(
            is_outside(sample.answer, sample.question, [sizes[image] for image in sample.images if image in sizes])
            for sample in samples
            if sample.kind != "boxes"  # checked when the row is read, in pixels of the original image
        ),
    )


def repeats(samples: Rows) -> record.Repeats:
    """Rows that repeat a question about the same images, with the same or with another gold answer."""
    by_question: dict[tuple[object, ...], list[Sample]] = {}
    for sample in samples:
        key = (sample.images, sample.history, answer.normalize(sample.question))
        by_question.setdefault(key, []).append(sample)
    repeated = [rows for rows in by_question.values() if len(rows) > 1]
    conflicts = [rows for rows in repeated if len({answer.normalize(sample.answer) for sample in rows}) > 1]
    return record.Repeats(
        duplicates=sum(len(rows) - 1 for rows in repeated),
        conflicts=len(conflicts),
        shown=tuple(tuple(_shown(sample) for sample in rows) for rows in conflicts[:SHOWN]),
    )


def privacy(samples: Rows, scans: Sequence[image_scan.ImageScan], rejected: Iterable[str] = ()) -> record.Privacy:
    """Metadata in image files, names in paths, ids (also of rejected files) and histories, and images with text."""
    metadata = [record.MetadataImage(image=scan.reference, contains=scan.metadata) for scan in scans if scan.metadata]
    texts = {text for sample in samples for text in (*sample.images, sample.id, sample.group)} | set(rejected)
    suspicious = {text: what for text in sorted(texts) if (what := phi_patterns.phi_in_text(text))}
    suspicious |= phi_patterns.phi_in_histories(samples)
    names = [record.SuspiciousText(text=text, looks_like=what) for text, what in suspicious.items()]
    with_text = [record.TextImage(image=scan.reference, boxes=scan.text) for scan in scans if scan.text]
    return record.Privacy(
        metadata=len(metadata),
        metadata_shown=tuple(metadata[:SHOWN]),
        names=len(names),
        names_shown=tuple(names[:SHOWN]),
        text=len(with_text),
        text_shown=tuple(with_text[:SHOWN]),
        images_scanned=len(scans),
    )


def foremost(shared: Sequence[leaks.Leak]) -> list[leaks.Leak]:
    """The leaks without those that follow from shared images: equal images have equal files and pixels."""
    by_image = {(leak.a, leak.b) for leak in shared if leak.kind == "images"}
    implied = ("files", "decoded pixels")
    return [leak for leak in shared if leak.kind not in implied or (leak.a, leak.b) not in by_image]


def _most_frequent(train: Rows, key: Callable[[Sample], str]) -> Callable[[Sample], str]:
    table: dict[str, Counter[str]] = {}
    for sample in train:
        table.setdefault(key(sample), Counter())[answer.normalize(sample.answer)] += 1
    overall = Counter(answer.normalize(sample.answer) for sample in train)
    return lambda sample: table.get(key(sample), overall).most_common(1)[0][0]


def _accuracy(rule: Callable[[Sample], str], samples: Rows) -> dict[str, float]:
    """The share of correct answers, of all questions and of each kind."""
    graded = [(sample.kind, rule(sample) == answer.normalize(sample.answer)) for sample in samples]
    by_kind = {"all": [correct for _, correct in graded]}
    by_kind |= {kind: [correct for graded_kind, correct in graded if graded_kind == kind] for kind in KINDS}
    return {name: round(sum(correct) / len(correct), 4) for name, correct in by_kind.items() if correct}


def _near_within(splits: Splits, scans: Sequence[image_scan.ImageScan]) -> list[record.NearPair]:
    """Images of training and other splits that look alike and are not the same."""
    splits_of: dict[str, set[str]] = {}
    for split, samples in splits.items():
        for sample in samples:
            for image in sample.images:
                splits_of.setdefault(image, set()).add(split)
    train = [scan for scan in scans if not scan.problem and "train" in splits_of[scan.reference]]
    others = [scan for scan in scans if not scan.problem and "train" not in splits_of[scan.reference]]
    return _pairs(train, [(scan.reference, scan.phash) for scan in others], "")


def _near_across(
    scans: Sequence[image_scan.ImageScan], hashes: list[tuple[str, int]], label: str
) -> list[record.NearPair]:
    return _pairs([scan for scan in scans if not scan.problem], hashes, label)


def _pairs(left: Sequence[image_scan.ImageScan], right: list[tuple[str, int]], other: str) -> list[record.NearPair]:
    near = near_duplicates.near_pairs([scan.phash for scan in left], [phash for _, phash in right])
    pairs = [(left[row].reference, right[column][0], bits) for row, column, bits in near]
    different = sorted((pair for pair in pairs if pair[0] != pair[1]), key=lambda pair: (pair[2], pair[:2]))
    return [record.NearPair(a=a, b=b, bits=bits, b_data=other) for a, b, bits in different]


def _other(path: Path, label: str) -> tuple[list[leaks.Part], leaks.ImageDigests, list[tuple[str, int]]]:
    """The parts, digests and perceptual hashes of a data set to compare with."""
    data = folder.load(str(path), images=False)
    root = path if path.is_dir() else path.parent
    card = prepared_folder.data_card(root)
    references = list(dict.fromkeys(image for sample in data.samples for image in sample.images))
    with_images = card is None or card.has_images
    scans = list(image_scan.scan_all(root, references)) if with_images else []
    hashes = [(scan.reference, scan.phash) for scan in scans if not scan.problem]
    digests = leaks.image_digests([file for _, file in prepared_folder.stored_files(root)], scans)
    return leaks.parts(data.splits, label), digests, hashes


def _reasons(result: record.AuditRecord, shared: Sequence[leaks.Leak]) -> tuple[str, ...]:
    """Reasons against training on the data."""
    reasons = []
    if result.images.text_only:
        reasons.append("the data set was prepared without its images (--text-only)")
    elif result.images.loaded != result.images.expected:
        reasons.append(f"{result.images.loaded:,} images loaded of {result.images.expected:,} expected")
    if result.gold.unread:
        reasons.append(f"{result.gold.unread:,} gold answers do not read back as themselves")
    reasons += list(dict.fromkeys(leak.sentence for leak in foremost(shared) if leak.trained))
    if result.privacy.metadata:
        reasons.append(f"{result.privacy.metadata:,} image files contain metadata")
    return tuple(reasons)


def _review(result: record.AuditRecord) -> tuple[str, ...]:
    """Points for a person to review before training."""
    pairs, repeated, suspicious = result.near.pairs, result.repeats, result.privacy
    figures = result.images
    named = ", ".join(figures.blank_shown) + (", ..." if figures.blank > len(figures.blank_shown) else "")
    notes = {
        f"{figures.blank:,} images show one value, or nearly; no question about them can be answered: {named}": (
            figures.blank
        ),
        f"{figures.partly_used:,} source files have frames that no image shows, {figures.unused_frames:,} in all; "
        "lowmed data prepare --frames chooses": figures.partly_used,
        f"{pairs:,} pairs of images look alike across splits or data sets": pairs,
        f"{repeated.duplicates:,} rows repeat an earlier question about the same images": repeated.duplicates,
        f"{repeated.conflicts:,} questions about the same images have different gold answers": repeated.conflicts,
        f"{result.gold.letters:,} gold answers are a letter, and the questions have no options": result.gold.letters,
        f"{result.gold.outside:,} gold answers hold a box outside of the stored image": result.gold.outside,
        f"{suspicious.names:,} paths, ids or earlier turns may identify a patient": suspicious.names,
        f"{suspicious.text:,} of {suspicious.images_scanned:,} images may show text": suspicious.text,
        f"{result.data.rejected:,} rows cannot be used": result.data.rejected,
    }
    if result.masked:
        notes[masked_text.note(result.masked)] = result.masked.remaining
    skewed = [
        f"{split}: `{part.top_answers[0].answer}` is {100 * part.top_answers[0].share:.0f} % of all answers"
        for split, part in result.counts.items()
        if part.top_answers[0].share > 0.5
    ]
    return (*(note for note, count in notes.items() if count), *skewed)


def _shown(sample: Sample) -> record.ShownSample:
    return record.ShownSample(id=sample.id, question=sample.question, answer=sample.answer, kind=sample.kind)
