"""Random numbers that are a function of their use: seed, set, purpose and position.

No generator passes from row to row, so a set gets the same numbers in whatever batch, shard or worker it is.
A set's key is a keyed hash of its id; the numbers are splitmix64 over the key and a counter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from pairkit.random_bits import GOLDEN, Words, finalize_int, finalize_words

_MASK = 2**64 - 1


def keys(seed: int, purpose: str, set_ids: Iterable[str]) -> Words:
    """Return one 64-bit key per set."""
    # Separated, because seed 1 with purpose "2x" must not be seed 12 with "x".
    start = hashlib.blake2b(f"{seed}\x1f{purpose}\x1f".encode(), digest_size=8)
    digests = bytearray()
    for set_id in set_ids:
        state = start.copy()
        state.update(set_id.encode())
        digests += state.digest()
    # Little-endian by name, so that every machine has the same keys.
    return np.frombuffer(bytes(digests), "<u8").astype(np.uint64)


def draw(keys: Words, counter: npt.NDArray[np.integer] | int = 0) -> Words:
    """Return uniform 64-bit numbers, by broadcasting `keys` against `counter`."""
    # Words of 64 bits wrap, as splitmix64 means them to.
    with np.errstate(over="ignore"):
        state = keys + (np.asarray(counter).astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN)
    return finalize_words(state)


def uniform(words: Words) -> npt.NDArray[np.float64]:
    """Convert 64-bit numbers to floats in [0, 1)."""
    # 53 bits, because a float64 has no more.
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(words: Words, bound: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Convert 64-bit numbers to integers in [0, bound), with a bias below bound / 2**64."""
    return (words % bound.astype(np.uint64)).astype(np.int64)


def stream(key: int) -> Iterator[int]:
    """Yield the numbers that `draw` returns for the counters 0, 1, 2, ... of one key."""
    while True:
        key = (key + GOLDEN) & _MASK
        yield finalize_int(key)
