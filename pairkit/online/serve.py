"""A server of the policy: a command of the user, started for a segment and ended after it."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple

from pairkit.engines.openai.connection import key_of
from pairkit.errors import EngineError, RecipeError
from pairkit.masking import masked
from pairkit.online.recipe import Serve
from pairkit.online.reserve import reserved
from pairkit.processes.start import LEFT, guarded, last_words, size_of
from pairkit.progress import log, visible

_LOOK = 0.2  # seconds between two questions
_END = 20.0  # seconds that the server gets to end
_NOTICED = 2.0  # seconds until the guard has seen that the server ended
_ANSWER = 10.0  # seconds that an answer may take
_REFUSES = (401, 403)
_OF_SHELLS = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "2>&1", "<"})
_VARIABLE = re.compile(r"([A-Za-z_]\w*)=")
# A proxy answers so while the server behind it is not there.
_GATEWAY = (502, 503, 504)


def check_serve(serve: Serve) -> None:
    """Raise `RecipeError` for a command or an address that cannot be one."""
    if not (serve.url.isascii() and serve.url.isprintable() and " " not in serve.url):
        raise RecipeError("serve.url contains spaces or characters that are not ASCII: write %20 for a space")
    try:
        words = shlex.split(serve.command)
    except ValueError as error:
        raise RecipeError(f"serve.command cannot be read: {error}") from error
    operators = sorted(_OF_SHELLS & set(words))
    if operators:
        raise RecipeError(
            f"serve.command has {operators[0]!r}, which is for a shell, and none is between: write "
            'sh -c \'COMMAND "$0"\' {model}, with "$0" where the directory belongs'
        )
    # Its name alone, because the value may be a key.
    if words and (variable := _VARIABLE.match(words[0])):
        raise RecipeError(
            f"serve.command begins with the variable {variable[1]}: write env {variable[1]}=VALUE and then "
            "the program"
        )
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
    key, name = key_of(generate), str(Path(model).resolve()) if os.path.exists(model) else model
    command = _command(serve, name)
    with ExitStack() as stack:
        descriptors = stack.enter_context(reserved(serve.url))
        _wait_free(serve, key)
        since = size_of(file)
        log(f"serving {model} at {masked(serve.url)}; its output is in {file}")
        process = stack.enter_context(guarded(command, file, patience=_END, descriptors=descriptors))
        names = _await(serve, key, process, file, since)
        try:
            yield _name(names, name, masked(serve.url))
        except EngineError as error:
            if not _has_ended(process):
                raise
            raise EngineError(
                f"{_ended(process)}: {last_words(file, since)}; its output is in {file}"
            ) from error


def _command(serve: Serve, name: str) -> list[str]:
    """Return the words of the command. Raises `RecipeError` where a shell would divide the model's name."""
    # Split before the name is put in, so that a directory with a space stays one argument.
    words = shlex.split(serve.command)
    for option, word in pairwise(words):
        script = option.startswith("-") and option.endswith("c") and "{model}" in word
        if script and shlex.quote(name) != name:
            raise RecipeError(
                f"serve.command has {{model}} inside {word!r}, where a shell would divide the directory "
                f'{name!r}: write "$0" there, and {{model}} as the next argument: sh -c \'PROGRAM "$0"\' '
                "{model}"
            )
    return [word.replace("{model}", name) for word in words]


class _Answer(NamedTuple):
    """What is at an address: the names of its models, or why there are none; `taken` by a server or not."""

    names: list[str] | None
    problem: str
    taken: bool = True
    final: bool = False  # waiting does not help


def _wait_free(serve: Serve, key: str | None) -> None:
    """Wait for the server of a run that was killed; another one that answers would have other weights."""
    until = time.monotonic() + LEFT
    while _models(serve.url, key).taken:
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
    while True:
        if process.poll() is not None:
            raise EngineError(f"{_ended(process)}: {last_words(file, since)}; its output is in {file}")
        answer = _models(serve.url, key)
        if answer.names is not None:
            return answer.names
        late = time.monotonic() > until
        if late or answer.final:
            took = f" in {serve.seconds:g} seconds (serve.seconds)" if late else ""
            raise EngineError(
                f"serve.command did not answer at {masked(serve.url)}/models{took}: {answer.problem}; its "
                f"output is in {file}, and ends: {last_words(file, since)}"
            )
        time.sleep(_LOOK)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the server has ended, of which its guard may learn after the calls that it failed."""
    try:
        process.wait(_NOTICED)
    except subprocess.TimeoutExpired:
        return False
    return True


def _ended(process: subprocess.Popen[bytes]) -> str:
    code = process.poll()
    # A program that returns at once has put its server into the background.
    remark = ", before the work was done; it has to stay in the foreground" if code == 0 else ""
    return f"serve.command ended with exit code {code}{remark}"


def _models(url: str, key: str | None) -> _Answer:
    """Ask a server for its models."""
    request = urllib.request.Request(f"{url.rstrip('/')}/models")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    # No proxy: what the command starts is on this machine, or in the same network.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    try:
        with opener.open(request, timeout=_ANSWER) as answer:
            content = json.loads(_read(answer))
    except urllib.error.HTTPError as error:
        # One without this route answers all the same; others are loading.
        if error.code in (404, 405):
            return _Answer([], "")
        remark = ", which requires another key (build.generate.api_key_env)" if error.code in _REFUSES else ""
        problem = f"HTTP {error.code}{remark}"
        return _Answer(None, problem, taken=error.code not in _GATEWAY, final=bool(remark))
    except TimeoutError:
        return _Answer(None, "it takes connections and does not answer")
    except OSError as error:
        # Also of a tunnel whose other end is not there.
        cause = getattr(error, "reason", error)
        return _Answer(None, visible(str(getattr(cause, "strerror", None) or cause), 100), taken=False)
    except (ValueError, RecursionError, http.client.HTTPException) as error:
        return _Answer(None, f"no answer of a server of the OpenAI API ({visible(str(error), 100)})")
    data = content.get("data") if isinstance(content, dict) else None
    entries = data if isinstance(data, list) else []
    return _Answer([str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry], "")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are errors, because the server there would be sent the key."""

    def redirect_request(self, *arguments: Any, **keywords: Any) -> None:
        """Follow none."""


def _read(answer: IO[bytes]) -> bytes:
    """Read an answer of at most a megabyte, which may come byte by byte, but not for long."""
    until, parts, remaining = time.monotonic() + _ANSWER, [], 1_000_000
    while remaining and (part := answer.read1(remaining)):  # type: ignore[attr-defined]
        parts.append(part)
        remaining -= len(part)
        if time.monotonic() > until:
            raise TimeoutError
    return b"".join(parts)


def _name(names: list[str], model: str, url: str) -> str:
    """Return the name to send: the directory, unless the server has a single other one."""
    if model in names or not names:
        return model
    if len(names) > 1:
        raise EngineError(
            f"the server at {url} lists several models and not {model!r}: {', '.join(names[:5])}; let "
            "serve.command serve that directory alone"
        )
    (name,) = names
    # Another command's server, as a rule, which came up first at the same port.
    if Path(name).is_absolute() and Path(name).resolve() != Path(model).resolve():
        raise EngineError(
            f"the server at {url} has the model {name!r}, not {model!r}: if another command serves there, "
            "set serve.url and the command to another port, otherwise let serve.command serve {model}"
        )
    return name
