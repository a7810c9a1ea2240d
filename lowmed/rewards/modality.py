"""Whether the completion names the modality of the image."""

import re
from dataclasses import dataclass
from functools import lru_cache

from lowmed import answer
from lowmed.answer.lexicon import ALL
from lowmed.answer.negation import is_affirmed, mark_clauses
from lowmed.rewards.score import Score
from lowmed.sample import Sample

_TAG = re.compile(r"<[^<>]*>")


@dataclass(frozen=True)
class Modality:
    """1 if the completion names the sample's modality and no other, 0 if it names another one.

    It abstains if the completion names none. The idea is MediX-R1's (2602.23363), which weights it with 0.05. The names
    of the modalities are lowmed's.
    """

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if not answer.normalize(sample.modality):
            return Score(None, "the sample has no modality")
        expected = named_modalities(sample.modality) or frozenset({answer.normalize(sample.modality)})
        value = answer.read(completion, sample).value or ""
        named = named_modalities(f"{_TAG.sub('. ', completion)}. {value}", *expected)
        if not named:
            return Score(None, "the completion names no modality")
        return Score(float(named == expected), f"names {', '.join(sorted(named))}")


@lru_cache(maxsize=4096)
def named_modalities(text: str, *others: str) -> frozenset[str]:
    """The modalities that a text names without denying them, out of the known ones and `others`."""
    marked = mark_clauses(text)
    names = {**{other: (other,) for other in others}, **ALL.modalities}
    return frozenset(modality for modality, forms in names.items() if any(is_affirmed(form, marked) for form in forms))
