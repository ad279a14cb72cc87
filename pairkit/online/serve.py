"""A server of the policy: a command of the user, started for a segment and ended after it."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pairkit.engines.openai.connection import key_of
from pairkit.errors import EngineError, RecipeError
from pairkit.masking import masked
from pairkit.online.process import guarded, last_words, size_of
from pairkit.online.recipe import Serve
from pairkit.progress import log

_LOOK = 0.2  # seconds between two questions
_END = 20.0  # seconds that the server gets to end
_NOTICED = 2.0  # seconds until the guard has seen that the server ended
# Seconds until the server of a run that was killed has ended: its guard gives it ten.
_LEFT = 15.0


def check_serve(serve: Serve) -> None:
    """Raise `RecipeError` for a command that cannot be one."""
    try:
        words = shlex.split(serve.command)
    except ValueError as error:
        raise RecipeError(f"serve.command cannot be read: {error}") from error
    if not any("{model}" in word for word in words):
        raise RecipeError(
            "serve.command has no {model}: the server would have the same weights in every segment; write "
            "{model} where the directory of the model belongs"
        )


@contextmanager
def serving(serve: Serve, generate: Any, model: str, file: Path) -> Iterator[str]:
    """Serve the directory `model` for the block; yield the name that the server has for it.

    Args:
        generate: the engine's block, for its key.
        file: where the server's output goes.

    Raises `EngineError` for a server that ends, or does not answer in time, or an address at which another
    one answers.
    """
    url, key, name = (
        masked(serve.url),
        key_of(generate),
        str(Path(model).resolve()) if Path(model).exists() else model,
    )
    _wait_free(serve, key)
    # Split before the name is put in, so that a directory with a space stays one argument.
    command = [word.replace("{model}", name) for word in shlex.split(serve.command)]
    since = size_of(file)
    log(f"serving {model} at {url}; its output is in {file}")
    with guarded(command, file, patience=_END) as process:
        listed = _await(serve, key, process, file, since)
        try:
            yield _name(listed, name, url)
        except EngineError as error:
            if not _has_ended(process):
                raise
            raise EngineError(
                f"{_ended(process)}: {last_words(file, since)}; its output is in {file}"
            ) from error


def _wait_free(serve: Serve, key: str | None) -> None:
    """Wait for the server of a run that was killed; another one that answers would have other weights."""
    until = time.monotonic() + _LEFT
    while _models(serve.url, key) is not None:
        if time.monotonic() > until:
            raise EngineError(
                f"{masked(serve.url)} answers already, before serve.command has been started: that server "
                "has other weights; stop it, or set serve.url and the command to another port"
            )
        time.sleep(_LOOK)


def _await(
    serve: Serve, key: str | None, process: subprocess.Popen[bytes], file: Path, since: int
) -> list[str]:
    """Return the names that the server lists as soon as it answers."""
    until = time.monotonic() + serve.seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise EngineError(f"{_ended(process)}: {last_words(file, since)}; its output is in {file}")
        listed = _models(serve.url, key)
        if listed is not None:
            return listed
        time.sleep(_LOOK)
    raise EngineError(
        f"serve.command did not answer at {masked(serve.url)}/models in {serve.seconds:g} seconds "
        f"(serve.seconds); its output is in {file}, and ends: {last_words(file, since)}"
    )


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the server has ended, of which its guard may learn after the calls that it failed."""
    try:
        process.wait(_NOTICED)
    except subprocess.TimeoutExpired:
        return False
    return True


def _ended(process: subprocess.Popen[bytes]) -> str:
    return f"serve.command ended with exit code {process.poll()}"


def _models(url: str, key: str | None) -> list[str] | None:
    """Return the names that a server lists; None for one that does not answer, or not yet."""
    request = urllib.request.Request(f"{url.rstrip('/')}/models")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    # No proxy: what the command starts is on this machine, or in the same network.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            content = json.loads(answer.read(1_000_000))
    except urllib.error.HTTPError as error:
        # One without this route answers all the same; others are loading.
        return [] if error.code in (404, 405) else None
    except (OSError, ValueError, RecursionError):
        return None
    data = content.get("data") if isinstance(content, dict) else None
    entries = data if isinstance(data, list) else []
    return [str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry]


def _name(listed: list[str], model: str, url: str) -> str:
    """Return the name to send: the directory, unless the server has a single other one."""
    if model in listed or not listed:
        return model
    if len(listed) == 1:
        return listed[0]
    raise EngineError(
        f"the server at {url} lists several models and not {model!r}: {', '.join(listed[:5])}; let "
        "serve.command serve that directory alone"
    )
