"""A chat template that hangs, takes all memory or fails is refused when its model is loaded."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Lowmed

from lowmed import nano
from lowmed.errors import SetupError
from lowmed.models.chat_template import is_known, require_renderable

PLAIN = (nano.folder() / "chat_template.jinja").read_text(encoding="utf-8")
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
ENDS = "{% endfor %}{% endfor %}{% endfor %}"
HOSTILE = {
    LOOPS + ENDS: "within 2 s",
    LOOPS + "x" + ENDS: "characters of a short question",
    "{% if messages | length > 3 %}" + LOOPS + ENDS + "{% endif %}": "within 2 s",
    "{{ 'x' * 9999999999 }}": "of memory",
    "{% set ns = namespace(x='x') %}{% for a in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}": "of memory",
    "{{ 9 ** 999999999 }}": "within 2 s",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}": "SecurityError",
    "{{ raise_exception('no\nthank you') }}": "TemplateError: no)",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "cannot be rendered",
    "{% for": "TemplateSyntaxError",
    "{{ messages.nothing.nothing }}": "UndefinedError",
    "x" * 1_000_001: "is longer than",
}


@pytest.mark.parametrize("template", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_template_is_refused(template: str) -> None:
    with pytest.raises(SetupError) as raised:
        require_renderable(template, "model")
    assert HOSTILE[template] in raised.value.what
    assert "\n" not in raised.value.what


def test_each_of_several_templates_is_checked() -> None:
    with pytest.raises(SetupError, match="TemplateSyntaxError"):
        require_renderable({"default": PLAIN, "other": "{% for"}, "model")


@pytest.mark.parametrize("template", [5, ["x"], {"default": 5}])
def test_a_template_that_is_no_text_is_refused(template: object) -> None:
    with pytest.raises(SetupError, match="is not a text"):
        require_renderable(template, "model")


def test_templates_of_supported_models_and_changed_ones_pass() -> None:
    import trl

    folder = Path(trl.__file__).parent / "chat_templates"
    for name in ("qwen2_5_vl", "qwen3_vl"):
        template = (folder / f"{name}.jinja").read_text(encoding="utf-8")
        assert is_known(template)
        require_renderable(template, "model")
    training = (folder / "qwen2_5_vl_training.jinja").read_text(encoding="utf-8")
    assert not is_known(training)
    require_renderable(training, "model")
    no_system = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ messages[0].role }}"
    changed: list[str | None] = [
        PLAIN,
        PLAIN + "{# changed #}",
        "{{ messages[0] | tojson(indent=2) }}",
        no_system,
        None,
    ]
    for one in changed:
        require_renderable(one, "model")


def test_a_received_model_folder_with_such_a_template_is_refused(tmp_path: Path, lowmed: Lowmed) -> None:
    model = tmp_path / "model"
    shutil.copytree(nano.folder(), model)
    (model / "chat_template.jinja").write_text(LOOPS + ENDS)
    result = lowmed("ask", str(model), "Is it grey?")
    assert result.returncode == 2
    assert result.stderr.startswith("error: the model's chat template is not rendered within 2 s")
    assert f"  where  {model}" in result.stderr


def test_the_check_imports_nothing_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "jinja2.py").write_text("open('marker', 'w').close()")
    code = "from lowmed.models.chat_template import require_renderable as check; check('{{ messages }}', 'model')"
    subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, check=True)
    assert not (tmp_path / "marker").exists()
