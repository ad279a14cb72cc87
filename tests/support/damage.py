"""Changes that sizes and times do not show."""

from __future__ import annotations

import os
from pathlib import Path


def flip(path: Path, place: float = 0.5) -> None:
    """Change one bit of a file, at that fraction of it; its size and times stay."""
    about, content = path.stat(), bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def rewrite(path: Path, old: str, new: str) -> None:
    """Replace a text in a file, which has to contain it; its times stay."""
    about, content = path.stat(), path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
