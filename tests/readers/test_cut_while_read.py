"""An Arrow file that is cut in place while it is read is an error, and does not end the process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import os, sys
from pathlib import Path
import numpy as np
import pyarrow as pa
from pairkit.errors import InputError
from pairkit.readers.arrow_file import arrow_blocks

path = Path(sys.argv[1])
table = pa.table({"prompt": [f"{n} " * 2000 for n in range(400)]})
kind = pa.ipc.new_file if sys.argv[2] == "file" else pa.ipc.new_stream
with pa.OSFile(str(path), "wb") as sink, kind(sink, table.schema) as writer:
    writer.write_table(table, max_chunksize=50)
blocks = arrow_blocks(path, 50)
try:
    for number, block in enumerate(blocks):
        if number == 1:
            os.truncate(path, 100_000)
        block.load()
except InputError as error:
    print(error)
"""


@pytest.mark.default("stream")
@pytest.mark.parametrize("kind", ["file", "stream"])
def test_a_file_that_is_cut_while_it_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    words = [sys.executable, "-c", CODE, str(path), kind]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert ended.returncode == 0, ended.stderr
    assert re.search(
        r"rows.arrow: (not an Arrow file, or damaged|was changed while it was read)", ended.stdout
    )
