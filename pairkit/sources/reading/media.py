"""Columns and keys that attach images, audio or video to a text: sets have none of them."""

from __future__ import annotations

import re

from pairkit.arrow import filled
from pairkit.sources.reading.columns import Columns

_WHAT = {"image": "images", "audio": "audio", "video": "video"}
# image, images, image_url, audio_path, video_bytes, ...; an id or a count attaches nothing.
_NAME = re.compile(
    r"(?:input_)?(image|audio|video)s?(?:_?(?:url|uri|path|file|file_?name|file_?path|bytes|base64|b64|data)s?)?",
    re.IGNORECASE,
)


def report_media(columns: Columns) -> None:
    """Report every value of a column or key that attaches a medium, by its name."""
    for name in columns.arrays:
        match = _NAME.fullmatch(name)
        if match and name in columns:
            what = _WHAT[match.group(1).lower()]
            detail = f"holds {what}, which are not supported"
            columns.report(filled(columns.arrays[name]), "unsupported_content", detail, name)
