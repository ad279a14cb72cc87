"""Importing what a recipe names as `package.module:function`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def import_object(path: str) -> Any:
    """Import `package.module:name`, also from a module in the working directory.

    The error is whatever the module raises on import, or AttributeError. The caller turns it into a
    `RecipeError`, because only the caller knows which recipe key named the function.
    """
    module, _, name = path.partition(":")
    with _working_directory_first():
        return getattr(importlib.import_module(module), name)


@contextmanager
def _working_directory_first() -> Iterator[None]:
    """Put the working directory first in `sys.path`, as `python -m` does and an installed script does not."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        # Only for this import: a file of the working directory must not shadow a library later.
        sys.path.remove("")
