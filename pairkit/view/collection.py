"""A collection of candidate sets that is open: its index, and what goes on in the background."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from pairkit.errors import InputError, RecipeError
from pairkit.files import was_address
from pairkit.view.columns import keys_of
from pairkit.view.disagreement import compared, disagreement
from pairkit.view.evidence.recorded import RecordedRun, open_run, read_run
from pairkit.view.evidence.verdicts import Verdicts
from pairkit.view.facets import Facet, Numbers
from pairkit.view.files import found as finding
from pairkit.view.files.found import Found
from pairkit.view.index import build_index
from pairkit.view.lengths import Lengths
from pairkit.view.listing import Listing
from pairkit.view.quarantine import SEARCHED as QUARANTINE_TEXTS
from pairkit.view.quarantine import listed_quarantine
from pairkit.view.search import Search
from pairkit.view.texts import SEARCHED

LISTS = ("sets", "quarantine")
KEPT = 8  # disagreements
TABS = 8  # of browsers, whose searches are kept


class Collection:
    """What is looked at. Several threads may ask it.

    Attributes:
        title, kind: its name, and "dataset", "online" or "files".
        path: what was opened.
        folder: where annotations of it lie; None where it cannot be annotated.
        digest: identifies the data: other content has another one.
        index: the sets that can be read.
        quarantine: the rows in quarantine.
        lengths: of texts, read in the background.
        verdicts: of judges, read in the background.
        run: the training run that is looked at, None for none.
        extra: facets of sets that are added to those of the index, such as labels.
    """

    def __init__(
        self, found: Found, run: RecordedRun | None = None, segments: frozenset[str] = frozenset()
    ) -> None:
        self.title, self.kind, self.path = found.title, found.kind, found.path
        self.folder, self.digest, self.found, self.run = found.folder, found.digest, found, run
        self.index, unread = build_index(found.shards)
        self.quarantine, lost = listed_quarantine(found.quarantine)
        self.lengths = Lengths(self.index)
        self.verdicts = Verdicts(self.index, found.verdicts)
        self.extra: dict[str, Facet] = {}
        self._problems = [*found.problems, *unread, *lost]
        self._segments = segments
        self._searches: dict[tuple[str, str], Search] = {}
        self._disagreements: dict[tuple[str, ...], Numbers] = {}
        self._lock = Lock()

    @property
    def problems(self) -> list[dict[str, str]]:
        """The files that cannot be read, `file` and `message`, each once."""
        searches = [problem for search in list(self._searches.values()) for problem in search.problems]
        every = [*self._problems, *self.lengths.reading.problems, *self.verdicts.reading.problems, *searches]
        return list({problem["file"]: problem for problem in reversed(every)}.values())[::-1]

    def listing(self, name: str) -> Listing:
        """Return the listing "sets" or "quarantine"."""
        return self.index.listing if name == "sets" else self.quarantine

    def facets(self, name: str) -> dict[str, Facet]:
        """Return the facets of a listing, as far as they are known by now."""
        facets = dict(self.listing(name).facets)
        if name == "sets":
            facets |= self.verdicts.facets() | self.lengths.facets() | self.extra
        return facets

    def disagreement(self, first: str, second: str) -> Numbers:
        """Return the facet of how much two scores disagree; the last few are kept.

        Raises `RecipeError` for an unknown score, `InputError` for a file that is gone.
        """
        key = tuple(sorted((first, second)))
        with self._lock:
            if key not in self._disagreements:
                while len(self._disagreements) >= KEPT:
                    del self._disagreements[next(iter(self._disagreements))]
                self._disagreements[key] = disagreement(self.index, *key)
            return self._disagreements[key]

    def run_of(self, segment: str) -> RecordedRun | None:
        """Return the run whose record of a set is shown: the one that is looked at, or the segment's own."""
        if self.run is not None:
            # A set of another segment may have the same id, and has other completions.
            return self.run if segment in self._segments else None
        return read_run(self.found.runs[segment])[0] if segment in self.found.runs else None

    def search(self, name: str, text: str, tab: str = "") -> Search | None:
        """Return the search for a text in a listing; None for no words.

        Each tab of a browser has its own, which stops the one before: with one for all, two people who search
        at the same time would begin each other's anew without end.

        Raises `RecipeError` for a text that is too long.
        """
        with self._lock:
            key = (name, tab)
            before = self._searches.pop(key, None)
            if before is not None and before.text == text.strip():
                self._searches[key] = before  # as the last one that was asked for
                return before
            if before is not None:
                before.stop()
            if not text.strip():
                return None
            while len(self._searches) >= TABS:
                self._searches.pop(next(iter(self._searches))).stop()
            columns = SEARCHED if name == "sets" else QUARANTINE_TEXTS
            self._searches[key] = Search(self.listing(name), text.strip(), columns)
            return self._searches[key]

    def row_of(self, set_id: str) -> int:
        """Return the first row of a set; SEGMENT/SET_ID is that of a segment. Raises `InputError`."""
        # Only ids of an online training have a segment: those of others may have a slash too.
        segment, _, name = set_id.rpartition("/") if self.kind == "online" else ("", "", set_id)
        listing = self.index.listing
        rows = np.flatnonzero(self.index.keys == keys_of(pa.array([name]))[0])
        for row, file in zip(rows.tolist(), listing.places(rows)[0].tolist(), strict=True):
            if segment in ("", listing.shards[file].segment):
                return int(row)
        raise InputError(f"{self.path}: has no set {set_id!r}")

    def start(self) -> None:
        """Begin what goes on in the background."""
        self.verdicts.reading.start()
        self.lengths.reading.start()

    def close(self) -> None:
        """Stop what goes on in the background."""
        self.lengths.reading.stop()
        self.verdicts.reading.stop()
        with self._lock:
            for search in self._searches.values():
                search.stop()


