"""Verifiers that builds of the tests name as `support.verifiers:FUNCTION`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def low_digits(text: str, metadata: Mapping[str, Any]) -> float:
    """A verifier that a model with random weights satisfies now and then."""
    assert metadata["answer"]
    return float(text[:1] in {"0", "1", "2", "3", "4"})


def is_four(text: str, metadata: Mapping[str, Any]) -> float:
    """Whether a text is the number 4 and nothing else."""
    return float(text.strip() == "4")


def vowels(text: str, metadata: Mapping[str, Any]) -> float:
    """The number of vowels, which differs between most texts."""
    assert metadata["answer"]
    return float(sum(text.count(vowel) for vowel in "aeiou"))


def length(text: str, metadata: Mapping[str, Any]) -> float:
    """Score the number of characters."""
    return float(len(text))
