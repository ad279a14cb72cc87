"""Importing what is named as `package.module:function`, and whose code may be named.

Pairkit's own tables name functions in this form, and so do recipes. A recipe may come from anywhere, so that
what it names runs only if a person named its module too: on the command line, or in a program of their own.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

# The modules that a person named; None: a program that calls the library, whose code is its own.
_named: ContextVar[frozenset[str] | None] = ContextVar("named", default=None)


class CodeRefused(Exception):
    """Code that nobody named, or that is never run; the caller turns it into a `RecipeError`."""


@contextmanager
def only_named(modules: Iterable[str]) -> Iterator[None]:
    """Import nothing for a recipe but these modules and those below them."""
    before = _named.set(frozenset(modules))
    try:
        yield
    finally:
        _named.reset(before)


def named() -> frozenset[str] | None:
    """Return the modules that may be imported for a recipe, for a process that works for this one."""
    return _named.get()


def import_own(path: str) -> Any:
    """Import `package.module:name` of pairkit itself, from one of its tables."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def import_named(path: str) -> Any:
    """Import `package.module:name` for a recipe, also from a module in the working directory.

    Raises `CodeRefused`, before anything is imported where the path shows it, and otherwise whatever the
    module raises on import, or AttributeError. The caller turns it into a `RecipeError`, because only the
    caller knows which recipe key named the function.
    """
    module, _, name = path.partition(":")
    check_module(module)
    with _working_directory_first():
        function = getattr(importlib.import_module(module), name)
    # A module of the user may have imported it: `from os import system` makes it `my_checks:system`.
    if (home := _home(function)) and _is_standard(home):
        raise CodeRefused(f"is {home}.{name} of Python's standard library, which is never run for a recipe")
    return function


def check_module(module: str) -> None:
    """Raise `CodeRefused` for a module whose functions a recipe may not name."""
    if _is_standard(module):
        raise CodeRefused(
            f"{module.split('.')[0]} is a module of Python's standard library, which is never run for a "
            "recipe; write a function of your own"
        )
    allowed_modules = _named.get()
    if allowed_modules is not None and not any(
        module == each or module.startswith(f"{each}.") for each in allowed_modules
    ):
        raise CodeRefused(
            f"would run code of the module {module}, which this command does not name; read it, then add "
            f"--allow-code {module}"
        )


def modules_in(fields: Mapping[str, Any]) -> frozenset[str]:
    """Return the modules whose functions are named in fields of a recipe that a person typed.

    Only the fields that name code count: in others `llama3:latest` is the name of a model.

    >>> sorted(modules_in({"loss": {"name": "dpo:0.8+my.losses:focal"}, "rank": [{"check": "checks:right"}]}))
    ['checks', 'my.losses']
    """
    loss, rank = fields.get("loss"), fields.get("rank")
    names = [loss.get("name") if isinstance(loss, Mapping) else loss]
    for block in rank if isinstance(rank, (list, tuple)) else [rank]:
        names += [block.get("check")] if isinstance(block, Mapping) else []
    return frozenset(module for name in names if isinstance(name, str) for module in _modules(name))


def _modules(name: str) -> Iterator[str]:
    """Yield the modules in the name of a function, or in that of a sum of losses."""
    for part in name.split("+"):
        module, _, function = part.partition(":")
        words = [*module.split("."), function.partition(":")[0]]
        if all(word.isidentifier() for word in words):
            yield module


def _is_standard(module: str) -> bool:
    root = module.split(".")[0]
    return root in sys.stdlib_module_names or root in ("__main__", "", "test", "_distutils_hack")


def _home(function: Any) -> str:
    """Return the module in which a function or class was defined; "" for other objects."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, type(builtins)):
        return str(function.__name__)
    if inspect.isroutine(function) or inspect.isclass(function):
        receiver = getattr(function, "__self__", None)  # a method of a class or an object of elsewhere
        owner = receiver if inspect.isclass(receiver) else type(receiver) if receiver is not None else None
        return str(getattr(function, "__module__", None) or getattr(owner, "__module__", ""))
    return ""


@contextmanager
def _working_directory_first() -> Iterator[None]:
    """Put the working directory first in `sys.path`, as `python -m` does and an installed script does not."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        # Only for this import: a file of the working directory must not shadow a library later.
        sys.path.remove("")
