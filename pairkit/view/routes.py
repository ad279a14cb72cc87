"""What the page of `pairkit view` asks, and what it is answered: JSON in and out, checked here."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

from pairkit.errors import InputError, RecipeError, quoted
from pairkit.reports.word_diff import word_diff
from pairkit.view.agreement import Agreement
from pairkit.view.annotating import Annotator
from pairkit.view.collection import Collection, about
from pairkit.view.one_set import one_set
from pairkit.view.quarantine import quarantined
from pairkit.view.query import query
from pairkit.view.server import NotFoundError, Request, Routes


def routes_of(collection: Collection, annotate: str | None = None) -> Routes:
    """Return what is answered about a collection; with a name, what labels it too.

    Raises `InputError` for a name that no annotator may have, and for annotations of other data.
    """
    labels = None if annotate is None else _Labels(collection, annotate)
    questions = _Questions(collection, labels)
    routes: dict[tuple[str, str], Any] = {
        ("GET", "/api/about"): questions.about,
        ("POST", "/api/query"): questions.query,
        ("GET", "/api/set"): questions.set,
        ("GET", "/api/quarantine"): questions.quarantine,
        ("GET", "/api/diff"): questions.diff,
    }
    if labels is not None:
        routes |= {("POST", "/api/annotations"): labels.annotate, ("GET", "/api/agreement"): labels.agreement}
    return routes


class _Labels:
    """One person's labels."""

    def __init__(self, collection: Collection, name: str) -> None:
        self.annotator = Annotator(collection.folder, name, collection.digest, collection.of_ids)
        self._collection = collection
        self._agreement = Agreement(collection.of_ids, collection.verdicts_of)
        self._lock = Lock()  # for `Agreement`

    def annotate(self, request: Request) -> dict[str, Any]:
        body = _object(request.body)
        shown = one_set(self._collection, _row_of(self._collection, body.get("set_id")))
        return self.annotator.annotate({**body, "set_id": shown["set_id"]}, shown)

    def agreement(self, request: Request) -> dict[str, Any]:
        with self._lock:
            return self._agreement.of(self.annotator.labels())


class _Questions:
    """What is looked at."""

    def __init__(self, collection: Collection, labels: _Labels | None) -> None:
        self._collection, self._labels = collection, labels

    def about(self, request: Request) -> dict[str, Any]:
        annotator = None if self._labels is None else self._labels.annotator.name
        return {**about(self._collection), "annotate": annotator}

    def query(self, request: Request) -> dict[str, Any]:
        answer = query(self._collection, _object(request.body))
        if self._labels is not None:
            for row in answer["rows"]:
                row["label"] = self._labels.annotator.label(row.get("set_id") or "")
        return answer

    def set(self, request: Request) -> dict[str, Any]:
        shown = self._shown(request)
        if self._labels is not None:
            shown["label"] = self._labels.annotator.label(shown["set_id"])
        for completion in shown["completions"]:
            if completion["sampling"] and "seed" in completion["sampling"]:
                # As a text, because a number of JavaScript has 53 bits.
                completion["sampling"]["seed"] = str(completion["sampling"]["seed"])
        return shown

    def quarantine(self, request: Request) -> dict[str, Any]:
        rows = self._collection.quarantine
        row = _number(request.parameters, "row")
        if not 0 <= row < rows.size:
            raise NotFoundError(f"no row {row} in quarantine, which has {rows.size:,}")
        return quarantined(rows, row)

    def diff(self, request: Request) -> dict[str, Any]:
        completions = self._shown(request)["completions"]
        texts = []
        for name in ("a", "b"):
            position = _number(request.parameters, name)
            if not 0 <= position < len(completions):
                raise NotFoundError(f"no completion {position}: the set has {len(completions)}")
            texts.append(completions[position]["text"])
        return word_diff(*texts)._asdict()

    def _shown(self, request: Request) -> dict[str, Any]:
        if "id" in request.parameters:
            row = _row_of(self._collection, request.parameters["id"])
        else:
            row = _number(request.parameters, "row")
        if not 0 <= row < self._collection.index.listing.size:
            raise NotFoundError(f"no set {row}: there are {self._collection.index.listing.size:,}")
        return one_set(self._collection, row)


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
