"""Render a chat template in a process of its own with limits; `lowmed.models.chat_template` starts it.

The environment is that of transformers, without transformers, whose import would take seconds. Reads JSON from stdin:
`template`, `chats`, `seconds`, `bytes`, `characters`. Prints one word and, after it, what is wrong.
"""

import json
import resource
import sys
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment


class _Generation(jinja2.ext.Extension):
    """The tag that marks the assistant's tokens; here it only renders what it contains."""

    tags = {"generation"}  # noqa: RUF012  # an instance attribute for mypy

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda _format: "1 January 2026"
    return environment


def main() -> str:
    """The verdict: `fine`, `long`, `memory`, or `error` and the message of jinja."""
    job = json.loads(sys.stdin.read())
    resource.setrlimit(resource.RLIMIT_CPU, (job["seconds"], job["seconds"]))
    resource.setrlimit(resource.RLIMIT_AS, (job["bytes"], job["bytes"]))
    verdict = "fine"
    for number, chat in enumerate(job["chats"]):
        try:
            template = _environment().from_string(job["template"])
            length = 0
            for part in template.generate(
                messages=chat, tools=None, documents=None, add_generation_prompt=True, add_vision_id=False
            ):
                length += len(part)
                if length > job["characters"]:
                    return "long"
        except MemoryError:
            return "memory"
        except Exception as error:  # of jinja, and of whatever a template calls
            if number == 0:  # a template may refuse a system message or several turns
                verdict = f"error {type(error).__name__}: {error}"
    return verdict


if __name__ == "__main__":
    print(main())