@contextmanager
def opened(
    path: Path, *, run: Path | None = None, columns: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[Collection]:
    """Open a built dataset, an online training, or files of pairs; their texts are read when asked for.

    A file of a dataset that cannot be read is named in `problems`, and the others are shown. Files of pairs
    are converted to sets once, in a private temporary directory.

    Args:
        run: a training run on the dataset, whose log-probs and sampled negatives are shown.
        columns: of files, `layout` and `map` as in `source` of a build; what is not there is recognized.

    Raises:
        InputError: there is nothing to look at, with what to give instead; a damaged manifest; a run that was
            trained on other data.
        RecipeError: files in whose columns no pairs are recognized; columns of what is no file.
    """
    with TemporaryDirectory(prefix="pairkit-view-") as temporary:
        contents = _found(path, columns, Path(temporary))
        trained, segments = None, frozenset[str]()
        if run is not None:
            trained, segments = open_run(run, contents.manifests, contents.digest, contents.runs)
        collection = Collection(contents, trained, segments)
        collection.start()
        try:
            yield collection
        finally:
            collection.close()


def _found(path: Path, columns: Mapping[str, Any], temporary: Path) -> Found:
    try:
        os.fspath(path.resolve()).encode()
    except UnicodeEncodeError:
        raise InputError(f"{os.fspath(path)!a}: its name is no UTF-8; rename it") from None
    if was_address(path):
        raise InputError(f"{path}: is an address of a store: download the dataset, and give its directory")
    kind = finding.kind_of(path)
    if kind == "files":
        # Here, because it imports all that a build does.
        from pairkit.view.files.converted import convert

        return convert(path, columns, temporary)
    if columns:
        # An option without effect is a mistake, so it is refused rather than ignored.
        raise RecipeError(f"{path}: {', '.join(columns)}: is read for files only; a dataset has its sets")
    return finding.find_dataset(path) if kind == "dataset" else finding.find_online(path)


def about(collection: Collection) -> dict[str, Any]:
    """Describe a collection as the page needs it first: names, numbers of rows, facets and sorts."""
    facets = collection.facets("sets")
    listing = collection.index.listing
    return {
        "title": collection.title,
        "kind": collection.kind,
        "path": str(collection.path),
        "sets": listing.size,
        "quarantined": collection.quarantine.size,
        "splits": _splits(facets, listing),
        "scores": compared(collection.index),
        "problems": collection.problems,
        "run": None if collection.run is None else str(collection.run.folder),
        "facets": _described(facets),
        "quarantine_facets": _described(collection.facets("quarantine")),
        "sorts": [
            {"name": name, "label": facet.label} for name, facet in facets.items() if facet.kind == "number"
        ],
    }


def _splits(facets: Mapping[str, Facet], listing: Listing) -> list[dict[str, Any]]:
    if "split" not in facets:
        return []
    counts = facets["split"].counted(np.ones(listing.size, np.bool_))["values"]
    return [{"name": name, "sets": count} for name, count in counts]


def _described(facets: Mapping[str, Facet]) -> list[dict[str, str]]:
    return [{"name": name, "kind": facet.kind, "label": facet.label} for name, facet in facets.items()]
