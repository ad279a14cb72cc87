"""splitmix64 (Steele, Lea and Flood 2014): 64 random bits as a function of a counter.

No generator is carried from row to row: a number is a hash of its purpose (seed, set, use, position), so that
it is the same in every batch, shard, worker and process. The constants are defined here once; the callers
differ only in how they make the state and in the array library that does the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
Words = npt.NDArray[np.uint64]

GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, odd: the distance between two states of the generator
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = 2**64 - 1


def finalize_words(state: Words) -> Words:
    """Mix uint64 words of any shape: every input bit flips every output bit with probability one half."""
    with np.errstate(over="ignore"):
        return np.asarray(
            _finalize(state, lambda x, bits: x >> np.uint64(bits), lambda x, c: x * np.uint64(c)), np.uint64
        )


def finalize_int(state: int) -> int:
    """Mix one Python integer in [0, 2**64)."""
    return _finalize(state, lambda x, bits: x >> bits, lambda x, c: x * c & _MASK)


def finalize_int64(state: Any) -> Any:
    """Mix a torch int64 tensor, whose bits are read as unsigned; returns int64 of the same shape."""
    return _finalize(state, shift_int64, lambda x, c: x * as_int64(c))


def shift_int64(state: Any, bits: int) -> Any:
    """Shift int64 to the right and fill with zeros, because torch's own shift repeats the sign."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def as_int64(constant: int) -> int:
    """Convert an unsigned 64-bit constant to the int64 with the same bits."""
    return constant - (1 << 64) if constant >= 1 << 63 else constant


def _finalize(state: T, shift: Callable[[T, int], T], multiply: Callable[[T, int], T]) -> T:
    mixed: Any = state
    # Shifts and factors are the published ones: others would need tests of quality of their own.
    mixed = multiply(mixed ^ shift(mixed, 30), _FIRST)
    mixed = multiply(mixed ^ shift(mixed, 27), _SECOND)
    return mixed ^ shift(mixed, 31)  # type: ignore[no-any-return]
