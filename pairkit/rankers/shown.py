"""What a ranker is shown of a message or a completion that consists of more than a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def shown_text(text: str, tool_calls: str | None) -> str:
    """Return a text with the calls that follow it, as the JSON list in which they are stored.

    >>> shown_text("I look.", '[{"function":{"arguments":"{}","name":"look"},"type":"function"}]')
    'I look.\\n\\n[{"function":{"arguments":"{}","name":"look"},"type":"function"}]'
    """
    return "\n\n".join(part for part in (text, tool_calls) if part)


def shown_content(message: Mapping[str, Any]) -> str:
    """Return the content of a message of a prompt, with the calls that follow it."""
    return shown_text(message["content"], message.get("tool_calls"))


def shown_texts(completions: pa.StructArray) -> list[str]:
    """Return `shown_text` of each `COMPLETION`."""
    columns = (pc.struct_field(completions, name).to_pylist() for name in ("text", "tool_calls"))
    return [shown_text(text, calls) for text, calls in zip(*columns, strict=True)]
