"""Limits of a chat template, which is a program that comes with a model: of its time and of what it makes.

transformers renders templates in jinja's sandbox, which has no files and no imports, but loops. Here the
sandbox counts too, while pairkit renders: each turn of a loop, each call, and the characters that are made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any

from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pairkit.errors import RecipeError

SECONDS = 10.0  # of computing, per rendering; usual ones take less than a millisecond
CHARACTERS = 100_000_000  # of all texts that a rendering makes
TEMPLATE = 1_000_000  # characters of a template; the longest of today's models have less than 50,000
ITEMS = 1_000_000  # of nested lists that become a text, each counted as often as it is written
BITS = 10_000  # of whole numbers
FORMAT = 1_000  # characters of a format of dates
# Filters and methods that look at each character in Python, which no step is counted in.
_SLOW = frozenset({"title", "wordcount", "wordwrap", "urlize", "striptags", "pprint", "capitalize"})
_SLOWER = 50  # times the time that a character of another text takes
_OTHER = "set template.file to another template"


class _Budget:
    """What one rendering has used."""

    def __init__(self) -> None:
        self.end = time.thread_time() + SECONDS
        self.steps = self.characters = 0

    def step(self) -> None:
        self.steps += 1
        # Not each time, because the clock costs more than a step.
        if self.steps % 256 == 0 and time.thread_time() > self.end:
            raise RecipeError(f"the chat template does not end within {SECONDS:g} seconds; {_OTHER}")

    def make(self, characters: int) -> None:
        self.characters += characters
        if self.characters > CHARACTERS:
            raise RecipeError(f"the chat template makes more than {CHARACTERS:,} characters; {_OTHER}")


def check_length(template: str) -> None:
    """Raise `RecipeError` for a template that would take minutes and gigabytes to compile."""
    if len(template) > TEMPLATE:
        raise RecipeError(
            f"the chat template has {len(template):,} characters, and the most is {TEMPLATE:,}; {_OTHER}"
        )


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def limited() -> Iterator[None]:
    """Hold the templates that transformers renders in this block to the limits; those of elsewhere are free.

    Raises `RecipeError` where one is exceeded, which no row can be refused for: the next would take as long.
    """
    _install()
    before = _budget.set(_Budget())
    try:
        yield
    finally:
        _budget.reset(before)


@cache
def _install() -> None:
    from transformers.utils import chat_template_utils

    # transformers offers no environment to render in, and makes its own in this one place.
    chat_template_utils.ImmutableSandboxedEnvironment = Counting
    chat_template_utils._compile_jinja_template.cache_clear()


class Counting(ImmutableSandboxedEnvironment):
    """The sandbox, which counts against the budget of the rendering, if it has one."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.finalize = _finalized
        self.concat = _joined  # type: ignore[method-assign]
        self.filters = _Filters(self.filters)

    def _generate(self, source: nodes.Template, *arguments: Any, **settings: Any) -> str:
        """Compile a template with a step at the beginning of each loop's and each macro's body."""
        with_body: tuple[type[Any], ...] = (nodes.For, nodes.Macro, nodes.CallBlock)
        for kind in with_body:
            for node in source.find_all(kind):
                node.body.insert(0, nodes.ExprStmt(_step()).set_lineno(node.lineno))
        for loop in source.find_all(nodes.For):
            if loop.test is not None:  # which may be false for every item, so that the body never runs
                loop.test = nodes.And(nodes.Not(_step()), loop.test)
        for text in source.find_all(nodes.Concat):
            text.nodes = [nodes.Filter(each, "string", [], [], None, None) for each in text.nodes]
        source.set_environment(self)
        return super()._generate(source, *arguments, **settings)

    def step(self) -> str:
        """Count one turn of a loop or one call of a macro."""
        if budget := _budget.get():
            budget.step()
        return ""

    def call(self, context: Any, obj: Any, /, *arguments: Any, **keywords: Any) -> Any:
        """Call what a template calls; methods of texts are checked first."""
        method = getattr(obj, "__wrapped__", obj)  # the sandbox wraps `format`
        if isinstance(of := getattr(method, "__self__", None), str):
            _check(method.__name__, of, arguments, keywords)
        elif getattr(obj, "__name__", "") == "strftime_now":
            for each in (*arguments, *keywords.values()):
                _check("strftime", each, (), {})
        return _counted(super().call(context, obj, *arguments, **keywords))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute `left operator right` if the result is not too large."""
        budget = _budget.get()
        if budget is not None:
            budget.step()
            numbers = isinstance(left, int) and isinstance(right, int)
            if numbers and operator in ("*", "**"):
                bits = (
                    left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
                )
                if bits > BITS:
                    raise RecipeError(
                        f"the chat template computes a number of more than {BITS:,} bits; {_OTHER}"
                    )
            elif operator == "*":
                sizes = [len(each) if hasattr(each, "__len__") else each for each in (left, right)]
                budget.make(int(max(0, min(sizes[0] * sizes[1], CHARACTERS + 1))))
            elif operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
                budget.make(len(left) + len(right))
            elif operator == "%" and isinstance(left, str):
                _check("format", left, right if isinstance(right, tuple) else (right,), {})
        return super().call_binop(context, operator, left, right)


def _step() -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute("step"), [], [], None, None)


class _Filters(dict[str, Callable[..., Any]]):
    """Filters that check what they are given and count what they make."""

    def __init__(self, filters: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__()
        for name, function in filters.items():
            self[name] = function

    def __setitem__(self, name: str, function: Callable[..., Any]) -> None:
        @wraps(function)  # with what tells jinja that it takes the environment first
        def counting(*arguments: Any, **keywords: Any) -> Any:
            values = arguments[1:] if hasattr(function, "jinja_pass_arg") else arguments
            _check(name, values[0] if values else None, values[1:], keywords)
            return _counted(function(*arguments, **keywords))

        super().__setitem__(name, counting)


def _check(name: str, value: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
    """Refuse a call of a method or a filter that would make too much of `value`."""
    budget = _budget.get()
    if budget is None:
        return
    budget.step()
    values = [*arguments, *keywords.values()]
    for each in values:
        if isinstance(each, (int, float)) and abs(each) > ITEMS:  # a width, a precision, a number of columns
            budget.make(CHARACTERS + 1)
    for each in (value, *values):
        if isinstance(each, (list, tuple, dict)):
            _items(each, budget)
    texts = [each for each in values if isinstance(each, str)]
    if name == "replace" and isinstance(value, str) and len(texts) > 1:
        budget.make(value.count(texts[0]) * len(texts[1]))
    if name == "join":
        for items in (value, *values):
            if isinstance(items, (list, tuple)):
                budget.make(sum(len(each) if isinstance(each, str) else 1 for each in items))
                budget.make(
                    len(items) * max([len(text) for text in (*texts, value) if isinstance(text, str)] or [0])
                )
    if name in _SLOW and isinstance(value, str):
        budget.make(_SLOWER * len(value))
    if name == "wordwrap" and isinstance(value, str):
        budget.make(len(value) * max(map(len, texts), default=0))
    if name == "translate" and isinstance(value, str):
        tables = [each for each in values if isinstance(each, dict)]
        longest = [len(to) for table in tables for to in table.values() if isinstance(to, str)]
        budget.make(len(value) * max(longest, default=0))
    if name == "strftime" and isinstance(value, str) and len(value) > FORMAT:
        budget.make(CHARACTERS + 1)
    if name in ("format", "strftime") and isinstance(value, str):
        # A width has no more digits than this.
        digits = "".join(mark if mark.isdigit() else " " for mark in value).split()
        if any(len(each) > 6 for each in digits):
            budget.make(CHARACTERS + 1)


def _items(value: Any, budget: _Budget) -> None:
    """Count the items of nested lists, because few that hold each other twice are written as very many."""
    stack, count = [value], 0
    while stack:
        item = stack.pop()
        count += 1
        if count > ITEMS:
            raise RecipeError(f"the chat template writes more than {ITEMS:,} items of lists; {_OTHER}")
        if isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, (list, tuple)):
            stack += item


def _finalized(value: Any) -> Any:
    budget = _budget.get()
    if budget is not None and isinstance(value, (list, tuple, dict)):
        _items(value, budget)
    return value


def _joined(texts: Any) -> str:
    budget = _budget.get()
    if budget is None:
        return "".join(texts)
    parts = []
    for text in texts:
        budget.step()
        budget.make(len(text))
        parts.append(text)
    return "".join(parts)


def _counted(value: Any) -> Any:
    budget = _budget.get()
    if budget is not None and isinstance(value, str):
        budget.make(len(value))
    return value
