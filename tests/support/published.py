"""What a build published, as hashes."""

from __future__ import annotations

from pathlib import Path

from pairkit.files import sha256


def hashes(out: Path) -> dict[str, str]:
    """The sha256 of every file but the run log, which tells of times; nothing else may differ."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name != "run.jsonl"]
    return {str(path.relative_to(out)): sha256(path) for path in files}
