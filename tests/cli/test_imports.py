"""What the short commands import: neither torch, which takes seconds, nor pandas, which they do not use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import atexit, sys
heavy = {"torch", "transformers", "datasets", "pandas"}
atexit.register(lambda: print("imported", *sorted(heavy & sys.modules.keys())))
from pairkit.cli import main
sys.argv = ["pairkit", *sys.argv[1:]]
main()
"""


def test_no_library_of_models_is_imported(tmp_path: Path) -> None:
    rows = "".join(f'{{"prompt": "p{n}", "chosen": "yes", "rejected": "no"}}\n' for n in range(20))
    (tmp_path / "rows.jsonl").write_text(rows)
    for words in (
        "build --source files --path rows.jsonl --out sets",
        "export sets --as trl --out trl",
        "push sets me/sets --dry-run",
    ):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *words.split()],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            # No hub: what would be sent is listed all the same.
            env={**os.environ, "HF_TOKEN": "", "HF_ENDPOINT": "http://127.0.0.1:9"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].split() == ["imported"], words
