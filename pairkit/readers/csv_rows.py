"""Bad rows of CSV files that pyarrow cannot give to a handler."""

from __future__ import annotations

import sys
from typing import Any

_NAMES = ("_header.<locals>", "csv_blocks.<locals>")


def hide_undecodable_rows() -> None:
    """Keep Python from printing a traceback for a bad row that is not UTF-8; pyarrow refuses the file anyway.

    pyarrow calls the handler of bad rows where no exception can be raised, so that Python prints those.
    """
    earlier = sys.unraisablehook
    if getattr(earlier, "hides_undecodable_rows", False):
        return

    def hook(unraisable: Any) -> None:
        handler = getattr(unraisable.object, "__qualname__", "")
        if not (isinstance(unraisable.exc_value, UnicodeDecodeError) and handler.startswith(_NAMES)):
            earlier(unraisable)

    hook.hides_undecodable_rows = True  # type: ignore[attr-defined]  # so that it is put there once
    sys.unraisablehook = hook
