"""A question about a listing: filters, a search and a sort give rows, counts and histograms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pairkit.errors import InputError, RecipeError, unknown
from pairkit.view.collection import LISTS, Collection
from pairkit.view.columns import LEAF
from pairkit.view.disagreement import FACET as DISAGREEMENT
from pairkit.view.facets import Facet, Numbers
from pairkit.view.listing import Listing
from pairkit.view.lists import Mask
from pairkit.view.quarantine import SHOWN

Rows = npt.NDArray[np.int64]

MOST = 500  # rows of one answer
LONGEST_TAB = 40  # characters
FIRST_HITS = 0.2  # seconds that a new search is waited for
PROMPT = "prompt.list.element."
HEAD = ("set_id", "source", f"{PROMPT}role", f"{PROMPT}content", f"{LEAF}model")


def query(collection: Collection, request: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a question about the sets, or the rows in quarantine.

    Args:
        request: `list` ("sets" or "quarantine"), `text` (words to search for), `filters` (facet ->
            {"values": [...]} or {"min": x, "max": y}), `sort` ({"by": facet, "descending": bool} or null),
            `offset`, `limit`, `disagree` ({"first": score, "second": score} or null, for the facet
            "disagreement"), `tab` (a name of who asks, whose search this is); all of them optional.

    Returns:
        `total` rows that fit, `rows` from `offset` on, `facets` with the counts of each under all other
        filters, `search` and `lengths` with how far they are.

    Raises `RecipeError` for an unknown list, facet or sort, and for a filter that its facet has not.
    """
    name = request.get("list", "sets")
    if name not in LISTS:
        raise unknown("list", str(name), LISTS)
    listing, facets = collection.listing(name), collection.facets(name)
    if (both := _part(request, "disagree")) and name == "sets":
        facets[DISAGREEMENT] = collection.disagreement(str(both.get("first")), str(both.get("second")))
    filters = _masks(facets, _part(request, "filters"))
    if not isinstance(text := request.get("text") or "", str):
        raise RecipeError(f"text must be a text, got {text!r}")
    search = collection.search(name, text, str(request.get("tab", ""))[:LONGEST_TAB])
    if search is not None:
        search.wait(FIRST_HITS)
    words = [] if search is None else [search.hits.copy()]
    every, others = crossed([*filters.values(), *words], listing.size)
    counted = {
        facet: facets[facet].counted(others(filters[facet]) if facet in filters else every)
        for facet in facets
    }
    rows = _sorted(np.flatnonzero(every), facets, _part(request, "sort"))
    offset, limit = _window(request)
    page = rows[offset : offset + limit]
    heads = _sets(collection, facets, page) if name == "sets" else _quarantined(listing, page)
    return {
        "total": len(rows),
        "rows": heads,
        "facets": counted,
        "search": None
        if search is None
        else {"done": search.done, "scanned": search.scanned, "of": search.of},
        "lengths": collection.lengths.reading.progress(),
        "verdicts": collection.verdicts.reading.progress(),
    }


def crossed(masks: Sequence[Mask], size: int) -> tuple[Mask, Callable[[Mask], Mask]]:
    """Return where all masks hold, and a function that returns where all but a given one of them hold."""
    failures = np.zeros(size, np.uint8)
    for mask in masks:
        failures += ~mask
    return failures == 0, lambda own: failures == ~own


def _part(request: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = request.get(name) or {}
    if not isinstance(part, Mapping):
        raise RecipeError(f"{name} must be an object, got {part!r}")
    return part


def _masks(facets: Mapping[str, Facet], filters: Mapping[str, Any]) -> dict[str, Mask]:
    for name in filters:
        if name not in facets:
            raise unknown("filter", name, facets)
    return {name: facets[name].mask(chosen) for name, chosen in filters.items()}


def _sorted(rows: Rows, facets: Mapping[str, Facet], sort: Mapping[str, Any]) -> Rows:
    """Sort rows by a number; those without one come last, and equal ones stay in the order of the files."""
    if not sort:
        return rows
    facet = facets.get(str(sort.get("by")))
    if not isinstance(facet, Numbers):
        choices = [name for name, each in facets.items() if isinstance(each, Numbers)]
        raise unknown("sort", str(sort.get("by")), choices)
    numbers = facet.numbers[rows]
    # NaN is sorted to the end.
    return rows[np.argsort(-numbers if sort.get("descending") else numbers, kind="stable")]


def _window(request: Mapping[str, Any]) -> tuple[int, int]:
    window = []
    for name, default, most in (("offset", 0, None), ("limit", 50, MOST)):
        value = request.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise RecipeError(f"{name} must be a number of rows, got {value!r}")
        window.append(value if most is None else min(value, most))
    return window[0], window[1]


def _read(listing: Listing, rows: Rows, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read columns of some rows, in their order; of a file that cannot be read, the `error` instead."""
    files, places = listing.places(rows)
    entries: list[dict[str, Any]] = [{} for _ in rows]
    for number in np.unique(files).tolist():
        shard = listing.shards[number]
        mine = np.flatnonzero(files == number)
        mine = mine[np.argsort(places[mine])]
        try:
            content = shard.at(places[mine].tolist(), columns).to_pylist()
        except InputError as error:
            content = [{"error": str(error)}] * len(mine)
        for index, each in zip(mine.tolist(), content, strict=True):
            entries[index] = {"segment": shard.segment or None, "split": shard.split or None, **each}
    return entries


def _sets(collection: Collection, facets: Mapping[str, Facet], rows: Rows) -> list[dict[str, Any]]:
    numbers = ("completions", "margin", "best", "worst", DISAGREEMENT)
    return [
        {
            "row": row,
            "set_id": content.get("set_id"),
            "segment": content["segment"],
            "split": content["split"],
            "source": content.get("source"),
            "prompt": _last_words(content.get("prompt") or ()),
            "models": list(dict.fromkeys(each["model"] for each in content.get("completions") or ())),
            **{name: _number(facets[name], row) for name in numbers if name in facets},
            "lengths": collection.lengths.of_row(row),
            "error": content.get("error"),
        }
        for row, content in zip(rows.tolist(), _read(collection.index.listing, rows, HEAD), strict=True)
    ]


def _quarantined(listing: Listing, rows: Rows) -> list[dict[str, Any]]:
    names = ("stage", "set_id", "reason", "detail", "row")
    return [
        {
            **{name: content.get(name) for name in ("segment", "stage", "set_id", "reason", "error")},
            "detail": (content.get("detail") or "")[:SHOWN],
            "text": (content.get("row") or "")[:SHOWN],
            "row": row,
        }
        for row, content in zip(rows.tolist(), _read(listing, rows, names), strict=True)
    ]


def _number(facet: Facet, row: int) -> float | int | None:
    assert isinstance(facet, Numbers)
    number = float(facet.numbers[row])
    if np.isnan(number):
        return None
    return int(number) if facet.label == "completions" else number


def _last_words(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the beginning of the last message: of a long conversation it tells most."""
    return (messages[-1]["content"] or "")[:SHOWN] if messages else ""
