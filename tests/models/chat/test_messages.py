"""Messages as templates take them, from JSON of any depth."""

from __future__ import annotations

import json

import pytest

from pairkit.models.chat.messages import MAX_LEVELS, PromptRefused, from_json, parsed_json


@pytest.mark.parametrize("levels", [MAX_LEVELS + 1, 900, 20_000])
def test_what_templates_cannot_follow_is_no_value(levels: int) -> None:
    for opens, closes in (("[", "]"), ('{"a":', "}")):
        text = opens * levels + "1" + closes * levels
        assert parsed_json(text) is None
        with pytest.raises(PromptRefused, match=f"tools must be nested at most {MAX_LEVELS} levels deep"):
            from_json(text, list, "tools")
    wide = json.dumps([[1] * 300] * 300)
    assert from_json(wide, list, "tools") == json.loads(wide)
