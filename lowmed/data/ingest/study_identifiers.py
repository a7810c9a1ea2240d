"""Recognize in a text the identifiers that a study's own tags contain: name, numbers, dates, UIDs."""

import re
from collections.abc import Iterable, Iterator
from datetime import date

from lowmed.data.ingest.dicom_studies import Study

SHORTEST = 4  # characters of a name or number; a shorter one also occurs by chance


def pattern(study: Study) -> re.Pattern[str] | None:
    """Matches any identifier of the study; None if its tags contain none."""
    numbers = [value for value in (study.patient, study.accession) if len(value) >= SHORTEST]
    numbers += [bare for value in numbers if len(bare := value.lstrip("0")) >= SHORTEST]
    uids = [study.uid, *(series.uid for series in study.series.values())]
    parts = [re.escape(text) for text in (*numbers, *filter(None, uids), *_dates(study.dates))]
    alternatives = [rf"(?<![^\W_])(?:{'|'.join(parts)})(?![^\W_])"] if parts else []
    alternatives += [_name(part) for part in re.split(r"[\^=,\s]+", study.name) if _is_name(part)]
    return re.compile("|".join(alternatives)) if alternatives else None


def holds(texts: Iterable[str], identifiers: re.Pattern[str] | None) -> bool:
    """Whether one of the texts contains an identifier."""
    return identifiers is not None and any(identifiers.search(text) for text in texts)


def _is_name(part: str) -> bool:
    cased = part.lower() != part.upper()
    return len(part) >= (SHORTEST if cased else 2) and any(letter.isalpha() for letter in part)


def _name(part: str) -> str:
    """A name in its spelling, in capitals, or with one: a name in lower case may be any word (Long, Bone)."""
    spellings = dict.fromkeys((part, part.upper(), part.capitalize()))
    joined = "|".join(map(re.escape, spellings))
    return rf"(?<![^\W_])(?:{joined})(?![^\W\d_])" if part.lower() != part.upper() else re.escape(part)


def _dates(values: Iterable[str]) -> Iterator[str]:
    """Common ways to write each date of the tags."""
    for value in values:
        try:
            day = date(int(value[:4]), int(value[4:6]), int(value[6:8]))
        except ValueError:
            continue
        for form in ("%Y%m%d", "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y"):
            yield day.strftime(form)
        yield f"{day.day}.{day.month}.{day.year}"
        yield f"{day.month}/{day.day}/{day.year}"
        yield f"{day.day}/{day.month}/{day.year}"
