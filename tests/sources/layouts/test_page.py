"""docs/formats.md says what the table of layouts says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "docs" / "formats.py"


def test_the_page_is_written_from_the_table() -> None:
    spec = importlib.util.spec_from_file_location("formats_page", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    formats = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(formats)
    assert formats.PAGE.read_text(encoding="utf-8") == formats.page(), (
        "stale; write it again with: python docs/formats.py"
    )
