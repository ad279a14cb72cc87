"""Hostile values and mutations, as hypothesis strategies."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

TEXTS = (
    "", " ", "p", "é\u2028", "N/A", "3", "#### 4", "true", "null", "\x00", "\x1b[31m", "\u202eabc",
    "\ufeff", "<|im_end|>", "[INST]", "<think>", "</think>", "${HOME}", "{{ 7 * 7 }}", "../../up", "-",
    "--out", "a" * 5000, "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900,
    '[{"role": "user", "content": "p"}]', "[]", "{}", "\n\nHuman: a\n\nAssistant: b",
    "\n\nHuman: a\n\nAssistant:", "USER: a ASSISTANT: b", "A", "A>B", "tie", "9" * 400, "1e999", "-0",
    "NaN", "Infinity", "2020-01-01", "=1+1", "sk-" + "x" * 40, "\ud800", "\U0001f600",
)  # fmt: skip
NUMBERS = (
    *(0, 1, 2, -1, 1.5, -0.0, 0.1, 1e-320, 1e300, 1e308, float("inf"), float("-inf"), float("nan")),
    *(2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 12345678901234567890, 10**40),
)
texts = st.sampled_from(TEXTS) | st.text(max_size=6)
leaves = st.none() | st.booleans() | st.sampled_from(NUMBERS) | texts
NAMES = (
    "role", "content", "text", "prompt", "completions", "chosen", "rejected", "score", "rank", "label",
    "metadata", "", "a.b", "a b", "__class__", "é", "tools", "messages", "images", "system", "history",
    "name", "value", "type",
)  # fmt: skip
keys = st.sampled_from(NAMES)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
HOW = ("replace", "remove", "add", "wrap", "unwrap", "repeat")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a JSON value, its own first."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from places(inner, (*path, number))


@st.composite
def mutated(draw: st.DrawFn, value: Any, most: int = 3, inside: bool = True) -> Any:
    """Draw a JSON value with up to `most` changes; `inside`: it stays of its own type itself."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(0, most))):
        found = list(places(value))[inside:]
        if not found:
            break
        path = draw(st.sampled_from(found))
        if not path:
            value = draw(values)
            continue
        holder = value
        for part in path[:-1]:
            holder = holder[part]
        _change(draw, holder, path[-1], draw(st.sampled_from(HOW)))
    return value


def _change(draw: st.DrawFn, holder: Any, place: Any, how: str) -> None:
    if how == "remove":
        del holder[place]
    elif how == "add" and isinstance(holder, dict):
        holder[draw(keys)] = draw(values)
    elif how == "repeat" and isinstance(holder, list):
        holder.insert(place, copy.deepcopy(holder[place]))
    elif how == "wrap":
        holder[place] = [holder[place]]
    elif how == "unwrap" and isinstance(holder[place], (list, dict)) and holder[place]:
        inner = holder[place]
        holder[place] = inner[0] if isinstance(inner, list) else next(iter(inner.values()))
    else:
        holder[place] = draw(values)


PIECES = (
    b"", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\n", b"\r", b'"', b"'", b"{", b"}", b"[", b"]",
    b",", b"null", b"NaN", b"1e999", b"-", b"\\", b"\\u0000", b"\\ud800", b"\x1b[31m", b"&a [*a]", b"*a",
    b"!!python/name:os.system", b"PAR1", b"ARROW1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"9" * 300,
    b"[" * 2000, b"{}" * 3, b" " * 1000, b"\t", b": ",
)  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn, content: bytes, most: int = 4) -> bytes:
    """Draw bytes with up to `most` changes: bits flipped, parts cut, repeated, swapped or inserted."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        start = draw(st.integers(0, max(len(data) - 1, 0)))
        size = draw(st.sampled_from([1, 1, 2, 4, 8, 30, 200, len(data)]))
        how = draw(st.sampled_from(["flip", "set", "cut", "repeat", "insert", "end", "swap"]))
        part = bytes(data[start : start + size])
        if how == "flip" and part:
            data[start] ^= 1 << draw(st.integers(0, 7))
        elif how == "set" and part:
            data[start : start + len(part)] = bytes([draw(st.integers(0, 255))]) * len(part)
        elif how == "cut":
            del data[start : start + size]
        elif how == "repeat":
            data[start:start] = part
        elif how == "insert":
            data[start:start] = draw(st.sampled_from(PIECES) | st.binary(max_size=8))
        elif how == "end":
            del data[start:]
        elif how == "swap":
            data = bytearray(data[start:]) + data[:start]
    return bytes(data)
