"""Shares of the cases with the mark `full`."""

from __future__ import annotations

from itertools import chain

import pytest
from support.shares import in_share


def test_each_case_is_in_one_share() -> None:
    cases = [f"tests/test_files.py::test_a_file[{number}]" for number in range(500)]
    shares = [[case for case in cases if in_share(case, f"{number}/5")] for number in range(1, 6)]
    assert sorted(chain.from_iterable(shares)) == sorted(cases)
    assert all(70 < len(share) < 130 for share in shares)
    assert all(in_share(case, "1/1") for case in cases)


@pytest.mark.parametrize("share", ["", "0/5", "6/5", "1/0", "5", "1/5/5", "-1/5", "a/b"])
def test_what_is_no_share_is_an_error(share: str) -> None:
    with pytest.raises(ValueError, match="give K/N"):
        in_share("tests/test_files.py::test_a_file", share)
