"""How often Python looks for garbage while libraries are imported.

torch, transformers and trl make a million objects that stay. Each collection looks at many of them again: with the
usual thresholds this takes a third of the start of a command, and half a second of each complete collection later.
"""

import gc

USUAL = gc.get_threshold()
RARELY = (50_000, *USUAL[1:])


def collect_rarely() -> None:
    """Collect after 50,000 new objects, for a process that is about to import these libraries."""
    gc.set_threshold(*RARELY)


def collect_as_usual() -> None:
    """Collect as often as Python does, so that no memory of a GPU waits for it; never look at the imported objects.

    Call it before a model is loaded. Without `collect_rarely` before, or the second time, it does nothing: objects that
    are set apart are kept for ever, and those of a notebook or an earlier model must not be.
    """
    if gc.get_threshold() == RARELY:
        gc.set_threshold(*USUAL)
        gc.freeze()
