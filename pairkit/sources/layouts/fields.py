"""Which columns of a file are the fields of a layout."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

import pyarrow as pa

from pairkit.arrow import is_list, is_number, is_text
from pairkit.sources.layouts.field_map import columns_of
from pairkit.sources.layouts.layout import Layout
from pairkit.sources.layouts.paths import Types, types_at

KINDS = {
    "text": is_text,
    "number": is_number,
    "list": is_list,
    "texts": lambda kind: is_list(kind) and is_text(kind.value_type),
    "objects": lambda kind: is_list(kind) and pa.types.is_struct(kind.value_type),
    "object": pa.types.is_struct,
}


def fits(layout: Layout, columns: Types) -> bool:
    """Return whether rows with these columns have a layout."""
    exist = (
        all(exists(columns, need) for need in layout.needs)
        and (not layout.needs_one or any(exists(columns, f"{need}:number") for need in layout.needs_one))
        and not any(exists(columns, need) for need in layout.needs_none)
    )
    return exist and set(layout.required) <= fields_of(layout, columns).keys()


def exists(columns: Types, need: str) -> bool:
    """Return whether the path of `PATH` or `PATH:KIND` exists, in at least one row with that kind."""
    path, _, kind = need.partition(":")
    types = [each for each in types_at(columns, path) if not kind or KINDS[kind](each)]
    # A text that may hold the rest of the path gives no layout away.
    return any(not _is_open(each, inside=path not in columns) for each in types)


def _is_open(kind: pa.DataType, *, inside: bool) -> bool:
    """Return whether nothing is known of a type; `inside` a column, also where a list holds the text."""
    return pa.types.is_null(kind) or (inside and is_list(kind) and _is_open(kind.value_type, inside=True))


def fields_of(layout: Layout, columns: Types) -> dict[str, str]:
    """Return the fields that rows with these columns have in a layout, and where.

    A kind after a colon, as in `needs`, is that of the column. A column may be spelled otherwise than in the
    layout: "Response A" for response_a.
    """
    found, spelled = {}, {letters(name): name for name in reversed(list(columns))}
    known_names = (*columns, *layout.adds)
    for field, known in layout.fields.items():
        for candidate in _numbered((known,) if isinstance(known, str) else known, spelled):
            if "|" in candidate:
                some = [part for part in candidate.split("|") if exists(columns, f"{part}:number")]
                if some:
                    found[field] = "+".join(some)
                    break
                continue
            parts = [part.partition(":") for part in columns_of(candidate, known_names)]
            names = [part if part in known_names else spelled.get(letters(part), part) for part, *_ in parts]
            needs = [f"{name}:{kind}" for name, (*_, kind) in zip(names, parts, strict=True)]
            if all(
                name in layout.adds or exists(columns, need) for name, need in zip(names, needs, strict=True)
            ):
                found[field] = "+".join(names)
                break
    return found


def _numbered(candidates: Iterable[str], spelled: Mapping[str, str]) -> list[str]:
    """Return the candidates, where `response_#` is all columns with a letter or number in that place.

    They begin at a, 0 or 1. Of several such candidates the one with more columns goes first.
    """
    plain, found = [], []
    for candidate in candidates:
        if "#" not in candidate:
            plain.append(candidate)
            continue
        before, after = (re.escape(letters(part)) for part in candidate.split("#"))
        form = re.compile(rf"{before}(?:(\d+)|([a-z])){after}")
        ends = [match for name in spelled if (match := form.fullmatch(name))]
        numbers = sorted((int(end[1]), spelled[end[0]]) for end in ends if end[1])
        places = sorted((ord(end[2]) - ord("a"), spelled[end[0]]) for end in ends if end[2])
        # Letters without a gap, because `responses` is no response_s.
        places = [each for count, each in enumerate(places) if each[0] == count]
        found += [each for each in (places, numbers) if len(each) > 1 and each[0][0] <= 1]
    # Sorting is stable: of as many the first.
    found.sort(key=len, reverse=True)
    return ["+".join(name for _, name in each) for each in found] + plain


@lru_cache(1 << 16)
def letters(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()
