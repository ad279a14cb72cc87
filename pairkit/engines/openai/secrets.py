"""The secrets that the requests to a server contain, hidden wherever the server repeats them."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, unquote, urlsplit

from pairkit.engines.recipe import EngineRecipe
from pairkit.masking import MASK, remember, secrets_in

# A shorter text, or one word or number that is not longer, may be in any completion by chance.
_SHORTEST, _LONGEST_WORD = 6, 15


class Secrets:
    """Secrets, in every spelling in which an answer may have them."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        spelled = {spelling for value in values if _is_telling(value) for spelling in _spellings(value)}
        # Longest first, because one may contain another.
        self._spellings = sorted(spelled, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """Return a text of a server with `***` instead of the secrets."""
        for spelling in self._spellings:
            text = text.replace(spelling, MASK)
        return text


NO_SECRETS = Secrets()


def secrets_of(recipe: EngineRecipe, key: str | None, proxy: str | None) -> Secrets:
    """Collect the secrets that requests contain; errors and log lines hide them from now on as well."""
    template = recipe.template
    kwargs = {} if isinstance(template, str) else template.kwargs
    values = [
        *([key] if key else []),
        *_of_url(recipe.base_url),
        *_of_url(proxy or ""),
        *secrets_in([recipe.extra_body, kwargs]),
    ]
    for value in values:
        remember(value)
    return Secrets(values)


def _of_url(url: str) -> Iterator[str]:
    """Yield what a URL has before its host: as it is, its password, and the header that it becomes."""
    try:
        before, _, _ = urlsplit(url).netloc.rpartition("@")
    except ValueError:  # said when the URL is used
        return
    if not before:
        return
    user, _, password = (unquote(part) for part in before.partition(":"))
    yield from (before, password or user)
    yield b64encode(f"{user}:{password}".encode()).decode()


def _is_telling(value: str) -> bool:
    """Return whether a text of a server that contains this value has repeated it, and not by chance."""
    word = value.isdigit() or (value.isalpha() and (value.islower() or value.isupper() or value.istitle()))
    return len(value) >= _SHORTEST and (len(value) > _LONGEST_WORD or not word)


def _spellings(value: str) -> set[str]:
    """Return a value as it is, in JSON and URLs, escaped, in hex, and in base64 once and twice."""
    units = value.encode("utf-16-be", "surrogatepass").hex()
    data = value.encode("utf-8", "surrogatepass")
    escaped = {
        "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4)),
        *("".join(f"{mark}{byte:02x}" for byte in data) for mark in ("\\x", "%", "")),
    }
    # The case of the mark itself stays.
    upper = {re.sub("[0-9a-f]{2,4}", lambda digits: digits[0].upper(), each) for each in escaped}
    coded = _coded(data)
    return {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        quote(value, safe=""),
        *escaped,
        *upper,
        *coded,
        *(twice for each in coded for twice in _coded(each.encode())),
    }


def _coded(data: bytes) -> set[str]:
    """Return what stands for `data` in base64 of both alphabets, wherever it begins in a longer text."""
    coded = {_in_base64(data, place) for place in range(3)}
    return coded | {each.replace("+", "-").replace("/", "_") for each in coded}


def _in_base64(data: bytes, place: int) -> str:
    """Return the letters that stand for `data` alone in base64 of a text with it at byte 3n + place."""
    letters = b64encode(b"\0" * place + data).decode()
    return letters[(0, 2, 3)[place] : (place + len(data)) * 8 // 6]
