"""What a recipe file asks to run, against what a person named.

A recipe file may come from anywhere. Code that it names runs only if the person named it too: in the command
itself (a flag or KEY=VALUE), with `--allow-code MODULE`, or with `--trust-remote-code`. So it is with the key
that a server is sent, which is the value of any environment variable: `--allow-key VARIABLE@URL`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import zip_longest
from typing import Any

from pairkit.errors import RecipeError
from pairkit.imports import CodeRefused, check_module, modules_in, only_named
from pairkit.masking import looks_secret, masked

# Arguments of `vllm.LLM` that name modules, classes or plugins which vLLM imports.
_VLLM_CODE = frozenset(
    {
        "worker_cls", "worker_extension_cls", "scheduler_cls", "logits_processors", "kv_transfer_config",
        "compilation_config", "tool_parser_plugin", "reasoning_parser_plugin", "io_processor_plugin",
        "distributed_executor_backend", "model_loader_extra_config", "additional_config",
        "ec_transfer_config", "weight_transfer_config",
    }
)  # fmt: skip
# And those within its blocks, such as structured_outputs_config.reasoning_parser_plugin.
_VLLM_ENDINGS = ("_cls", "_plugin", "_module_path", "_qualname")
_ABSENT = object()
# The server of an engine without base_url, and the variable with its key.
OPENAI_URL, OPENAI_KEY = "https://api.openai.com/v1", "OPENAI_API_KEY"
# The fields of an engine that say where a key is sent, and which.
_URL, _VARIABLE = "base_url", "api_key_env"


def only_trusted(typed: Mapping[str, Any], allow_code: Iterable[str] = ()) -> AbstractContextManager[None]:
    """Import only modules of `allow_code` and those that the fields name that a person typed.

    Raises `RecipeError` for a module of `allow_code` that is never run.
    """
    allowed = list(allow_code)
    with only_named(allowed):
        for module in allowed:
            try:
                check_module(module)
            except CodeRefused as error:
                raise RecipeError(f"--allow-code {module}: {error}") from error
    return only_named(modules_in(typed) | set(allowed))


def check_requests(
    content: Mapping[str, Any],
    typed: Mapping[str, Any],
    *,
    remote_code: bool = False,
    allow_keys: Iterable[str] = (),
) -> None:
    """Refuse to run code that comes with a model, or to send a key, where only a file asks for it.

    Args:
        content: a recipe, what was typed merged into what a file holds.
        typed: the same fields, only those that a person typed.
        remote_code: whether the file may ask to run code.
        allow_keys: keys that the file may have sent, as VARIABLE@URL.

    Raises `RecipeError` for the first such request.
    """
    _check_keys(content, typed, frozenset(allow_keys))
    for place, value, what, advice in _requests(content, ()):
        if _at(typed, place) != value and not (remote_code and advice == TRUST):
            key = ".".join(map(str, place))
            raise RecipeError(
                f"recipe key {key!r} asks to run {what}: {advice or f'give {key} in the command'}"
            )


def _check_keys(content: Any, typed: Any, allowed: frozenset[str]) -> None:
    """Refuse to send an environment variable where only a file names it, or the server that gets it."""
    if isinstance(content, (list, tuple)):
        below = typed if isinstance(typed, (list, tuple)) else ()
        for block, of_command in zip_longest(content, below[: len(content)]):
            _check_keys(block, of_command, allowed)
    if not isinstance(content, Mapping):
        return
    typed = typed if isinstance(typed, Mapping) else {}
    for key, value in content.items():
        _check_keys(value, typed.get(key), allowed)
    if content.get(_VARIABLE) is None:
        return
    server = {_VARIABLE: content[_VARIABLE], _URL: content.get(_URL, OPENAI_URL)}
    if all(typed.get(key) == value for key, value in server.items() if key in content):
        return
    variable, url = map(str, server.values())
    if (variable, url.rstrip("/")) == (OPENAI_KEY, OPENAI_URL) or f"{variable}@{url}" in allowed:
        return
    if looks_secret(variable):
        return  # the key itself, which the recipe refuses without showing it
    shown = masked(url)
    remark = "" if shown == url else ", with the URL as the recipe has it"
    raise RecipeError(
        f"recipe key {_VARIABLE!r} asks to send the environment variable {variable} to {shown}: if that "
        f"server may have it, add --allow-key {shlex.quote(f'{variable}@{shown}')}{remark}"
    )


TRUST = "read the code, then add --trust-remote-code"


def _requests(
    content: Any, place: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Any, str, str]]:
    """Yield what asks to run code: its place, its value, what would run, and what to do."""
    pairs: Iterable[tuple[str | int, Any]] = ()
    if isinstance(content, Mapping):
        pairs = content.items()
    elif isinstance(content, (list, tuple)):
        pairs = enumerate(content)
    for key, value in pairs:
        here = (*place, key)
        if key == "trust_remote_code" and value not in (False, None):
            yield here, value, "code that comes with the model", TRUST
        elif key == "attention" and not place and "/" in str(value):
            yield here, value, f"the kernel {value!r} of the Hub", TRUST
        elif "vllm" in place and _names_code(key) and value is not None:
            yield here, value, "code that vLLM imports", ""
        else:
            yield from _requests(value, here)


def _names_code(key: str | int) -> bool:
    return key in _VLLM_CODE or str(key).endswith(_VLLM_ENDINGS)


def _at(content: Any, place: tuple[str | int, ...]) -> Any:
    """Return the value at a place, `_ABSENT` where there is none."""
    for key in place:
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError):
            return _ABSENT
    return content
