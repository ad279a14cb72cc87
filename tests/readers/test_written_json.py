"""JSON rows that are written as they were read: in one way by pieces of text, in another by values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.fuzzing.values import values

from pairkit.readers.written.exact_json import as_known, dumps_exact, dumps_known, loads_exact, loads_known

NUMBERS = r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?"
ODD = ("-0", "0.10", "1E400", "1e-05", "1e5", "9" * 5000, "0.1000000000000000055511151231257827", "-0.0")
CONTROL = "".join(map(chr, range(32)))


@given(st.from_regex(NUMBERS, fullmatch=True))
def test_numbers_keep_their_spelling(number: str) -> None:
    text = f'{{"a":[{number},{{"b":{number}}}]}}'
    assert dumps_known(loads_known(text)) == text


@pytest.mark.parametrize("number", ODD)
def test_odd_numbers_keep_their_spelling(number: str) -> None:
    assert dumps_known(loads_known(f"[{number}]")) == f"[{number}]"


@given(values, st.sampled_from([None, (",", ":"), (" , ", " :\t")]), st.booleans())
def test_both_ways_write_the_same(value: Any, separators: tuple[str, str] | None, ascii_only: bool) -> None:
    text = json.dumps(value, separators=separators, ensure_ascii=ascii_only)
    written = dumps_exact(loads_exact(text))
    # Half of a surrogate pair is in no row that is kept.
    assume(all(not 0xD800 <= ord(character) < 0xE000 for character in written))
    assert dumps_known(loads_known(text)) == written
    assert dumps_known(as_known(value)) == dumps_exact(value)


def test_every_character_is_written_the_same() -> None:
    text = CONTROL + '"\\/' + "".join(map(chr, [*range(127, 0xD800), *range(0xE000, 0x11000), 0x1F600]))
    for ascii_only in (True, False):
        written = json.dumps({"a": text, text: 1}, ensure_ascii=ascii_only)
        assert dumps_known(loads_known(written)) == dumps_exact(loads_exact(written))
        assert json.loads(dumps_known(loads_known(written))) == {"a": text, text: 1}


def test_what_json_has_not_is_a_text() -> None:
    assert dumps_known(loads_known("[NaN, Infinity, -Infinity]")) == '["NaN","Infinity","-Infinity"]'
    assert dumps_known(as_known([float("nan"), (float("inf"), 2**70, 1e-05)])) == (
        '["NaN",["Infinity",1180591620717411303424,1e-05]]'
    )
