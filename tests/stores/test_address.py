"""Addresses of stores: what is one, and what may not be in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pairkit.errors import OutputError, RecipeError
from pairkit.files import was_address
from pairkit.ownership import outside_others
from pairkit.stores.address import Address, is_address, parse


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("s3://bucket/folder/rows.jsonl", Address("s3", "bucket/folder/rows.jsonl")),
        ("S3://bucket/folder/", Address("s3", "bucket/folder")),
        ("gs://bucket", Address("gs", "bucket")),
        ("hf://datasets/org/name@main/data", Address("hf", "datasets/org/name@main/data")),
        ("s3://bucket/part-?.parquet", Address("s3", "bucket/part-?.parquet")),
    ],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    assert is_address(text)
    assert parse(text) == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("xyz://bucket/x", "unknown scheme of an address 'xyz'"),
        ("s3://", "names no bucket; write s3://bucket/folder"),
        ("file:///data/x.jsonl", "write the path of a file without file://"),
        ("https://host/x.jsonl", "download it, or give the store's own address"),
        ("s3://key:hunter2-hunter2@bucket/x", "must hold no password"),
        ("s3://bucket/x?endpoint_override=host", "must hold no password"),
    ],
)
def test_other_addresses_are_refused_without_their_secrets(text: str, says: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(says)) as error:
        parse(text)
    assert "hunter2" not in str(error.value)


def test_a_signature_is_not_in_the_error() -> None:
    with pytest.raises(RecipeError) as error:
        parse("https://bucket.s3.amazonaws.com/x.jsonl?X-Amz-Credential=AKIA123&X-Amz-Signature=0123abcd")
    assert "0123abcd" not in str(error.value)
    assert "AKIA123" not in str(error.value)


def test_a_path_that_was_an_address_owns_nothing() -> None:
    assert was_address(Path("s3://bucket/run"))
    assert not was_address(Path("runs/s3:/run"))
    with pytest.raises(OutputError, match="is the address of a store, to which only `pairkit build --out`"):
        outside_others(Path("s3://bucket/run"))


def test_a_place_contains_what_is_below_it_and_itself() -> None:
    place = parse("s3://bucket/a")
    assert place.contains(parse("s3://bucket/a"))
    assert place.contains(parse("s3://bucket/a/b"))
    assert not place.contains(parse("s3://bucket/ab"))
    assert not place.contains(parse("gs://bucket/a/b"))
