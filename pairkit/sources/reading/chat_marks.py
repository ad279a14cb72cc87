"""Texts that spell turns in the marks of a chat template.

Training puts the model's own template around messages, so that `<|im_start|>user\\nHi<|im_end|>` as a text
would get two.
"""

from __future__ import annotations

import re

import polars as pl
import pyarrow as pa

from pairkit.sources.reading.literals import OtherKind

# The header of a turn: ChatML, Llama 3, Gemma, Zephyr and Phi-3. What follows is the turn.
_HEADER = re.compile(
    r"<\|im_start\|>\s*(\w+)[ \t]*\n?"
    r"|<\|start_header_id\|>\s*(\w+)\s*<\|end_header_id\|>\s*"
    r"|<start_of_turn>\s*(\w+)[ \t]*\n?"
    r"|<\|(system|user|assistant)\|>[ \t]*\n"
)
_BEGIN = r"^\s*(?:<\|begin_of_text\|>|<bos>|<s>|<｜begin▁of▁sentence｜>|<BOS_TOKEN>)?\s*"
_START = re.compile(_BEGIN)
_END = r"(?:<\|im_end\|>|<\|eot_id\|>|<end_of_turn>|<\|end\|>|<\|endoftext\|>|<\|end_of_text\|>|</s>)"
_ENDS = re.compile(rf"\s*(?:{_END}\s*)+$")
# Other templates are known by their beginning and not read.
_OTHER = re.compile(
    r"(\[INST\]|<\|start\|>|<｜User｜>|<\|prompter\|>|<\|START_OF_TURN_TOKEN\|>|<\|im_user\|>)"
)
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
BEGINS = rf"{_BEGIN}(?:<\||<start_of_turn>|\[INST\]|<｜)"


def spelled_messages(text: str) -> list[dict[str, str]] | None:
    """Return the messages that a text spells in the marks of a template, None for any other text.

    The open turn of a generation prompt and blank system turns are left out. Raises `OtherKind` for other
    templates.
    """
    bare = _START.sub("", text, count=1)
    if not _HEADER.match(bare):
        other = _OTHER.match(bare)
        if other:
            raise OtherKind(
                f"spells a chat template ({other.group(1)}); give messages with role and content, or the "
                "text without marks"
            )
        return None
    turns = list(_HEADER.finditer(bare))
    ends = [turn.start() for turn in turns[1:]] + [len(bare)]
    messages = [
        {"role": next(filter(None, turn.groups())), "content": _ENDS.sub("", bare[turn.end() : end]).strip()}
        for turn, end in zip(turns, ends, strict=True)
    ]
    open_ = not messages[-1]["content"]
    closed_turns = messages[:-1] if open_ else messages
    return [each for each in closed_turns if each["content"] or each["role"] != "system"]


def without_end_marks(texts: pa.Array) -> pa.Array:
    """Leave out the marks that end a turn at the end of replies: the template adds its own."""
    series = pl.from_arrow(texts)
    assert isinstance(series, pl.Series)
    # In HTML the last mark ends what is struck out.
    ended = series.str.contains(rf"{_END}\s*$") & ~series.str.contains("<s>", literal=True)
    if not ended.any():
        return texts
    bare = series.str.replace(rf"\s*(?:{_END}\s*)+$", "")
    return bare.zip_with(ended, series).to_arrow().cast(pa.string())
