"""Opening the page in the browser of this machine."""

from __future__ import annotations

import html
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pairkit.progress import warn


@contextmanager
def open_page(address: str, wanted: bool) -> Iterator[None]:
    """Open an address in a browser if that is wanted; warn where there is none.

    The browser is started with a private file that leads to the address, because every user of a machine
    sees what a process is started with, and the address has the token. The file is gone after the block.
    """
    if not wanted:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="pairkit-view-") as folder:
        page = Path(folder) / "open.html"
        target = html.escape(address, quote=True)
        page.write_text(
            f'<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
            f'<meta http-equiv="refresh" content="0; url={target}"><a href="{target}">pairkit view</a>\n',
            encoding="utf-8",
        )
        if not webbrowser.open(page.as_uri()):
            warn("no browser found; open the address above in one")
        yield
