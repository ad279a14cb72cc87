"""What the page of `pairkit view` asks, and what it is answered: JSON in and out, checked here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pairkit.errors import InputError, RecipeError, quoted
from pairkit.reports.word_diff import word_diff
from pairkit.view.collection import Collection, about
from pairkit.view.labels import Labels
from pairkit.view.one_set import one_set
from pairkit.view.quarantine import quarantined
from pairkit.view.query import query
from pairkit.view.server import NotFoundError, Request, Route, Routes


def routes_of(collection: Collection, annotate: str | None = None) -> Routes:
    """Return what is answered about a collection; with a name, also what labels it.

    Raises `InputError` for a collection that cannot be annotated, a name that no annotator may have, and
    annotations of other data.
    """
    labels = None if annotate is None else Labels(collection, annotate)
    questions = _Questions(collection, labels)
    routes: dict[tuple[str, str], Route] = {
        ("GET", "/api/about"): questions.about,
        ("POST", "/api/query"): questions.query,
        ("GET", "/api/set"): questions.set,
        ("GET", "/api/quarantine"): questions.quarantine,
        ("GET", "/api/diff"): questions.diff,
    }
    if labels is not None:
        routes["POST", "/api/annotations"] = lambda request: _annotated(collection, labels, request)
        routes["GET", "/api/agreement"] = lambda request: labels.agreement()
    return routes


class _Questions:
    """What is looked at, with the labels of whoever looks."""

    def __init__(self, collection: Collection, labels: Labels | None) -> None:
        self._collection, self._labels = collection, labels

    def about(self, request: Request) -> dict[str, Any]:
        name = None if self._labels is None else self._labels.annotator.name
        return {**about(self._collection), "annotate": name}

    def query(self, request: Request) -> dict[str, Any]:
        if self._labels is not None:
            self._labels.refresh()
        answer = query(self._collection, _object(request.body))
        for row in answer["rows"]:
            row["label"] = self._label(row.get("set_id"))
        labels = [] if self._labels is None else self._labels.problems
        return {**answer, "problems": [*self._collection.problems, *labels]}

    def set(self, request: Request) -> dict[str, Any]:
        if self._labels is not None:
            self._labels.refresh()
        content = one_set(self._collection, self._row(request))
        for completion in content["completions"]:
            if completion["sampling"] and "seed" in completion["sampling"]:
                # As a text, because a number of JavaScript has 53 bits.
                completion["sampling"]["seed"] = str(completion["sampling"]["seed"])
        return {**content, "label": self._label(content["set_id"])}

    def quarantine(self, request: Request) -> dict[str, Any]:
        rows = self._collection.quarantine
        row = _number(request.parameters, "row")
        if row >= rows.size:
            raise NotFoundError(f"no row {row} in quarantine, which has {rows.size:,}")
        return quarantined(rows, row)

    def diff(self, request: Request) -> dict[str, Any]:
        completions = one_set(self._collection, self._row(request))["completions"]
        positions = [_number(request.parameters, name) for name in ("a", "b")]
        if max(positions) >= len(completions):
            raise NotFoundError(f"no completion {max(positions)}: the set has {len(completions)}")
        return word_diff(*(completions[position]["text"] for position in positions))._asdict()

    def _row(self, request: Request) -> int:
        if "id" in request.parameters:
            return _row_of(self._collection, request.parameters["id"])
        row, size = _number(request.parameters, "row"), self._collection.index.listing.size
        if row >= size:
            raise NotFoundError(f"no set {row}: there are {size:,}")
        return row

    def _label(self, set_id: str | None) -> dict[str, Any] | None:
        return None if self._labels is None or set_id is None else self._labels.annotator.label(set_id)


def _annotated(collection: Collection, labels: Labels, request: Request) -> dict[str, Any]:
    body = _object(request.body)
    return labels.annotate(body, _row_of(collection, body.get("set_id")))


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise RecipeError(f"the body must be a JSON object, got {quoted(body)}")
    return body


def _number(parameters: Mapping[str, str], name: str) -> int:
    text = parameters.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise RecipeError(f"{name} must be a number, got {quoted(text)}")
    return int(text)


def _row_of(collection: Collection, set_id: object) -> int:
    if not isinstance(set_id, str):
        raise RecipeError(f"set_id must be a text, got {quoted(set_id)}")
    try:
        return collection.row_of(set_id)
    except InputError as error:
        raise NotFoundError(str(error)) from None
