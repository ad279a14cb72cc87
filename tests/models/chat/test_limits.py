"""Templates that take for ever, or make texts without end, end as one line; others are as they were."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jinja2
import pytest
from support.grids import some
from transformers.utils import chat_template_utils

from pairkit.errors import ModelError, RecipeError
from pairkit.models.chat import limits
from pairkit.models.chat.limits import limited
from pairkit.models.chat.template_file import read_template

LOOPS = {
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "with output": "{% for i in range(99999) %}{% for j in range(99999) %}a{% endfor %}{% endfor %}",
    "a macro": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    "a recursive loop": "{% for x in [40] recursive %}{% if x %}"
    "{{ loop([x - 1, x - 1]) }}{% endif %}{% endfor %}",
    "a call block": "{% macro f() %}{% for i in range(99999) %}{{ caller() }}{% endfor %}{% endmacro %}"
    "{% call f() %}{% for i in range(99999) %}{% endfor %}{% endcall %}",
    "a filter of a loop": "{% for i in range(99999) if i < 0 %}{% endfor %}" * 300,
}
SIZES = {
    "a loop with long output": "{% set a = 'a' * 9999999 %}{% for i in range(99999) %}{{ a }}{% endfor %}",
    "times": "{{ 'a' * 10 ** 10 }}",
    "a list times": "{{ [1] * 10 ** 10 }}",
    "power": "{{ 10 ** (10 ** 10) }}",
    "powers of powers": "{% set n = namespace(x=10) %}"
    "{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "doubling with +": "{% set n = namespace(x='aa') %}"
    "{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "doubling with ~": "{% set n = namespace(x='aa') %}"
    "{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling with join": "{% set n = namespace(x='aa') %}"
    "{% for i in range(60) %}{% set n.x = [n.x, n.x] | join %}{% endfor %}",
    "doubling with a block": "{% set n = namespace(x='aa') %}"
    "{% for i in range(60) %}{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}{% endfor %}",
    "doubling with replace": "{% set n = namespace(x='aa') %}"
    "{% for i in range(60) %}{% set n.x = n.x.replace('a', 'aa') %}{% endfor %}",
    "nested lists": "{% set n = namespace(x=[1]) %}"
    "{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "nested lists as JSON": "{% set n = namespace(x=[1]) %}"
    "{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | tojson }}",
    "nested lists with ~": "{% set n = namespace(x=[1]) %}"
    "{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ 'a' ~ n.x }}",
    "a width": "{{ 'a'.center(10 ** 10) }}",
    "a filter's width": "{{ 'a' | center(10 ** 10) }}",
    "zeros": "{{ '1'.zfill(10 ** 10) }}",
    "a format": "{{ '{:9999999999}'.format(1) }}",
    "a format of a width": "{{ '{:{}}'.format(1, 9999999999) }}",
    "an old format": "{{ '%9999999999d' % 1 }}",
    "an old format of a width": "{{ '%*d' % (9999999999, 1) }}",
    "a format as a filter": "{{ '%9999999999d' | format(1) }}",
    "an indent": "{{ 'a' | indent(10 ** 10, true) }}",
    "a batch": "{{ [1] | batch(10 ** 10, 0) | list }}",
    "slices": "{{ [1] | slice(10 ** 10) | list }}",
    "a joined list": "{% set a = 'a' * 999999 %}{{ ([a] * 99999) | join }}",
    "a joined text": "{% set a = 'a' * 999999 %}{{ a.join(['b'] * 99999) }}",
    "a table of letters": "{{ ('a' * 9999).translate({97: 'x' * 10 ** 6}) }}",
    "words that are wrapped": "{{ ('ab ' * 999999) | wordwrap(1) }}",
    "words that are wrapped with much": "{{ ('a' * 9999) | wordwrap(1, wrapstring='b' * 99999) }}",
    "titles": "{{ ('a b ' * 9999999) | title }}",
    "words that are counted": "{{ ('a ' * 9999999) | wordcount }}",
    "a long format of dates": "{{ strftime_now('%c' * 10 ** 5) }}",
    "a format of dates of a width": "{{ strftime_now('%9999999d') }}",
    "an indent of JSON": "{{ [[1]] | tojson(indent=10 ** 10) }}",
}


def render(template: str, **values: Any) -> str:
    with limited():
        texts, _ = chat_template_utils.render_jinja_template(
            [[{"role": "user", "content": "Hi"}]], chat_template=template, **values
        )
    return str(texts[0])


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.2)


@pytest.mark.parametrize(
    "template",
    some(lambda loop: loop in (LOOPS["with output"], LOOPS["a macro"]), LOOPS.values()),
    ids=LOOPS.keys(),
)
def test_a_template_without_end(template: str, second: None) -> None:
    started = time.thread_time()
    with pytest.raises(RecipeError, match="the chat template does not end within"):
        render(template)
    assert time.thread_time() - started < 5


@pytest.mark.default(
    "a format", "a list times", "a width", "power", "zeros", "an old format of a width", "a filter's width",
    "an indent", "slices", "a loop with long output", "doubling with ~", "a joined text",
    "an indent of JSON", "nested lists", "a table of letters", "words that are wrapped with much", "titles",
    "a long format of dates"
)  # fmt: skip
@pytest.mark.parametrize("template", SIZES.values(), ids=SIZES.keys())
def test_a_template_that_makes_too_much(template: str) -> None:
    with pytest.raises(RecipeError, match=r"the chat template (makes|writes|computes) .*more than"):
        render(template)


def test_a_range_beyond_the_sandbox() -> None:
    with pytest.raises(OverflowError, match="Range too big"):
        render("{% for i in range(10 ** 9) %}{% endfor %}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ cycler.__init__.__globals__ }}",
        "{{ self.__init__.__globals__.__builtins__ }}",
        "{% import 'os' as os %}", "{% include '/etc/passwd' %}",
        "{{ lipsum.__globals__['os'].popen('id') }}", "{{ '{0.__class__}'.format(1) }}",
        "{{ ['a'] | map(attribute='__class__') | first | string }}",
    ],
)  # fmt: skip
def test_the_sandbox_is_still_closed(template: str) -> None:
    try:
        text = render(template)
    except (jinja2.TemplateError, TypeError):
        return
    assert text == ""


def test_large_numbers_are_no_widths() -> None:
    template = "{% macro f(n) %}{{ n }}{% endmacro %}{% set a = namespace(x=10 ** 12) %}{{ f(a.x) }}"
    assert render(template) == "1000000000000"


def test_usual_templates_render_as_without_limits() -> None:
    template = (
        "{%- macro part(m, n=3) -%}{{ m.role | upper ~ ':' ~ n * 2 }}{%- endmacro -%}"
        "{%- for m in messages -%}{{ part(m) }} {{ '%5s' % m.content }}{{ loop.index }}/{{ loop.length }}"
        "{{ ', ' if not loop.last }}{%- endfor -%}{{ {'a': [1, 'é']} | tojson(indent=2) }}"
        "{{ ['x', 'y'] | join('-') }}{% set b %}{{ 'q' | center(5) }}{% endset %}[{{ b }}]"
        "{% for i in range(3) recursive %}{{ i }}{% endfor %}{{ 'a b' | title | wordwrap(1) }}"
        "{{ 'a,b'.split(',') }}{{ 'aXb'.replace('X', '--') }}"
    )
    expected = "USER:6    Hi1/1" + '{\n  "a": [\n    1,\n    "é"\n  ]\n}' + "x-y[  q  ]012A\nB['a', 'b']a--b"
    assert render(template) == expected
    chat_template_utils._compile_jinja_template.cache_clear()
    texts, _ = chat_template_utils.render_jinja_template(
        [[{"role": "user", "content": "Hi"}]], chat_template=template
    )
    assert texts == [expected]


def test_templates_of_elsewhere_have_no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    render("a")
    monkeypatch.setattr(limits, "SECONDS", 0.0)
    texts, _ = chat_template_utils.render_jinja_template(
        [[]], chat_template="{% for i in range(20) %}{% for j in range(100) %}{% endfor %}{% endfor %}b"
    )
    assert texts == ["b"]


def test_a_template_file_that_does_not_end(tmp_path: Path, second: None) -> None:
    (tmp_path / "t.jinja").write_text(LOOPS["nested loops"])
    with pytest.raises(RecipeError, match=r"template.file '.*t.jinja': the chat template does not end"):
        read_template(str(tmp_path / "t.jinja"))


def test_a_limit_is_no_refusal_of_a_row(model: Path, second: None) -> None:
    from pairkit.models.chat.render import render as render_messages
    from pairkit.models.tokenizer import open_tokenizer

    tokenizer = open_tokenizer(str(model))
    hello = [{"role": "user", "content": "Hi"}]
    with pytest.raises(RecipeError):
        render_messages(tokenizer, hello, add_generation_prompt=True, template=LOOPS["a macro"])
    with pytest.raises(ModelError, match="refuses this prompt: no"):
        render_messages(tokenizer, hello, add_generation_prompt=True, template="{{ raise_exception('no') }}")
