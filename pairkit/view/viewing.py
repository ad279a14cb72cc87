"""`pairkit view` from a path to an address: what is opened, who labels it, and the server that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pairkit.view.collection import opened
from pairkit.view.routes import routes_of
from pairkit.view.server import Running, serving


@contextmanager
def viewing(
    path: Path, *, run: Path | None = None, annotate: str | None = None, port: int | None = None
) -> Iterator[Running]:
    """Open candidate sets, and answer the page's questions about them until the block ends.

    Args:
        path: a built dataset, an online training, or a file or folder of pairs.
        run: a training run on it.
        annotate: the name of the person who labels sets; None to look only.
        port: None for a free one.

    Raises `InputError` for data, a run or annotations that cannot be used, `RecipeError` for a port that
    cannot.
    """
    with opened(path, run=run) as collection, serving(routes_of(collection, annotate), port=port) as running:
        yield running
