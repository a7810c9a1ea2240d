"""Left and right in texts of languages whose findings are not read: whether two texts exchange the sides."""

from collections import defaultdict

from lowmed.answer.normalize import normalize, tokens


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LEFT = _words(
    "left links linke linken linker linkes linksseitig linksseitige izquierdo izquierda izquierdos izquierdas"
    " gauche gauches esquerdo esquerda esquerdos esquerdas sinistro sinistra sinistri sinistre 左 اليسرى الأيسر يسار"
)
_RIGHT = _words(
    "right rechts rechte rechten rechter rechtes rechtsseitig rechtsseitige derecho derecha derechos derechas"
    " droit droite droits droites direito direita direitos direitas destro destra destri destre 右 اليمنى الأيمن يمين"
)


def exchanged_side(text: str, reference: str) -> str:
    """The first words that the text has on the side on which the reference does not have them; else "".

    Words are compared with what stands next to a side: one or two words after it, or one before it.
    """
    expected = _contexts(reference)
    for context, sides in _contexts(text).items():
        if context in expected and sides.isdisjoint(expected[context]):
            return " ".join([*sorted(sides), *context[1:]])
    return ""


def _contexts(text: str) -> dict[tuple[str, ...], set[str]]:
    words = tokens(normalize(text))
    contexts: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for index, word in enumerate(words):
        side = "left" if word in _LEFT else "right" if word in _RIGHT else ""
        if side:
            contexts["after", *words[index + 1 : index + 2]].add(side)
            contexts["after", *words[index + 1 : index + 3]].add(side)
            contexts["before", *words[max(0, index - 1) : index]].add(side)
    return {context: sides for context, sides in contexts.items() if len(context) > 1}
