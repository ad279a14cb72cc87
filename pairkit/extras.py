"""Libraries of an optional extra: they are imported late, because that takes seconds."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from pairkit.errors import MissingExtraError


def extra_version(package: str, extra: str = "eval") -> str:
    """Return the version of a package of an extra. Raises `MissingExtraError`."""
    try:
        return version(package)
    except PackageNotFoundError:
        raise MissingExtraError(f"{package} is not installed: pip install 'pairkit[{extra}]'") from None
