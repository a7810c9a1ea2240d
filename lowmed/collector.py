"""How often Python looks for garbage while a command imports libraries.

torch, transformers and trl make a million objects that stay. Each collection looks at many of them again: with the
usual thresholds this takes a third of the start of a command, and half a second of each complete collection later.
"""

import gc

USUAL = gc.get_threshold()
RARELY = (50_000, *USUAL[1:])
_collects_rarely = False


def collect_rarely() -> None:
    """Collect after 50,000 new objects, in the process of a command that is about to import these libraries."""
    global _collects_rarely
    _collects_rarely = True
    gc.set_threshold(*RARELY)


def collect_as_usual() -> None:
    """Collect as often as Python does, so that no memory of a GPU waits for it; never look at the imported objects.

    Call it before a model is loaded: what is alive now is never looked at again. So a second call does nothing, and
    neither does a call in a process that is not a command, for example a notebook with models of its own.
    """
    global _collects_rarely
    if _collects_rarely:
        gc.set_threshold(*USUAL)
        gc.freeze()
    _collects_rarely = False
