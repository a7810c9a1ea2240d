"""The model that answers on the page: loaded at the first question, one at a time, stopped and freed on request."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowmed import prompt
from lowmed.data.image.policy import PixelPolicy
from lowmed.evaluation.target import EvalTarget, open_target

if TYPE_CHECKING:
    from PIL import Image

    from lowmed.ship.chat import ChatModel
    from lowmed.ship.records import AskResult


@dataclass(frozen=True)
class Answered:
    """What one system answered; both None if it was stopped.

    Attributes:
        system: base or tuned.
        result: the completion with its reading.
        drawn: the first image with the boxes of the answer, for questions about boxes.
    """

    system: str
    result: "AskResult | None"
    drawn: "Image.Image | None" = None


class Asking:
    """Holds one model, and lets one question at a time reach it.

    Attributes:
        name: the target whose model is loaded, or "".
    """

    def __init__(self) -> None:
        self.name = ""
        self._model: ChatModel | None = None
        self._lock = threading.Lock()
        self._questions: set[threading.Event] = set()

    def target(self, name: str) -> EvalTarget:
        """A run or model by its name, without loading it.

        Raises:
            LowmedError: it does not exist, or has not finished.
        """
        if self._model is not None and name == self.name:
            return self._model.target
        return open_target(name)

    def load(self, name: str) -> None:
        """Load a run or model now; another one is freed first.

        Raises:
            LowmedError: it does not exist, or the machine does not allow it.
        """
        with self._lock:
            self._loaded(name)

    def ask(
        self, name: str, images: Sequence[str], question: str, family: prompt.Family, samples: int
    ) -> Iterator[Answered]:
        """The answers of each system of a target, one after the other. After `stop`, the rest are stopped ones.

        Raises:
            LowmedError: as `lowmed.ask`.
        """
        from lowmed.ship.ask import ask_model, open_images, question_sample, with_boxes
        from lowmed.ship.chat import StoppedError

        target = self.target(name)
        open_image = open_images(images, PixelPolicy(target.model.max_image_tokens))
        sample = question_sample(question, images, family, target.model, open_image)
        stopped = threading.Event()
        self._questions.add(stopped)
        try:
            for system in systems(target):
                result = None
                with self._lock:  # never while the page takes the answer: it may have been closed
                    model = self._loaded(name)
                    model.stopped = stopped
                    with suppress(StoppedError):
                        result = ask_model(model.answerer(system, family), system, sample, family, open_image, samples)
                drawn = with_boxes(result, sample, open_image) if result and sample.kind == "boxes" else None
                yield Answered(system, result, drawn)
        finally:
            self._questions.discard(stopped)

    def stop(self) -> None:
        """End the completions that are being generated, at the next token."""
        for stopped in list(self._questions):
            stopped.set()

    @contextmanager
    def free(self) -> Iterator[None]:
        """Stop and free the model, and keep it from being loaded inside the block."""
        self.stop()
        with self._lock:
            self._free()
            yield

    def _loaded(self, name: str) -> "ChatModel":
        if self._model is not None and name == self.name:
            return self._model
        target = open_target(name)
        self._free()
        from lowmed.engine import device

        device.silence_libraries()
        from lowmed.ship.chat import ChatModel

        self._model, self.name = ChatModel(target), name
        return self._model

    def _free(self) -> None:
        if self._model is None:
            return
        from lowmed.engine.out_of_memory import free

        self._model, self.name = None, ""
        free()


def systems(target: EvalTarget) -> tuple[str, ...]:
    """The systems that answer: base and tuned model of an adapter, or a single model."""
    return ("base", "tuned") if target.adapters.get("tuned") else ("base",)
