"""Mixtures of several datasets: which rows of each are taken, and in which order they come.

A row's place is a function of (seed, name of its part, number of the row) and of the sizes of the parts, so
that it is the same whatever the number of workers, and after a stop. The rows of a part stay in their order,
so that a part is read once from its start; where they are among the others is drawn within equal steps.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from pairkit.random_bits import GOLDEN, finalize_words

Rows = npt.NDArray[np.int64]
Item = TypeVar("Item")
# Parts that are read at a time: each has files open, of which a process may have some hundreds.
OPEN = 64


class Part(NamedTuple):
    """A part of a mixture.

    Attributes:
        name: unique among the parts.
        rows: how many it has.
        weight: its share of the mixture, in any unit; None for all parts: each has all of its rows.
        fraction: the share of its rows that may be taken, in (0, 1].
    """

    name: str
    rows: int
    weight: float | None = None
    fraction: float = 1.0


class Named(Protocol):
    """What a recipe says of a part."""

    @property
    def title(self) -> str: ...

    @property
    def weight(self) -> float | None: ...


class Order(NamedTuple):
    """The rows of a mixture in order: the number of the part of each, and the number of the row in it."""

    part: Rows
    row: Rows

    def __len__(self) -> int:
        return len(self.part)


def check_names(key: str, parts: Sequence[Named], advice: str) -> None:
    """Raise `ValueError` for parts with one name, and for weights of some of them only.

    Args:
        key: the recipe key that lists the parts.
        advice: what to do about a name that occurs twice.
    """
    names = [part.title for part in parts]
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise ValueError(f"recipe key {key!r}: {name!r} occurs {_times(times)}; {advice}")
    without = [part.title for part in parts if part.weight is None]
    if 0 < len(without) < len(names):
        raise ValueError(
            f"recipe key {key!r}: {without[0]!r} has no weight, but others have: give all a weight, or none"
        )


def _times(number: int) -> str:
    return "twice" if number == 2 else f"{number:,} times"


def sizes(parts: Sequence[Part]) -> list[int]:
    """Return how many rows of each part are taken, at least one of each.

    With weights the mixture is as large as it can be with these shares and no row twice: the part that is
    the smallest for its share is taken whole.
    """
    numbers = [round(part.rows * part.fraction) for part in parts]
    weights = [part.weight for part in parts if part.weight is not None]
    if weights:
        # Of the largest, so that neither tiny nor huge weights overflow.
        weights = [weight / max(weights) for weight in weights]
        whole = min(rows / weight for rows, weight in zip(numbers, weights, strict=True) if weight)
        # With room for rounding: 0.7 of 10 rows is 7, though 10 * 0.7 may be a little less.
        numbers = [min(rows, int(whole * w + 1e-6)) for rows, w in zip(numbers, weights, strict=True)]
    return [min(part.rows, max(1, number)) for part, number in zip(parts, numbers, strict=True)]


def order(parts: Sequence[Part], seed: int) -> Order:
    """Draw the rows of a mixture and put them in order."""
    rows, places = [], []
    for part, number in zip(parts, sizes(parts), strict=True):
        # Those with the smallest numbers, so that fewer rows of a larger share are some of the same rows.
        selection = np.argsort(_uniforms(seed, part.name, "drawn", part.rows), kind="stable")[:number]
        row = np.sort(selection).astype(np.int64)
        # Within equal steps and not anywhere, so that every stretch of the mixture has the same shares.
        within = _uniforms(seed, part.name, "place", part.rows)[row]
        rows.append(row)
        places.append((np.arange(number) + within) / number)
    owner = np.repeat(np.arange(len(parts)), [len(row) for row in rows])
    # By part between equal places, which is as good as never.
    sequence = np.lexsort((owner, np.concatenate(places)))
    return Order(owner[sequence], np.concatenate(rows)[sequence])


class Streams(Generic[Item]):
    """The streams of the parts of a mixture, of which at most `most` are open at a time.

    The one that was asked the longest ago is closed first, and opened again where it was. So thousands of
    parts can be mixed with few open files.

    Args:
        opens: opens a part, by its number, from an item on.
    """

    def __init__(self, opens: Callable[[int, int], Generator[Item]], most: int = OPEN) -> None:
        self._opens, self._most = opens, most
        # The stream of each open part, and the number of its next item; the one asked last is last.
        self._open: OrderedDict[int, tuple[Generator[Item], int]] = OrderedDict()

    def item(self, part: int, number: int) -> Item | None:
        """Return an item of a part: one after those that were returned before; None if there is none."""
        stream, following = self._open.pop(part, (None, number))
        if stream is None:
            while len(self._open) >= self._most:
                self._open.popitem(last=False)[1][0].close()
            stream = self._opens(part, number)
        item = None
        for _ in range(following, number + 1):
            item = next(stream, None)
        if item is not None:
            self._open[part] = stream, number + 1
        return item

    def close(self, part: int) -> None:
        """Close a part that nothing more is asked of."""
        if part in self._open:
            self._open.pop(part)[0].close()

    def close_all(self) -> None:
        """Close the parts that are open."""
        while self._open:
            self._open.popitem()[1][0].close()


def _uniforms(seed: int, name: str, use: str, rows: int) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) per row: the top 53 bits of a hash of all four."""
    digest = hashlib.sha256(f"{seed}/{use}/{name}".encode()).digest()
    state = np.uint64(int.from_bytes(digest[:8], "big"))
    with np.errstate(over="ignore"):
        words = finalize_words(state + np.arange(1, rows + 1, dtype=np.uint64) * np.uint64(GOLDEN))
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
