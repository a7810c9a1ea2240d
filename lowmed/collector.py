"""How often Python looks for garbage while libraries are imported.

torch, transformers and trl make a million objects that stay. Each collection looks at many of them again: with the
usual thresholds this takes a third of the start of a command, and half a second of each complete collection later.
"""

import gc

USUAL = gc.get_threshold()
RARELY = (50_000, *USUAL[1:])
_set_apart = False


def collect_rarely() -> None:
    """Collect after 50,000 new objects, for a process that is about to import these libraries."""
    gc.set_threshold(*RARELY)


def collect_as_usual() -> None:
    """Collect as often as Python does, so that no memory of a GPU waits for it; never look at the imported objects.

    Call it before a model is loaded. Only the first call sets objects apart: later ones could keep a model for ever.
    """
    global _set_apart
    gc.set_threshold(*USUAL)
    if not _set_apart:
        gc.freeze()
    _set_apart = True
