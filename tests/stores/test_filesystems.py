"""The file system of an address: settings from the environment, and a library that is missing."""

from __future__ import annotations

import importlib.util

import pytest

from pairkit.errors import InputError, MissingExtraError, RecipeError
from pairkit.stores.address import parse
from pairkit.stores.store import open_store, reason_of


def test_a_missing_library_is_named() -> None:
    assert importlib.util.find_spec("ossfs") is None
    with pytest.raises(MissingExtraError, match="ossfs is not installed: pip install ossfs"):
        open_store(parse("oss://bucket/x"))


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "http://key:secretsecret@host", "ftp://host"])
def test_a_wrong_endpoint_is_refused(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(RecipeError, match="write http://HOST:PORT or https://HOST") as error:
        open_store(parse("s3://bucket/x"))
    assert "secretsecret" not in str(error.value)


def test_a_server_that_is_not_there_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secretsecret")
    monkeypatch.setattr("pairkit.stores.filesystems.ATTEMPTS", 1)
    with pytest.raises(InputError, match="the store cannot be reached; check the network") as error:
        open_store(parse("s3://bucket/x")).files()
    assert str(error.value).startswith("s3://bucket/x: cannot be listed: ")


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("AWS Error NO_SUCH_BUCKET during ListObjectsV2 operation", "no such bucket"),
        ("AWS Error ACCESS_DENIED during HeadObject operation: No response body.", "refuses access"),
        ("Permission denied: gs://bucket", "refuses access"),
        ("curlCode: 28, Timeout was reached", "cannot be reached"),
        ("[Errno -2] Name or service not known", "cannot be reached"),
        ("something (Request ID: a403b) else", "the request failed"),
    ],
)
def test_reasons_are_told_apart(message: str, says: str) -> None:
    assert says in reason_of(OSError(message))
