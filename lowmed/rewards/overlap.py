"""Token overlap of two texts, without the words that the question gives away."""

from lowmed import answer
from lowmed.answer.normalize import tokens
from lowmed.sample import Sample


def overlap(text: str, reference: str, sample: Sample) -> float:
    """Token-F1 of two texts, at most that of the tokens that are not in the question or its options; in [0, 1].

    So an echo of the question earns 0, unless the reference has no other tokens.
    """
    known = set(tokens(answer.normalize(" ".join((sample.question, *sample.options)))))

    def new_tokens(source: str) -> str:
        return " ".join(token for token in tokens(answer.normalize(source)) if token not in known)

    f1, new_reference = answer.token_f1(text, reference), new_tokens(reference)
    return min(f1, answer.token_f1(new_tokens(text), new_reference)) if new_reference else f1
