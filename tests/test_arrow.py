"""Arrow without pandas: what a command does not import, and what still works then."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BUILD = """
import sys
from pairkit.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert "pandas" not in sys.modules
import pyarrow as pa
assert pa.table({"a": [1, None]}).to_pandas()["a"].isna().sum() == 1
import pandas
assert pa.Table.from_pandas(pandas.DataFrame({"a": [1.0, None]}))["a"].null_count == 1
"""


def test_a_build_imports_no_pandas_which_can_still_be_used_after_it(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "chosen": "yes", "rejected": "no", "about": {"n": i}} for i in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["build", "--source", "files", "--path", str(tmp_path / "rows.jsonl")]
    done = subprocess.run(
        [sys.executable, "-c", BUILD, *words, "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "pairkit.json").is_file()
