"""Files of ten rows in the layouts of four tasks of lm-eval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.tiny import WORDS

_NOUNS = WORDS[:10]
ROWS: dict[str, list[dict[str, Any]]] = {
    "arc_challenge": [
        {
            "question": f"{n} the {word}?",
            "choices": {"text": [f"cat {word}", "dog", "tree runs", "a"], "label": ["A", "B", "C", "D"]},
            "answerKey": "ABCD"[n % 4],
        }
        for n, word in enumerate(_NOUNS)
    ],
    "medmcqa": [
        {"question": f"{n} the {word}?", "opa": "cat", "opb": "dog", "opc": "tree", "opd": word, "cop": n % 4}
        for n, word in enumerate(_NOUNS)
    ],
    "piqa": [
        {"goal": f"{n} the {word}?", "sol1": "cat runs", "sol2": word, "label": n % 2}
        for n, word in enumerate(_NOUNS)
    ],
    "webqs": [{"question": f"{n} the {word}?", "answers": ["cat", word]} for n, word in enumerate(_NOUNS)],
}


def write_tasks() -> str:
    """Write TASK.jsonl of each task into the working directory; return the flags that name them."""
    for task, rows in ROWS.items():
        Path(f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = " ".join(f"--data {task}={task}.jsonl" for task in ROWS)
    return f"--tasks {','.join(ROWS)} {data}"
