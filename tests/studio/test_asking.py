"""Stop ends a completion between two tokens, and the next question is answered."""

import threading

import pytest

from lowmed import prompt
from lowmed.engine.generate import complete
from lowmed.evaluation.target import open_target
from lowmed.nano import phantom
from lowmed.ship.chat import ChatModel, StoppedError
from lowmed.studio.asking import Answered, Asking

FAMILY = prompt.family("reasoning")


def test_stop_ends_the_completion_before_the_next_token() -> None:
    [sample] = phantom.samples("test", 1)
    model = ChatModel(open_target("nano"))
    tokens: list[int] = []

    def third_token() -> None:
        tokens.append(1)
        if len(tokens) == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        list(complete(model.loaded, [sample], FAMILY, phantom.open_image, max_new_tokens=64, before_token=third_token))
    assert len(tokens) == 3
    answerer = model.answerer("base", FAMILY)
    model.stopped.set()
    with pytest.raises(StoppedError):
        list(answerer([sample], phantom.open_image, copies=1, temperature=0.0))
    model.stopped.clear()
    [completion] = answerer([sample], phantom.open_image, copies=1, temperature=0.0)
    assert completion.tokens > 3


def test_a_stopped_question_has_no_answer_and_the_next_one_has() -> None:
    asking = Asking()
    answers: list[Answered] = []

    def ask() -> None:
        answers.extend(asking.ask("nano", [], "Is there a lesion?", FAMILY, 0))

    with asking.free():  # the question waits for the model
        thread = threading.Thread(target=ask)
        thread.start()
        while not asking._questions:
            assert thread.is_alive()
        asking.stop()
    thread.join()
    assert [answer.result for answer in answers] == [None]
    ask()
    assert answers[1].result is not None
    assert answers[1].result.completion
