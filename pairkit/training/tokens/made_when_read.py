"""A sequence whose items are made when they are read, because all at once would take too much memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

T = TypeVar("T", covariant=True)


class MadeWhenRead(Sequence[T]):
    """A sequence by its length and `item`; a slice of it is a list."""

    @abstractmethod
    def item(self, position: int) -> T:
        """Return the item at a position from 0 on, which exists."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self.item(position) for position in range(len(self))[index]]
        # Through a range, which counts from the end and raises `IndexError` as a list does.
        return self.item(range(len(self))[index])
