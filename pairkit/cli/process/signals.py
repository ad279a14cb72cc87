"""SIGINT, SIGTERM and SIGHUP end a command alike: what is done is kept; the exit code names the signal.

The first one raises `KeyboardInterrupt`, and what follows is ignored while that is handled: an exception in
the middle of cleaning up would leave a traceback and half of the work.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from threading import Thread, Timer
from types import FrameType, ModuleType, TracebackType
from typing import Any, NoReturn

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Seconds that a stop may take before another signal ends the process. Everything on disk survives that.
_PATIENCE = 10.0
_RETRY = 0.05
_SHOW_CURSOR = "\x1b[?25h"  # which progress bars hide


class _Stop(KeyboardInterrupt):
    """A signal; a class of its own, because a weak reference to the built-in one is impossible."""


class _Stopping:
    """The signals that came, and the exception that the last effective one raised."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.since = 0.0
        self.noticed = False
        self.waiting = False  # until an import is done
        # Weak: an exception that is gone was handled, or lost in a destructor or a library.
        self.exception: Callable[[], _Stop | None] = lambda: None


_stopping = _Stopping()


def raise_on_stops() -> None:
    """Let the first of the signals raise `KeyboardInterrupt`, which every command turns into a stop.

    Others are ignored as long as the exception is being handled; after ten seconds they end the process. A
    signal that is ignored already, as SIGHUP is below nohup, stays ignored.
    """
    global _stopping
    _stopping = _Stopping()
    _handle(_interrupt)
    _keep_waking()
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    # Registered before all others, and so called last, after the threads have ended.
    atexit.unregister(_ignore)
    atexit.register(_ignore)


def hold_stops() -> None:
    """Ignore the signals while the outcome is printed, unless that takes long: nothing is left to keep."""
    _stopping.waiting, _stopping.since = False, time.monotonic()
    _handle(_hold)


def end_on_stops(code: int) -> None:
    """Let each of the signals end the process at once, with its exit code: all is done and printed."""
    _handle(lambda number, frame: os._exit(code))


def _keep_waking() -> None:
    """Let SIGINT go on to end a wait for a lock when polars is imported, which handles it with SA_RESTART."""
    if "polars" in sys.modules:
        signal.siginterrupt(signal.SIGINT, True)
    elif not any(isinstance(finder, _AfterPolars) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterPolars())


class _AfterPolars(MetaPathFinder):
    """Finds polars as Python does, and takes SA_RESTART away again when it has been imported."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname != "polars":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            signal.siginterrupt(signal.SIGINT, True)

        # Of this loader alone, which has no other module.
        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _ignore() -> None:
    # While Python ends it puts the default in the place of any handler, and that would change the exit code.
    _handle(signal.SIG_IGN)


def came() -> bool:
    """Return whether one of the signals came."""
    return bool(_stopping.received)


def exit_code(error: BaseException | None = None) -> int:
    """Return the exit code of a command that a signal ended with `error`, as a shell reports it."""
    cause = None if error is None else error.__cause__
    # Where the signal was only noted, so that a step could end, the cause has its number.
    number = cause.args[0] if isinstance(cause, KeyboardInterrupt) and cause.args else None
    return int(128 + (number or (_stopping.received[0] if came() else signal.SIGINT)))


def end(message: str, code: int) -> NoReturn:
    """End the process without anything else that Python does at its end."""
    with suppress(OSError):
        os.write(2, f"{_SHOW_CURSOR if os.isatty(2) else ''}error: {message}\n".encode())
    os._exit(code)


def _handle(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    for number in _STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _stopping.received.append(number)
    if _stopping.exception() is not None:
        _hold(number, frame)
        return
    if _is_importing(frame) and _wait(number):
        return
    _stopping.waiting = False
    stop = _Stop(number)
    _stopping.exception, _stopping.since = weakref.ref(stop), time.monotonic()
    try:
        raise stop
    finally:
        # Its traceback holds this frame: with this name in it, the exception would never be gone.
        del stop


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: torch's C++ ends the process if an exception comes out of one."""
    while frame is not None:
        if frame.f_code.co_name == "exec_module" and "importlib" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def _wait(number: int) -> bool:
    """Send the signal again until it is raised, but no longer than a stop may take."""
    stopping, now = _stopping, time.monotonic()
    stopping.since = stopping.since or now
    if now - stopping.since > _PATIENCE:
        return False
    if not stopping.waiting:
        stopping.waiting = True

        def again() -> None:
            time.sleep(_RETRY)
            while stopping.waiting and stopping is _stopping:
                os.kill(os.getpid(), number)
                time.sleep(_RETRY)

        Thread(target=again, daemon=True).start()
    return True


def _hold(number: int, frame: FrameType | None) -> None:
    if time.monotonic() - _stopping.since > _PATIENCE:
        end("stopped at once; the same command continues from what is on disk", exit_code())
    if not _stopping.noticed and os.isatty(2):
        _stopping.noticed = True
        with suppress(OSError):
            os.write(2, b"\nstopping; to end at once, try again in ten seconds\n")


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    # In a destructor Python drops the exception: the signal is sent again, when the destructor has returned.
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        Timer(0.01, os.kill, (os.getpid(), _stopping.received[-1] if came() else signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(unraisable)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
    # Between two commands of `main`: before a command has begun, or after its end.
    if issubclass(kind, KeyboardInterrupt):
        end("stopped", exit_code())
    sys.__excepthook__(kind, error, trace)
