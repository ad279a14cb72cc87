"""Tables of numbers on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

# Columns of a line, far more than any table needs.
_WIDEST = 100_000


def print_table(table: Table) -> None:
    """Print a table whose columns of numbers are `no_wrap`; these are never cut, names are never lost.

    A file or pipe gets it as wide as it is. On a terminal names are folded, and where the numbers alone are
    wider, the terminal breaks its lines. No escape sequence in a name reaches it.
    """
    from rich.console import Console

    from pairkit.masking import masked
    from pairkit.progress import shown

    class Shown(Console):
        """A console for which every text of a table is one of somebody else."""

        def render_str(self, text: str, **settings: Any) -> Text:
            return super().render_str(shown(masked(text)), **settings)

    # Without highlighting, because colored numbers in a table of numbers help nobody.
    console = Shown(highlight=False, markup=False, emoji=False)
    wide = console.options.update(max_width=_WIDEST)
    for column in table.columns:
        if column.no_wrap:
            cells = [column.header, *column.cells]
            column.min_width = max(console.measure(cell, options=wide).maximum for cell in cells)
    measurement = console.measure(table, options=wide)
    width = max(console.width, measurement.minimum) if console.is_terminal else measurement.maximum
    # The title is broken at the width of the console, not of the table.
    title = console.measure(table.title or "", options=wide).maximum
    console.width = width if console.is_terminal else max(width, title)
    console.print(table)
