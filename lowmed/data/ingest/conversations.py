"""Conversations as questions: LLaVA's `conversations`, or `messages` as chat interfaces write them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

KEYS = ("conversations", "messages")
USER, ASSISTANT = ("human", "user"), ("gpt", "assistant")
TurnsKept = Literal["all", "last"]


class Turn(dict[str, Any]):
    """A row that is one turn of a conversation with several.

    Attributes:
        conversation: a digest that all turns of the conversation share.
    """

    def __init__(self, row: Mapping[str, Any], conversation: str) -> None:
        super().__init__(row)
        self.conversation = conversation


def keys_of(names: Iterable[str]) -> list[str]:
    """The columns of a table that may hold conversations."""
    return [name for name in names if name in KEYS]


def questions(row: dict[str, Any], keep: TurnsKept = "all") -> Iterator[Mapping[str, Any] | str]:
    """The turns of a conversation as rows, each with the earlier turns as `history`; any other row is one question.

    Args:
        row: a row of a table.
        keep: the turns that become questions. With `last`, the earlier ones are its history only.

    Returns:
        Rows with the columns `question`, `answer` and `history`, or one text that states why there are none.
    """
    messages = next((row[key] for key in KEYS if isinstance(row.get(key), list)), None)
    if messages is None:
        yield row
        return
    texts = [_message(message) for message in messages]
    user = [text for role, text in texts if role in USER]
    assistant = [text for role, text in texts if role in ASSISTANT]
    if not user or len(user) != len(assistant):
        yield f"the conversation has {len(user)} questions and {len(assistant)} answers"
        return
    if len(user) > 1 and not _alternates([role for role, _ in texts]):
        yield "the turns of the conversation do not alternate between user and assistant"
        return
    rest = {name: value for name, value in row.items() if name not in KEYS}
    pairs = [list(pair) for pair in zip(user, assistant, strict=True)]
    if len(pairs) == 1:
        yield {**rest, "question": user[0], "answer": assistant[0], "history": []}
        return
    conversation = hashlib.sha256(json.dumps(pairs, default=str).encode()).hexdigest()[:12]
    for number, (question, answer) in enumerate(pairs, start=1):
        if keep == "all" or number == len(pairs):
            numbered = {"id": f"{row['id']}-{number}"} if "id" in row else {}
            history = pairs[: number - 1]
            yield Turn({**rest, **numbered, "question": question, "answer": answer, "history": history}, conversation)


def _message(message: Any) -> tuple[str, Any]:
    """Role and text of one message."""
    if not isinstance(message, dict):
        return "", None
    return str(message.get("from", message.get("role", ""))), message.get("value", message.get("content"))


def _alternates(roles: list[str]) -> bool:
    """Whether the roles are user, assistant, user, assistant ..., after a system message or none."""
    turns = roles[roles[:1] == ["system"] :]
    return all(role in (USER, ASSISTANT)[at % 2] for at, role in enumerate(turns))
