"""Every key of a recipe and every prompt family as Markdown, from the code itself: the page docs/recipes.md."""

import json
from typing import Any

from lowmed import prompt
from lowmed.sample import KINDS

HEAD = """# Every key of a recipe

`lowmed recipes schema --markdown` prints this page; a test holds that it is not stale. Keys that are not here are
errors. Every default stands here and nowhere else. `key=value` after a verb overrides any of them, e.g.
`lora.rank=32` or `method.rewards=[{name: accuracy}]`. What ships: [recipes/README.md](../recipes/README.md)."""
FAMILIES = """## Prompt families

Training draws a wording per question from the family `prompts.train`; evaluation asks with the first wording of
`prompts.infer`. A published text that wants a letter is used for choices alone, and questions of other kinds get the
toolkit's variant of it. A family's digest stands in every run and evaluation. A family of your own stands in the
recipe, so that its runs hold it too:

```yaml
prompts:
  families:
    brief: {wordings: ["{question}\\nOne word. Reply as <answer>answer</answer>."], completion_format: answer}
  train: brief
  infer: brief
```

| family | wordings | asks for | published | its texts are for | source |
| --- | --- | --- | --- | --- | --- |"""
TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "empty"}
BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
Field = dict[str, Any]


def markdown(schema: Field) -> str:
    """One table a section, in the order in which the sections are named, and one of the prompt families."""
    sections = schema["$defs"]
    named = dict.fromkeys(_named(schema, sections))
    tables = [_table(name, sections[name]) for name in named]
    return "\n\n".join(
        [HEAD, _table("Recipe", schema), *tables, "\n".join([FAMILIES, *map(_family, prompt.FAMILIES.values())])]
    )


def _family(family: prompt.Family) -> str:
    form = "both tags" if family.completion_format == "think_answer" else "the answer tag"
    kinds = "all" if family.kinds == KINDS else ", ".join(family.kinds)
    published = "word for word" if family.published else "no"
    return f"| `{family.name}` | {len(family.wordings)} | {form} | {published} | {kinds} | {family.source} |"


def _named(section: Field, sections: Field) -> list[str]:
    """The sections that one names, each followed by those that it names itself."""
    result = []
    for field in section["properties"].values():
        for name in _references(field):
            result += [name, *_named(sections[name], sections)]
    return result


def _references(field: Field) -> list[str]:
    if "$ref" in field:
        return [str(field["$ref"]).rpartition("/")[2]]
    inner = [*field.get("anyOf", ()), *field.get("oneOf", ())]
    inner += [field[key] for key in ("items", "additionalProperties") if isinstance(field.get(key), dict)]
    return [name for one in inner for name in _references(one)]


def _table(name: str, section: Field) -> str:
    lines = [f"## {name}", "", section["description"].split("\n")[0], ""]
    lines += ["| key | what it takes | default | what it does |", "| --- | --- | --- | --- |"]
    for key, field in section["properties"].items():
        cells = (f"`{key}`", _takes(field), _default(field), field.get("description", ""))
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines)


def _default(field: Field) -> str:
    if "default" not in field:
        return "**needed**"
    return "as below" if "$ref" in field else f"`{json.dumps(field['default'])}`"


def _takes(field: Field) -> str:
    """The type of a field with its bounds, or the section that it names."""
    if "$ref" in field:
        return f"section {_references(field)[0]}"
    if "enum" in field or "const" in field:
        return " or ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    for several in ("anyOf", "oneOf"):
        if several in field:
            return " or ".join(_takes(one) for one in field[several])
    if field["type"] == "array":
        return f"list of {_takes(field['items'])}"
    if field["type"] == "object":
        return f"name -> {_takes(field['additionalProperties'])}"
    bounds = [f"{sign} {field[bound]}" for bound, sign in BOUNDS.items() if bound in field]
    return " ".join([TYPES[field["type"]], ", ".join(bounds)]).strip()
