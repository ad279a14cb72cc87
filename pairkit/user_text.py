"""Text files that a user names, such as a recipe, a template or a prompt: small ones."""

from __future__ import annotations

import io
import os

MOST = 16 * 2**20  # bytes


def read_user_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a file. Raises `OSError` if it cannot be read, `ValueError` if it is longer than 16 MiB."""
    with open(path, "rb") as file:
        # At most, because a device such as /dev/zero has no end.
        content = file.read(MOST + 1)
    if len(content) > MOST:
        raise ValueError(f"it is longer than {MOST / 2**20:g} MiB")
    return content


def read_user_text(path: str | os.PathLike[str]) -> str:
    """Read a file of UTF-8 with any line ends. Raises as `read_user_bytes`, and `ValueError` for no UTF-8."""
    return io.TextIOWrapper(io.BytesIO(read_user_bytes(path)), encoding="utf-8").read()
