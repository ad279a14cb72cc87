"""JSON of a dataset that is nested deeper than what renders it can follow is refused, set by set."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from pairkit.dataset.chat_json import with_arguments
from pairkit.json_depth import MAX_LEVELS
from pairkit.models.chat.messages import PromptRefused, from_json, parsed_json
from pairkit.schema.checks import _reads


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize("levels", [MAX_LEVELS + 1, 900, 100_000])
def test_deep_json_is_none(levels: int) -> None:
    deep = nested(levels)
    assert parsed_json(deep) is None
    assert parsed_json("[" * levels) is None
    assert not _reads(f"[{deep}]", lambda value: True)
    for text, kind in ((f"[{deep}]", list), (deep, dict), ("[" * levels, list)):
        with pytest.raises(
            PromptRefused, match=r"must be nested at most 128 levels deep, got .*\.\.\.$"
        ) as e:
            from_json(text, kind, "tools")
        assert len(e.value.detail) < 400
    calls = json.dumps([{"function": {"name": "f", "arguments": deep}}])
    (kept,) = with_arguments(pa.array([calls]), "object").to_pylist()
    assert json.loads(kept)[0]["function"]["arguments"] == deep


def test_json_within_the_bound_is_read() -> None:
    assert parsed_json(nested(MAX_LEVELS)) == json.loads(nested(MAX_LEVELS))
    brackets = json.dumps(["[" * 1000, '"' + "{" * 1000])
    assert parsed_json(brackets) == json.loads(brackets)


@pytest.mark.parametrize("text", ['{"a": NaN}', "[Infinity]", "-Infinity", "[" * 50, "\ud800"])
def test_what_is_no_json_is_none(text: str) -> None:
    assert parsed_json(text) is None


def test_a_long_text_is_cut_where_it_is_refused() -> None:
    with pytest.raises(PromptRefused) as refused:
        from_json("x" * 10_000, list, "tools")
    assert len(refused.value.detail) < 300
