"""SIGINT, SIGTERM and SIGHUP end a command alike: what is done is kept; the exit code names the signal."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_received: list[int] = []


def raise_on_stops() -> None:
    """Let each of the signals raise `KeyboardInterrupt`, which every command turns into a stop.

    A signal that is ignored already, as SIGHUP is below nohup, stays ignored.
    """
    _handle(_interrupt)


def end_on_stops() -> None:
    """Let each of the signals end the process at once: nothing is left to keep."""
    _handle(_end)


def exit_code(error: BaseException | None = None) -> int:
    """Return the exit code of a command that a signal ended with `error`, as a shell reports it."""
    cause = None if error is None else error.__cause__
    # Where the signal was only noted, so that a step could end, the cause has its number.
    noted = cause.args[0] if isinstance(cause, KeyboardInterrupt) and cause.args else None
    return 128 + (noted or (_received[0] if _received else signal.SIGINT))


def _handle(handler: Callable[[int, FrameType | None], NoReturn]) -> None:
    for number in _STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    _received.append(number)
    raise KeyboardInterrupt


def _end(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)
