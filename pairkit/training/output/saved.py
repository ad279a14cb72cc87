"""Whether a saved model is still the one that was saved."""

from __future__ import annotations

from pathlib import Path

from pairkit.errors import InputError
from pairkit.files import read_record
from pairkit.hashing import sha256_of
from pairkit.training.output.layout import HASHES


def check_saved(model: Path, advice: str) -> None:
    """Raise `InputError` if a file of the model that a run has saved is missing or another one.

    Models of versions that saved no hashes are not checked.

    Args:
        advice: what to do about it.
    """
    if not (model / HASHES).exists():
        return
    hashes = read_record(model / HASHES, advice)
    files = {name: model / name for name in hashes}
    if missing := [name for name, path in files.items() if not path.is_file()]:
        raise InputError(f"{model / missing[0]}: is missing; {advice}")
    now = sha256_of(files.values(), f"checking {model}")
    if names := [name for name, path in files.items() if now[path] != hashes[name]]:
        raise InputError(f"{model / names[0]}: is damaged, or not what the run has saved; {advice}")
