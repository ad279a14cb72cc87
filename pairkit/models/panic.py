"""Panics of the tokenizers library, which are no `Exception`, as errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pairkit.errors import ModelError
from pairkit.progress import visible


@contextmanager
def panics_as_errors(name: str) -> Iterator[None]:
    """Raise `ModelError` where the tokenizer `name` panics, as one with endless regular expressions does."""
    try:
        yield
    except BaseException as error:
        # The library does not export the class.
        if type(error).__name__ != "PanicException":
            raise
        raise ModelError(
            f"the tokenizer {name!r} fails on these texts: {visible(str(error), 200)}; use another one"
        ) from None
