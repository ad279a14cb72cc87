"""Tokenizers, loaded without importing torch. What to do when one cannot be loaded depends on the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pairkit.models.chat.render import DEFAULT_TEMPLATE
from pairkit.models.panic import panics_as_errors
from pairkit.progress import log

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def open_tokenizer(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a hub id or a directory.

    Raises whatever transformers, the hub or the tokenizer's own code raises (a dozen types): the caller
    turns it into `names.cannot_load`, which knows what else could be given.
    """
    from transformers import AutoTokenizer

    with panics_as_errors(name):
        # Always explicit: by default transformers asks at the terminal whether to run code of the repository.
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            name, revision=revision, trust_remote_code=trust_remote_code
        )
    return tokenizer


def ensure_chat_template(tokenizer: PreTrainedTokenizerBase, name: str | None) -> None:
    """Give a tokenizer without a chat template pairkit's plain one, and log that under `name` if given."""
    if tokenizer.chat_template:
        return
    # On the tokenizer, because it is saved with the model, which then is used with the same template.
    tokenizer.chat_template = DEFAULT_TEMPLATE
    if name is not None:
        log(f"{name}: no chat template; using pairkit's plain one (User: ... Assistant: ...)")
