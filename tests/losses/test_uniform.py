"""The uniform numbers of the sampler, at the ends of their range."""

from __future__ import annotations

import math

import torch

from pairkit.losses.sampling import uniform
from pairkit.random_bits import GOLDEN, as_int64, finalize_int

MASK = 2**64 - 1
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # the factors of splitmix64


def unshifted(value: int, bits: int) -> int:
    """Invert x ^ (x >> bits)."""
    result = value
    for _ in range(64 // bits):
        result = value ^ (result >> bits)
    return result


def unmixed(value: int) -> int:
    """Invert the finalizer of splitmix64."""
    value = unshifted(value, 31) * pow(SECOND, -1, 2**64) & MASK
    return unshifted(unshifted(value, 27) * pow(FIRST, -1, 2**64) & MASK, 30)


def seed_of(bits: int, column: int, salt: int) -> int:
    """Find the seed whose hash is `bits`."""
    state = unmixed(unmixed(bits) - column & MASK)
    return as_int64(state - GOLDEN * (salt + 1) & MASK)


def test_the_inverse_is_that_of_the_hash() -> None:
    for value in (0, 1, 12345678901234567890, MASK):
        assert finalize_int(unmixed(value)) == value


def test_no_number_is_0_or_1() -> None:
    """Of the hashes nearest to the ends: 53 bits of 0, and of 1."""
    for column, salt in ((0, 0), (3, 5)):
        for bits, expected in ((0, 2.0**-54), (MASK, 1 - 2.0**-53), (MASK - 2**11, 1 - 2.0**-52)):
            seed = torch.tensor([seed_of(bits, column, salt)])
            value = uniform(seed, column + 1, salt)[0, column].item()
            assert value == expected
            assert math.isfinite(-math.log(-math.log(value)))


def test_every_other_number_is_the_middle_of_its_interval() -> None:
    seeds = torch.randint(-(2**63), 2**63 - 1, (1000,), generator=torch.Generator().manual_seed(0))
    for seed, row in zip(seeds.tolist(), uniform(seeds, 2, 1).tolist(), strict=True):
        for column, value in enumerate(row):
            state = finalize_int(seed + 2 * GOLDEN & MASK)
            top = finalize_int(state + column & MASK) >> 11
            assert value == (float(top) + 0.5) / 2**53
