"""What a run reports: one JSON line an entry, and the same to TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from pairkit.files import write_text


class MetricsLog:
    """`metrics.jsonl` and `tensorboard/` under `out`; a resumed run goes on after step `done`.

    Each line holds `step`, `kind` ("train" or "eval") and the numbers by name. Of several processes one is
    `active`; the others write nothing.
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
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=done + 1 if done else None)

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Writes one entry."""
        if not self._active:
            return
        self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

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
