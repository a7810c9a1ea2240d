"""Random edits of texts and of JSON documents, each decided by a seed."""

import copy
import json
import os
import random
from typing import Any

from hypothesis import HealthCheck, settings

LONG = "LOWMED_FUZZ_EXAMPLES"  # `LOWMED_FUZZ_EXAMPLES=10000 pytest tests/fuzz` searches longer, with new seeds
SECONDS = 10  # a longer example fails a long search
PIECES = (
    "&a [*a]", "*a", "!!int 'a'", "!!python/object:os.system", "{{", "[" * 30, ": :", "\t", "\0", "- ", "1e999",
    "null", "<<: *a", "? ", "|", "'", '"', "é", "\u2028", ".inf", "0x1F", "2001-01-01", "yes", "~", "%YAML 1.3\n",
    "---\n",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 10**12, 2**70, -(2**63), 1e308, float("inf"), float("nan"), "", "x", "1", "é\u2028",
    "\x1b[31m", "\ud800", "../../etc/passwd", "/dev/zero", "<script>", "%s{}{0}", [], {}, [[]], [None], {"": {}},
    {"step": 1}, [1, "a", None], "long " * 300,
)  # fmt: skip


def search(usual: int) -> settings:
    """Settings of a search: `usual` inputs with fixed seeds, or as many new ones as the environment says."""
    long = os.environ.get(LONG)
    return settings(
        max_examples=int(long) if long else usual,
        deadline=1000 * SECONDS if long else None,
        derandomize=not long,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def mutated(text: str, seed: int) -> str:
    """The text with one to six random edits."""
    generator = random.Random(seed)
    for _ in range(generator.randint(1, 6)):
        at = generator.randrange(len(text) + 1)
        match generator.randrange(4):
            case 0:
                text = text[:at] + generator.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[at + generator.randint(1, 40) :]
            case 2:
                other = generator.randrange(len(text) + 1)
                text = text[:at] + text[other : other + 60] + text[at:]
            case _:
                lines = text.splitlines(keepends=True) or [""]
                generator.shuffle(lines)
                text = "".join(lines)
    return text


def mutated_bytes(data: bytes, seed: int) -> bytes:
    """A file of numbers with one to four random edits: bits, sizes, and parts that are cut, repeated or moved."""
    generator = random.Random(seed)
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(data) + 1)
        end = min(len(data), at + generator.randint(1, 64))
        match generator.randrange(6):
            case 0 if at < len(data):
                data = data[:at] + bytes([data[at] ^ (1 << generator.randrange(8))]) + data[at + 1 :]
            case 1:
                size = generator.choice((4, 8))
                number = generator.choice((0, 1, 2**20, 2**31 - 1, 2**31, 2 ** (8 * size) - 1, 2 ** (8 * size - 1)))
                data = data[:at] + number.to_bytes(size, "little") + data[at + size :]
            case 2:
                data = data[:at] if generator.random() < 0.3 else data[:at] + data[end:]
            case 3:
                data = data[:at] + generator.randbytes(end - at) + data[end:]
            case 4:
                data = data[:end] + data[at:]
            case _:
                other = generator.randrange(len(data) + 1)
                data = data[:at] + data[other : other + 64] + data[at + 64 :]
    return data


def mutated_object(value: Any, seed: int) -> Any:
    """An object of dictionaries and lists with one to three other values, keys or lengths; others stay the same."""
    generator = random.Random(seed)
    value = copy.deepcopy(value)
    for _ in range(generator.randint(1, 3)):
        value = _edited(value, generator, as_json=False)
    return value


def mutated_json(text: str, seed: int) -> bytes:
    """A JSON document with one to three other values, keys or lengths; sometimes with edits of its text."""
    generator = random.Random(seed)
    if generator.random() < 0.1:
        return mutated(text, seed).encode("utf-8", "surrogatepass")
    document = json.loads(text)
    for _ in range(generator.randint(1, 3)):
        document = _edited(document, generator)
    return json.dumps(document, ensure_ascii=generator.random() < 0.5).encode("utf-8", "surrogatepass")


def mutated_lines(text: str, seed: int) -> bytes:
    """A file of JSON lines of which one or two are changed, repeated, left out or cut."""
    generator = random.Random(seed)
    lines = [line.encode() for line in text.splitlines()] or [b"{}"]
    for _ in range(generator.randint(1, 2)):
        at = generator.randrange(len(lines))
        match generator.randrange(6):
            case 0:
                lines.insert(at, lines[at])
            case 1:
                lines[at] = json.dumps(generator.choice(ODD)).encode()
            case 2 if len(lines) > 1:
                del lines[at]
            case _:
                lines[at] = mutated_json(lines[at].decode("utf-8", "surrogatepass"), generator.randrange(2**32))
                if not _is_json(lines[at]):
                    return b"\n".join(lines)
    return b"\n".join(lines) + b"\n" * (generator.random() < 0.8)


def _edited(document: Any, generator: random.Random, *, as_json: bool = True) -> Any:
    """The document with another value at one place."""
    holders = list(_holders(document))
    if not holders or generator.random() < 0.03:
        return _odd(generator)
    holder = generator.choice(holders)
    key = generator.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    match generator.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[str(generator.choice(ODD))[:9]] = copy.deepcopy(holder[key])
        case 2:
            other = generator.choice(holders)
            value = generator.choice(list(_values(other)))
            holder[key] = json.loads(json.dumps(value)) if as_json else copy.deepcopy(value)
        case _:
            holder[key] = _odd(generator)
    return document


def _odd(generator: random.Random) -> Any:
    """A copy, because later edits change lists and objects in place."""
    return copy.deepcopy(generator.choice(ODD))


def _holders(document: Any) -> Any:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list) and value:
            yield value
            waiting += _values(value)


def _values(holder: Any) -> list[Any]:
    return list(holder.values()) if isinstance(holder, dict) else list(holder)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return b"\n" not in line
