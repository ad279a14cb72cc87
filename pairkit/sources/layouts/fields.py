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
    return exist and _Fields(layout, columns).has(layout.required)


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
    return _Fields(layout, columns).found()


class _Fields:
    """Looks for the fields of one layout in columns."""

    def __init__(self, layout: Layout, columns: Types) -> None:
        self._layout, self._columns = layout, columns
        self._spelled = {letters(name): name for name in reversed(list(columns))}
        self._names = (*columns, *layout.adds)

    def has(self, fields: Iterable[str]) -> bool:
        """Return whether all of these are there, without a look at any other: there are dozens of layouts."""
        return all(field in self._layout.fields and self._place(field) is not None for field in fields)

    def found(self) -> dict[str, str]:
        """Return every field that is there, and where."""
        places = ((field, self._place(field)) for field in self._layout.fields)
        return {field: place for field, place in places if place is not None}

    def _place(self, field: str) -> str | None:
        candidates = self._layout.fields[field]
        for candidate in _numbered(
            (candidates,) if isinstance(candidates, str) else candidates, self._spelled
        ):
            if "|" in candidate:
                some = [part for part in candidate.split("|") if exists(self._columns, f"{part}:number")]
                if some:
                    return "+".join(some)
                continue
            parts = [part.partition(":") for part in columns_of(candidate, self._names)]
            names = [
                part if part in self._names else self._spelled.get(letters(part), part) for part, *_ in parts
            ]
            needs = [f"{name}:{kind}" for name, (*_, kind) in zip(names, parts, strict=True)]
            if all(
                name in self._layout.adds or exists(self._columns, need)
                for name, need in zip(names, needs, strict=True)
            ):
                return "+".join(names)
        return None


def _numbered(candidates: Iterable[str], spelled: Mapping[str, str]) -> list[str]:
    """Return the candidates, where `response_#` is all columns with a letter or number in that place.

    They begin at a, 0 or 1. Of several such candidates the one with more columns goes first.
    """
    plain, runs = [], []
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
        runs += [each for each in (places, numbers) if len(each) > 1 and each[0][0] <= 1]
    # Sorting is stable: of as many the first.
    runs.sort(key=len, reverse=True)
    return ["+".join(name for _, name in each) for each in runs] + plain


@lru_cache(1 << 16)
def letters(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()
