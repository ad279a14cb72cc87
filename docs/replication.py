"""Write docs/replication.md and its figures from docs/replication/*.json: `python docs/replication.py`.

`pairkit replicate --all --page docs` puts new results there.
"""

from __future__ import annotations

from pathlib import Path

from pairkit.replication.page import PAGE, page, read_results, write_page
from pairkit.replication.tasks.base import FULL

HERE = Path(__file__).parent


def content() -> str:
    """Return the page as text."""
    return page(read_results(HERE))


if __name__ == "__main__":
    write_page(HERE, FULL)
    print(HERE / PAGE)
