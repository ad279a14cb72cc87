"""What local engines share: a prompt's token ids, and the identity of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pairkit.engines.base import Problem, Request
from pairkit.engines.table import library_versions
from pairkit.errors import ModelError
from pairkit.files import sha256
from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.messages import PromptRefused
from pairkit.models.chat.settings import Template
from pairkit.models.resolve import resolve
from pairkit.models.tokenizer import ensure_chat_template, open_tokenizer
from pairkit.schema import short_hash


def load_chat(model: str, revision: str | None, template: Template) -> ChatFormat:
    """Load the tokenizer of a model for a template; without any it has pairkit's plain one.

    Raises `RecipeError` for a template file that cannot be used, and what `open_tokenizer` raises.
    """
    place, at = resolve(model, revision).tokenizer()
    tokenizer = open_tokenizer(place, revision=at)
    if template != "none" and template.file is None:
        ensure_chat_template(tokenizer, model)
    return ChatFormat(tokenizer, template)


def rendered(chat: ChatFormat, request: Request, limit: int | None) -> Request | Problem:
    """Return the request with its prompt as token ids, or why a model with room for `limit` tokens cannot
    take it."""
    tokens = [part for part in request.prompt if isinstance(part, int)]
    if len(tokens) != len(request.prompt):
        messages = [part for part in request.instructed.prompt if not isinstance(part, int)]
        try:
            tokens = chat.prompt_ids(messages, tools=request.tools, kwargs=request.arguments)
        # A template may refuse a prompt, such as one with a system message: that costs this set and no other.
        except PromptRefused as error:
            return Problem(error.reason, str(error))
        except ModelError as error:
            return Problem("template_refused", str(error))
    # The first token is predicted from the last one of the prompt, so there has to be one.
    if not tokens:
        return Problem("empty_prompt", "the prompt has no token")
    longest = max((sampling.max_tokens for sampling in request.samplings), default=0)
    if limit is not None and len(tokens) + longest > limit:
        detail = f"{len(tokens)} prompt tokens and {longest} to generate; the model has room for {limit}"
        return Problem("too_long", detail)
    return replace(request, prompt=tokens)


def ids_of(request: Request) -> list[int]:
    """Return the token ids of a rendered prompt."""
    return [part for part in request.prompt if isinstance(part, int)]


def model_identity(
    model: str, revision: str | None, libraries: Sequence[str], chat: ChatFormat
) -> dict[str, Any]:
    """Return what determines a local model's answers: its id or the hash of its files, template, versions."""
    versions = library_versions(libraries)
    name = {"model": model, "revision": revision, **fingerprint(model)}
    return {**name, "chat": chat.fingerprint, "versions": versions}


def fingerprint(model: str) -> Mapping[str, str]:
    """Return `model` -> a hash over the files of a model directory; nothing for a hub id."""
    # With the base model of adapters, whose directory names it but does not hold it.
    folders = list(resolve(model, ask_hub=False).folders())
    if not folders:
        return {}
    # Sorted, because the order of a directory is not part of the model.
    files = [sorted(path for path in folder.iterdir() if path.is_file()) for folder in folders]
    return {"model": short_hash([(path.name, sha256(path)) for paths in files for path in paths])}
