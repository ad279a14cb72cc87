"""Write docs/formats.md from the table of layouts: `python docs/formats.py`."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from pairkit.sources import SourceRecipe, open_source
from pairkit.sources.layouts.layout import Layout
from pairkit.sources.layouts.table import LAYOUTS

PAGE = Path(__file__).with_suffix(".md")

INTRODUCTION = """\
# Formats

<!-- written by `python docs/formats.py` -->

`pairkit build --source files --path FILE` (or `--source org/name` for a dataset on the hub) recognizes
the layout of its rows by the columns of the whole file, and says which one it is. The first layout of
this table that fits is used; `--layout NAME` takes another one, and `--map FIELD=COLUMN,...` names the
columns of a layout that is not here (see [Your own files](sources.md#your-own-files)). `pairkit inspect
FILE` shows what would be read, without building anything. `response_#` stands for as many columns as
there are, with letters or numbers: `response_a`, `response_b`, or `response_0` to `response_11`.

| layout | a row holds | from |
|---|---|---|
{rows}
"""

SECTION = """\
## {name}

{summary}. From {origin}.

| field | column |
|---|---|
{fields}

```json
{example}
```

```bash
{command}
```

{becomes}
"""


def page() -> str:
    """Return the page."""
    rows = (
        f"| [`{layout.name}`](#{layout.name}) | {layout.summary} | {layout.origin.partition(' (http')[0]} |"
        for layout in LAYOUTS.values()
    )
    return "\n".join(
        [INTRODUCTION.format(rows="\n".join(rows)), *(_section(layout) for layout in LAYOUTS.values())]
    )


def _section(layout: Layout) -> str:
    sets = _sets(layout)
    return SECTION.format(
        name=layout.name,
        summary=layout.summary[0].upper() + layout.summary[1:],
        origin=layout.origin,
        fields="\n".join(
            f"| {field} | {_columns(layout, names)} |" for field, names in layout.fields.items()
        ),
        example=layout.example,
        command=_command(layout, sets),
        becomes="\n".join(_set(row) for row in sets).rstrip(),
    )


def _columns(layout: Layout, names: str | tuple[str, ...]) -> str:
    alternatives = (names,) if isinstance(names, str) else names
    plain = (re.sub(r":\w+", "", name) for name in alternatives)
    listed = ", or ".join(f"`{name}`" for name in plain).replace("|", ", ")
    return f"{listed}, which is made of other columns" if names in layout.adds else listed


def command(layout: Layout) -> str:
    """Return the command that builds a dataset of the layout's example, as rows.jsonl."""
    return _command(layout, _sets(layout))


def _command(layout: Layout, sets: list[dict[str, Any]]) -> str:
    words = f"pairkit build --source files --path rows.jsonl --layout {layout.name}"
    one = layout.shape != "prompts" and all(len(row["completions"]) < 2 for row in sets)
    # A set of one completion has no pair.
    return f"{words} mine.require_choice=false" if one else words


def _sets(layout: Layout) -> list[dict[str, Any]]:
    """Return the sets that the example becomes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text(layout.example, encoding="utf-8")
        opened = open_source(SourceRecipe(name="files", path=str(path), layout=layout.name))
        return [row for batch in opened.batches() for row in batch.sets.to_pylist()]


def _set(row: dict[str, Any]) -> str:
    turns = "; ".join(f"{turn['role']}: {turn['content']}" for turn in row["prompt"])
    lines = [f"is read as the prompt \u201c{turns}\u201d" + (" with" if row["completions"] else ".")]
    for completion in row["completions"]:
        told = {name: completion[name] for name in ("rank", "score") if completion[name] is not None}
        said = ", ".join(f"{name} {value:g}" for name, value in told.items())
        lines.append(f"- {json.dumps(completion['text'], ensure_ascii=False)}{f': {said}' if said else ''}")
    return "\n".join([lines[0], "", *lines[1:]] if len(lines) > 1 else lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
