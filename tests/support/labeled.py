"""Files of labeled pairs."""

from __future__ import annotations

import json
from pathlib import Path

NAN = float("nan")


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(label: object = 1, **fields: object) -> dict[str, object]:
    return {"prompt": "Why?", "first": "a", "second": "b", "label": label, **fields}
