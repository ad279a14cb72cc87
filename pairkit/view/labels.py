"""One person's labels of a collection: saved, shown, filtered by, and compared with rankers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from threading import Lock
from typing import Any

import numpy as np

from pairkit.errors import InputError
from pairkit.progress import warn
from pairkit.view.agreement import Agreement
from pairkit.view.annotating import Annotator
from pairkit.view.by_id import rows_of, sets_of_ids, verdicts_of_ids
from pairkit.view.collection import Collection
from pairkit.view.facets import Values, values_of
from pairkit.view.one_set import one_set

FACET = "label"


class Labels:
    """The labels of an annotator. Threads may use it at the same time.

    Attributes:
        annotator: the annotations of the person.
        problems: why the file of annotations cannot be read any more, none as long as it can.
    """

    def __init__(self, collection: Collection, name: str) -> None:
        """Read what the annotator has labeled already; warn of lines that are no annotations.

        Raises `InputError` for a collection that cannot be annotated, a name that no file may have, and
        annotations of other data.
        """
        if collection.folder is None:
            raise InputError(
                f"{collection.path}: has sets in several segments: annotate the dataset of one, such as "
                f"{collection.path}/segment-1/data"
            )
        of_ids = partial(sets_of_ids, collection)
        self.annotator = Annotator(collection.folder, name, collection.digest, of_ids)
        for problem in self.annotator.skipped:
            warn(str(problem))
        self._agreement = Agreement(of_ids, partial(verdicts_of_ids, collection))
        self._collection = collection
        self.problems: list[dict[str, str]] = []
        self._lock = Lock()
        self._update_facet()

    def annotate(self, request: Mapping[str, Any], row: int) -> dict[str, Any]:
        """Save what is said about the set of a row; return its label, and counts.

        Raises `InputError` for a request that cannot be understood, `OutputError` if it cannot be saved.
        """
        answer = self.annotator.annotate(request, one_set(self._collection, row))
        with self._lock:
            self._update_facet()
        return answer

    def refresh(self) -> None:
        """Take up what another server of the annotator has saved. A file that is gone becomes a problem."""
        with self._lock:
            try:
                others = self.annotator.refresh()
            except InputError as error:
                # The sets can be looked at all the same; saving raises it again.
                self.problems = [{"file": self.annotator.file.path.name, "message": str(error)}]
                return
            self.problems = []
            if others:
                self._update_facet()

    def agreement(self) -> dict[str, Any]:
        """Compare the orders of the labels with all that orders the same completions."""
        self.refresh()
        with self._lock:
            return self._agreement.of(self.annotator.labels())

    def _update_facet(self) -> None:
        self._collection.extra[FACET] = _facet(self._collection, self.annotator)


def _facet(collection: Collection, annotator: Annotator) -> Values:
    """Return the facet of what was said about each set; null where nothing was."""
    size = collection.index.listing.size
    values: list[str | None] = [None, "accept", "order", "tie", "flag"]
    codes = np.zeros(size, np.int64)
    labels = annotator.labels()
    for number, action in enumerate(values[1:], 1):
        ids = [label.set_id for label in labels if label.action == action]
        codes[rows_of(collection, ids)] = number
    return values_of(FACET, size, values, codes, np.arange(size))
