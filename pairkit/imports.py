"""Import what a recipe names as `package.module:function`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def import_object(path: str) -> Any:
    """Import `package.module:name`, also from a module in the working directory.

    The error is whatever the module raises when it is imported, or AttributeError: what to say of it
    depends on what the name was for, so the caller turns it into a `RecipeError`.
    """
    module, _, name = path.partition(":")
    with _working_directory_first():
        return getattr(importlib.import_module(module), name)


@contextmanager
def _working_directory_first() -> Iterator[None]:
    """The working directory first in `sys.path`, as `python -m` has it and an installed script does not."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")
