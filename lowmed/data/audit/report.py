"""The audit of a data set as one JSON document: what is in it, what is wrong with it, what deserves a look."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from lowmed import answer
from lowmed.data import folder, validate
from lowmed.data.answer_prior import AnswerPrior
from lowmed.data.audit import image_scan, leaks, near_duplicates, phi_patterns
from lowmed.data.image.policy import PixelPolicy, image_tokens
from lowmed.data.ingest import prepared_folder
from lowmed.sample import KINDS, Sample

SHOWN = 12  # rows, images or pairs of each kind in the document
SHOWN_PAIRS = 200
NATIVE = PixelPolicy(16384)
TOKEN_BINS = (0, 64, 128, 256, 512, 1024, 2048, 4096, 16385)
Advance = Callable[[int, str], None]
Splits = Mapping[str, Sequence[Sample]]
Rows = Sequence[Sample]


def audit(
    path: Path, policy: PixelPolicy, against: Sequence[Path] = (), advance: Advance = lambda done, note: None
) -> dict[str, Any]:
    """Look at everything in a data set, and compare it with others.

    `policy` is the budget that images are measured against.

    Raises:
        DataError: a folder holds no data set.
    """
    data = folder.load(str(path), images=False)
    place = path if path.is_dir() else path.parent
    card = prepared_folder.data_card(place)
    stored = [each for _, each in prepared_folder.stored_files(place)]
    known = leaks.facts(stored)
    references = list(dict.fromkeys(image for sample in data.samples for image in sample.images))
    without = card is not None and not card.has_images
    looks = [] if without else list(image_scan.scan_all(place, references, advance))
    parts = leaks.parts(data.splits)
    result = leaks.within(parts, known)
    pairs = _near_within(data.splits, looks)
    for other in against:
        theirs, their_facts, hashes = _other(other)
        result += leaks.across(parts, known, theirs, their_facts)
        pairs += _near_across(looks, hashes, other)
    document: dict[str, Any] = {
        "data": {
            "folder": path.name,
            "card": card.model_dump(mode="json") if card else None,
            "rows": len(data.samples),
            "rejected": len(data.rejected),
        },
        "counts": {split: counts(samples) for split, samples in data.splits.items()},
        "floor": floors(data.splits),
        "images": images(references, looks, stored, policy, without),
        "gold": gold(data.samples),
        "repeats": repeats(data.samples),
        "leaks": [leak.record for leak in result],
        "near": {"pairs": len(pairs), "within_bits": near_duplicates.MAX_DISTANCE, "shown": pairs[:SHOWN_PAIRS]},
        "privacy": privacy(data.samples, looks, prepared_folder.rejected_files(place)),
    }
    document["reasons"], document["review"] = _reasons(document, result), _review(document)
    document["verdict"] = "fail" if document["reasons"] else "pass"
    return document


def counts(samples: Rows) -> dict[str, Any]:
    """Rows, images, kinds, modalities and answers of one split."""
    answers = Counter(answer.normalize(sample.answer) for sample in samples)
    return {
        "rows": len(samples),
        "images": len({image for sample in samples for image in sample.images}),
        "groups": len({sample.group for sample in samples}),
        "kinds": dict(Counter(sample.kind for sample in samples).most_common()),
        "yes_no": answers["yes"] + answers["no"],
        "modalities": dict(Counter(sample.modality or "not stated" for sample in samples).most_common()),
        "distinct_answers": len(answers),
        "top_answers": [
            {"answer": text, "rows": count, "share": round(count / len(samples), 4)}
            for text, count in answers.most_common(SHOWN)
        ],
    }


def floors(splits: Splits) -> dict[str, Any]:
    """What answers from the training answers alone get right on each other split, of all and of each kind.

    `question`, `first words` and `overall` give the most frequent training answer to the same question text, to the
    same first two words, or to anything (the first seen, on a tie; `overall` where the text is new). `prior` is the
    floor that evaluation shows, which falls back from one to the next.
    """
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
        split: {name: _right(rule, samples) for name, rule in rules.items()}
        for split, samples in splits.items()
        if split != "train"
    }


def images(
    references: Sequence[str],
    looks: Sequence[image_scan.ImageScan],
    stored: Iterable[Any],
    policy: PixelPolicy,
    without: bool,
) -> dict[str, Any]:
    """Images loaded against images expected; sizes as the images came, and what they would cost in full."""
    broken = [{"image": seen.reference, "problem": seen.problem} for seen in looks if seen.problem]
    came = {image: size for each in stored for image, size in zip(each.images, each.sizes, strict=False)}
    sizes = [came.get(seen.reference, seen.size) for seen in looks if not seen.problem]
    tokens = [image_tokens(width, height, NATIVE) for width, height in sizes]
    over = sum(count > policy.max_image_tokens for count in tokens)
    return {
        "expected": len(references),
        "loaded": len(sizes),
        "text_only": without,
        "broken": broken[:SHOWN],
        "width": _spread([width for width, _ in sizes]),
        "height": _spread([height for _, height in sizes]),
        "aspect": _spread([round(max(size) / min(size), 2) for size in sizes]),
        "tokens": _spread(tokens),
        "token_histogram": [
            {"from": low, "below": high, "images": sum(low <= count < high for count in tokens)}
            for low, high in pairwise(TOKEN_BINS)
        ],
        "budget": policy.max_image_tokens,
        "over_budget": round(over / len(tokens), 4) if tokens else 0.0,
    }


def gold(samples: Rows) -> dict[str, Any]:
    """Gold answers that do not read back as themselves."""
    unread = [sample for sample in samples if not validate.reads_back(sample)]
    return {"unread": len(unread), "shown": [_told(sample) for sample in unread[:SHOWN]]}


def repeats(samples: Rows) -> dict[str, Any]:
    """Rows that ask the same of the same images: with the same answer, and with another one."""
    asked: dict[tuple[tuple[str, ...], str], list[Sample]] = {}
    for sample in samples:
        asked.setdefault((sample.images, answer.normalize(sample.question)), []).append(sample)
    again = [group for group in asked.values() if len(group) > 1]
    conflicts = [group for group in again if len({answer.normalize(sample.answer) for sample in group}) > 1]
    return {
        "duplicates": sum(len(group) - 1 for group in again),
        "conflicts": len(conflicts),
        "shown": [[_told(sample) for sample in group] for group in conflicts[:SHOWN]],
    }


def privacy(samples: Rows, looks: Sequence[image_scan.ImageScan], rejected: Iterable[str] = ()) -> dict[str, Any]:
    """Leftover metadata, names in paths and ids (of rejected files too), and images that may have text burned in."""
    metadata = [{"image": seen.reference, "holds": list(seen.metadata)} for seen in looks if seen.metadata]
    texts = {text for sample in samples for text in (*sample.images, sample.id, sample.group)} | set(rejected)
    names = [{"text": text, "looks_like": what} for text in sorted(texts) if (what := phi_patterns.phi_in_text(text))]
    burned = [{"image": seen.reference, "boxes": [list(box) for box in seen.text]} for seen in looks if seen.text]
    return {
        "metadata": len(metadata),
        "metadata_shown": metadata[:SHOWN],
        "names": len(names),
        "names_shown": names[:SHOWN],
        "text": len(burned),
        "text_shown": burned[:SHOWN],
        "looked_at": len(looks),
    }


def _most_frequent(train: Rows, key: Callable[[Sample], str]) -> Callable[[Sample], str]:
    table: dict[str, Counter[str]] = {}
    for sample in train:
        table.setdefault(key(sample), Counter())[answer.normalize(sample.answer)] += 1
    overall = Counter(answer.normalize(sample.answer) for sample in train)
    return lambda sample: table.get(key(sample), overall).most_common(1)[0][0]


def _right(rule: Callable[[Sample], str], samples: Rows) -> dict[str, float]:
    """Share of right answers, of all and of each kind."""
    right = [(sample.kind, rule(sample) == answer.normalize(sample.answer)) for sample in samples]
    hits = {"all": [hit for _, hit in right]} | {kind: [hit for own, hit in right if own == kind] for kind in KINDS}
    return {name: round(sum(result) / len(result), 4) for name, result in hits.items() if result}


def _near_within(splits: Splits, looks: Sequence[image_scan.ImageScan]) -> list[dict[str, Any]]:
    """Images of different splits that look alike and are not the same."""
    sides: dict[str, set[str]] = {}
    for split, samples in splits.items():
        for sample in samples:
            for image in sample.images:
                sides.setdefault(image, set()).add(split)
    train = [seen for seen in looks if not seen.problem and "train" in sides[seen.reference]]
    others = [seen for seen in looks if not seen.problem and "train" not in sides[seen.reference]]
    return _pairs(train, [(seen.reference, seen.phash) for seen in others], "")


def _near_across(
    looks: Sequence[image_scan.ImageScan], hashes: list[tuple[str, int]], other: Path
) -> list[dict[str, Any]]:
    return _pairs([seen for seen in looks if not seen.problem], hashes, str(other))


def _pairs(left: Sequence[image_scan.ImageScan], right: list[tuple[str, int]], place: str) -> list[dict[str, Any]]:
    result = near_duplicates.near_pairs([seen.phash for seen in left], [phash for _, phash in right])
    named = [(left[row].reference, right[column][0], bits) for row, column, bits in result]
    alike = sorted((pair for pair in named if pair[0] != pair[1]), key=lambda pair: (pair[2], pair[:2]))
    return [{"a": a, "b": b, "bits": bits, "b_folder": place} for a, b, bits in alike]


def _other(path: Path) -> tuple[list[leaks.Part], leaks.Facts, list[tuple[str, int]]]:
    """The parts, the digests and the hashes of a data set to compare with."""
    data = folder.load(str(path), images=False)
    place = path if path.is_dir() else path.parent
    card = prepared_folder.data_card(place)
    references = list(dict.fromkeys(image for sample in data.samples for image in sample.images))
    looks = image_scan.scan_all(place, references, lambda done, note: None) if card is None or card.has_images else ()
    hashes = [(seen.reference, seen.phash) for seen in looks if not seen.problem]
    known = leaks.facts([each for _, each in prepared_folder.stored_files(place)])
    return leaks.parts(data.splits, path.name), known, hashes


def _reasons(document: dict[str, Any], result: Sequence[leaks.Leak]) -> list[str]:
    """Why training on this would be wrong."""
    reasons = []
    images = document["images"]
    if images["text_only"]:
        reasons.append("the data set was prepared without its pictures (--text-only)")
    elif images["loaded"] != images["expected"]:
        reasons.append(f"{images['loaded']:,} images loaded of {images['expected']:,} expected")
    if unread := document["gold"]["unread"]:
        reasons.append(f"{unread:,} gold answers do not read back as themselves")
    reasons += list(dict.fromkeys(leak.told for leak in foremost(result) if leak.trained))
    if count := document["privacy"]["metadata"]:
        reasons.append(f"{count:,} picture files carry metadata beside their pixels")
    return reasons


def foremost(result: Sequence[leaks.Leak]) -> list[leaks.Leak]:
    """Of leaks between two parts, those of which the others are a consequence: equal files are equal images."""
    shared = {(leak.a, leak.b) for leak in result if leak.kind == "images"}
    implied = ("files", "decoded pixels")
    return [leak for leak in result if leak.kind not in implied or (leak.a, leak.b) not in shared]


def _review(document: dict[str, Any]) -> list[str]:
    """What a person should look at before deciding."""
    pairs, repeated, privacy_found = document["near"]["pairs"], document["repeats"], document["privacy"]
    text, looked_at = privacy_found["text"], privacy_found["looked_at"]
    notes = {
        f"{pairs:,} pairs of pictures look alike across splits or data sets; look at them side by side": pairs,
        f"{repeated['duplicates']:,} rows repeat an earlier question about the same images": repeated["duplicates"],
        f"{repeated['conflicts']:,} questions about the same images have different gold answers": repeated["conflicts"],
        f"{privacy_found['names']:,} paths or ids may tell of a patient": privacy_found["names"],
        f"{text:,} of {looked_at:,} pictures may have text burned in": text,
        f"{document['data']['rejected']:,} rows cannot be used": document["data"]["rejected"],
    }
    skewed = [
        f"{split}: `{top['answer']}` is {100 * top['share']:.0f} % of all answers"
        for split, part in document["counts"].items()
        if (top := part["top_answers"][0])["share"] > 0.5
    ]
    return [note for note, present in notes.items() if present] + skewed


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": median(values), "max": max(values)} if values else {}


def _told(sample: Sample) -> dict[str, str]:
    return {"id": sample.id, "question": sample.question, "answer": sample.answer, "kind": sample.kind}
