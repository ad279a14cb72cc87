"""JSON without what is nested too deeply to be parsed, so that the rows around it can be read."""

from __future__ import annotations

import re
from itertools import count
from typing import Any, NamedTuple

from pairkit.json_depth import MAX_LEVELS, cut
from pairkit.readers.written.exact_json import exact_decoder

AROUND = 16  # levels around rows: a list, and keys


class Deep(NamedTuple):
    """What was cut out of a text, and how the texts in its place begin."""

    mark: str
    parts: list[bytes]

    def restored(self, text: str) -> str | None:
        """Return a part of the text as it was before; None if nothing was cut out of it."""
        if self.mark not in text:
            return None
        return re.sub(f'"{self.mark}(\\d+)"', lambda match: self.parts[int(match[1])].decode(), text)


def loads_shallow(text: str) -> tuple[Any, Deep | None]:
    """Parse one JSON value as `exact_decoder` does. Raises `ValueError`, or `RecursionError`."""
    try:
        return exact_decoder().decode(text), None
    except RecursionError:
        mark = next(mark for number in count() if (mark := f"deep-{number}-") not in text)
        shallow, parts = cut(text.encode(), MAX_LEVELS + AROUND, mark)
        return exact_decoder().decode(shallow.decode()), Deep(mark, parts)
