"""How much of what should be said is said, by its words."""

from lowmed import answer
from lowmed.answer.normalize import tokens
from lowmed.sample import Sample


def overlap(said: str, wanted: str, sample: Sample) -> float:
    """Token-F1 of two texts, and no more than that of what they say beyond the words of the question and its options.

    So an echo of the question earns nothing, unless the wanted text has no other words. In [0, 1].
    """
    given = set(tokens(answer.normalize(" ".join((sample.question, *sample.options)))))

    def beyond(text: str) -> str:
        return " ".join(token for token in tokens(answer.normalize(text)) if token not in given)

    whole, expected = answer.token_f1(said, wanted), beyond(wanted)
    return min(whole, answer.token_f1(beyond(said), expected)) if expected else whole
