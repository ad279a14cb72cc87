"""Shares of the cases with the mark `full`: CI runs one per commit."""

from __future__ import annotations

import re
import zlib


def in_share(case: str, share: str) -> bool:
    """Whether a case, by its node id, is in a share such as "2/5": the second of five.

    Each case is in one of them, on every machine. Raises `ValueError` for what is no share.
    """
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", share)
    if not match or int(match[1]) > int(match[2]):
        raise ValueError(f"PAIRKIT_FULL_SHARE={share}: give K/N, such as 2/5, with K from 1 to N")
    number, shares = int(match[1]), int(match[2])
    return zlib.crc32(case.encode()) % shares == number - 1
