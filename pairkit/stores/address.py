"""Addresses of object stores, such as s3://bucket/folder: what is one, and what may not be in it."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from pairkit.errors import RecipeError, unknown

# Scheme -> the package whose file system reads it; pyarrow's own come with pairkit.
STORES = {
    "s3": "pyarrow",
    "gs": "pyarrow",
    "gcs": "pyarrow",
    "hf": "huggingface_hub",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "oci": "ocifs",
    "oss": "ossfs",
}
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
# Of a URL, not of a glob: `part-?.parquet` has no equals sign after it.
_QUERY = re.compile(r"\?[^/]*=")


class Address(NamedTuple):
    """A place on a store: `path` is the bucket and the key, without slashes at its ends."""

    scheme: str
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    def contains(self, other: Address) -> bool:
        """Return whether `other` is this place or below it."""
        return self.scheme == other.scheme and f"{other.path}/".startswith(f"{self.path}/")


def is_address(place: str | os.PathLike[str]) -> bool:
    """Return whether a place is written as an address, of whatever scheme, and not as a path.

    >>> [is_address(place) for place in ("s3://bucket/rows.jsonl", "runs/data", "C:/rows.jsonl")]
    [True, False, False]
    """
    return isinstance(place, str) and _ADDRESS.match(place) is not None


def parse(text: str) -> Address:
    """Read an address.

    Raises `RecipeError` for an unknown scheme, for an address without a bucket, and for one with a password
    or a signature: those belong into the environment, because addresses are logged and recorded.

    >>> str(parse("s3://bucket/folder/"))
    's3://bucket/folder'
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise RecipeError(f"{text}: not an address; write s3://bucket/folder")
    scheme, path = match[1].lower(), match[2]
    if scheme == "file":
        raise RecipeError(f"{text}: write the path of a file without file://")
    if scheme in ("http", "https"):
        raise RecipeError(
            f"{text}: a file of a web server is not read; download it, or give the store's own address, such "
            "as s3://bucket/file"
        )
    if scheme not in STORES:
        raise unknown("scheme of an address", scheme, STORES)
    if "@" in path.split("/")[0] or _QUERY.search(path):
        raise RecipeError(
            f"{text}: an address must hold no password, key, signature or other settings; the store's "
            "library takes them from the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL, "
            "GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN)"
        )
    path = path.strip("/")
    if not path:
        raise RecipeError(f"{text}: names no bucket; write {scheme}://bucket/folder")
    return Address(scheme, path)
