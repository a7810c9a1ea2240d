"""Whether the completion names the kind of image that it looks at."""

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
    """1 where the completion names the sample's modality and no other, 0 where it names another; else nothing to say.

    The idea is MediX-R1's (2602.23363), which weighs it with 0.05; how it recognises a modality is the toolkit's.
    """

    def __call__(self, sample: Sample, completion: str) -> Score:
        """Score one completion."""
        if not answer.normalize(sample.modality):
            return Score(None, "the sample has no modality")
        wanted = named(sample.modality) or frozenset({answer.normalize(sample.modality)})
        read = answer.read(completion, sample).value or ""
        said = named(f"{_TAG.sub('. ', completion)}. {read}", *wanted)
        if not said:
            return Score(None, "the reply names no modality")
        return Score(float(said == wanted), f"names {', '.join(sorted(said))}")


@lru_cache(maxsize=4096)
def named(text: str, *others: str) -> frozenset[str]:
    """The modalities that a text names and does not deny; `others` are looked for beside the known ones."""
    marked = mark_clauses(text)
    known = {**{other: (other,) for other in others}, **ALL.modalities}
    return frozenset(name for name, forms in known.items() if any(is_affirmed(form, marked) for form in forms))
