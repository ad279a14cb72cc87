"""The file system behind an address: pyarrow's own for S3 and Google, fsspec's for the others.

Credentials, endpoint and region come from the environment and the configuration of the file system's library,
never from an address.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pyarrow import fs

from pairkit.errors import MissingExtraError, RecipeError
from pairkit.masking import remember
from pairkit.stores.address import STORES, Address

SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_CONNECTION_STRING", "HF_TOKEN")
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
ATTEMPTS = 5  # of a request, with growing pauses of a second and less
PATIENCE = timedelta(seconds=60)  # for a request to Google; the library's own is a quarter of an hour


class FileSystem(NamedTuple):
    """A file system as pyarrow's; `native` is fsspec's below it, None for pyarrow's own."""

    arrow: fs.FileSystem
    native: Any = None


def open_filesystem(address: Address) -> FileSystem:
    """Return the file system of an address. It asks nothing, except for the region of a bucket on AWS.

    Raises `MissingExtraError` if its library is not installed, `RecipeError` for a wrong endpoint, and
    whatever the library raises.
    """
    for name in SECRETS:
        remember(os.environ.get(name))
    if address.scheme == "s3":
        return FileSystem(_s3(address.path.split("/")[0]))
    if address.scheme in ("gs", "gcs"):
        return FileSystem(fs.GcsFileSystem(retry_time_limit=PATIENCE))
    import fsspec

    try:
        native = fsspec.filesystem(address.scheme)
    except ImportError as error:
        package = STORES[address.scheme]
        raise MissingExtraError(f"{address}: {package} is not installed: pip install {package}") from error
    return FileSystem(fs.PyFileSystem(fs.FSSpecHandler(native)), native)


def _s3(bucket: str) -> fs.S3FileSystem:
    settings: dict[str, Any] = {"retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS)}
    endpoint = _first(ENDPOINTS)
    region = _first(REGIONS)
    if endpoint is not None:
        url = urlsplit(endpoint)
        if url.scheme not in ("http", "https") or not url.netloc or "@" in url.netloc:
            raise RecipeError(f"AWS_ENDPOINT_URL is {endpoint!r}; write http://HOST:PORT or https://HOST")
        settings |= {"scheme": url.scheme, "endpoint_override": url.netloc + url.path.rstrip("/")}
    # Only on AWS itself, where a bucket is in one region and a request to another one fails.
    elif region is None:
        region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(**settings, **({"region": region} if region else {}))


def _first(names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)
