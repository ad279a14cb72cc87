"""`pairkit` and `python -m pairkit`: signals first, because importing the commands takes part of a second."""

from __future__ import annotations

import gc
import os
import signal
from contextlib import suppress
from types import FrameType
from typing import NoReturn


def main() -> None:
    """Run the command line; a signal before it is imported ends the process with one line."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    # Imports make hundreds of thousands of objects that stay, and Python would look through them every 700.
    gc.set_threshold(10_000, 10, 10)
    from pairkit.cli import main as command_line

    command_line()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    with suppress(OSError):
        os.write(2, b"error: stopped before it began; run the same command again\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
