"""One loaded model that answers questions as base and as tuned model, until it is stopped."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from lowmed import prompt
from lowmed.engine import device, load
from lowmed.engine.generate import complete
from lowmed.evaluation.answerer import Answerer, Completion, OpenImage
from lowmed.evaluation.target import EvalTarget
from lowmed.sample import Sample


class StoppedError(Exception):
    """The completion was stopped by the user."""


class ChatModel:
    """One loaded model that answers as the base, and with its adapter enabled as the tuned model.

    Attributes:
        target: the loaded target. A run has a base and a tuned model, any other target a single model.
        systems: names of the models that answer.
        stopped: ends the completion that is being generated, once another thread sets it.

    Raises:
        LowmedError: the machine or the model does not allow it.
    """

    def __init__(self, target: EvalTarget) -> None:
        self.target = target
        self.stopped = threading.Event()
        self.loaded = load.load_base(target.model, device.find_device(target.model))
        adapter = target.adapters.get("tuned")
        if adapter:
            self.loaded = load.with_adapter(self.loaded, adapter)
        self.systems = ("base", "tuned") if adapter else ("base",)

    def answerer(self, system: str, family: prompt.Family) -> Answerer:
        """The answerer of one system with that prompt family; it raises StoppedError once `stopped` is set."""

        def answer(
            samples: Sequence[Sample], open_image: OpenImage, *, copies: int, temperature: float
        ) -> Iterator[Completion]:
            with ExitStack() as stack:
                if system == "base" and "tuned" in self.systems:
                    stack.enter_context(self.loaded.model.disable_adapter())
                yield from complete(
                    self.loaded,
                    samples,
                    family,
                    open_image,
                    max_new_tokens=self.target.eval.max_new_tokens,
                    copies=copies,
                    temperature=temperature,
                    before_token=self._require_going_on,
                )

        return answer

    def _require_going_on(self) -> None:
        if self.stopped.is_set():
            raise StoppedError
