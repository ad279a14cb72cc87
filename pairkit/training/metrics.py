"""What a run reports: one JSON line an entry, and the same to TensorBoard."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from pairkit.files import write_text


class MetricsLog:
    """`metrics.jsonl` and `tensorboard/` under `out`; a resumed run goes on after step `done`.

    Each line holds `step`, `kind` ("train" or "eval") and the numbers by name, null for one that is not
    finite, which JSON has no word for. Of several processes one is `active`; the others write nothing.
    """

    def __init__(self, out: Path, done: int, *, active: bool = True) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._active = active
        if not active:
            return
        self._path = out / "metrics.jsonl"
        kept = [line for line in _lines(self._path) if json.loads(line)["step"] <= done] if done else []
        write_text(self._path, "".join(f"{line}\n" for line in kept))
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=done + 1 if done else 0)

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Writes one entry."""
        if not self._active:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, "kind": kind, **finite}) + "\n")
        self._file.flush()
        for name, number in finite.items():
            if number is not None:
                self._board.add_scalar(f"{kind}/{name}", number, step)

    def flush(self) -> None:
        """Waits until all of it is on disk: a checkpoint must not know of more than the metrics do."""
        if self._active:
            os.fsync(self._file.fileno())
            self._board.flush()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            self._file.close()
            self._board.close()


def read_metrics(out: Path, kind: str) -> list[dict[str, Any]]:
    """The entries of one kind of a run, in the order of their steps."""
    entries = [json.loads(line) for line in _lines(out / "metrics.jsonl")]
    return [entry for entry in entries if entry["kind"] == kind]


def _lines(path: Path) -> list[str]:
    """Whole lines: a run that was killed, or whose disk was full, may have left half of one."""
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
