"""A chat prompt as token ids: rendered once by the model's own template, with exactly one BOS.

Text that a template has rendered must never be tokenized with special tokens added again: most templates
write the BOS themselves, and a second one shifts every token that the model sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pairkit.errors import ModelError, RecipeError
from pairkit.models.chat.limits import limited
from pairkit.progress import visible

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[Mapping[str, Any]]
# For a tokenizer without a template. It uses only the special tokens that the tokenizer has. A line ends
# before a reply, because a space would be a token of the prompt that most tokenizers make part of a word.
DEFAULT_TEMPLATE = (
    "{{ bos_token or '' }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }}\n\n"
    "{% elif message['role'] == 'user' %}User: {{ message['content'] }}\n\n"
    "{% else %}Assistant:\n{{ message['content'] }}{{ eos_token }}\n\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:\n{% endif %}"
)


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    *,
    add_generation_prompt: bool,
    template: str | None = None,
    tools: Sequence[Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> str:
    """Render `messages` with a template.

    Args:
        template: the text of a template; None: the tokenizer's own.
        tools: the tools that the conversation offers.
        arguments: further arguments of the template, none of them `settings.RESERVED`.

    Raises `ModelError` for a tokenizer without a template, and for messages that the template refuses, for
    example a system turn; `RecipeError` for a template that exceeds the limits.
    """
    if not (template or tokenizer.chat_template):
        raise ModelError(
            f"the tokenizer {tokenizer.name_or_path!r} has no chat template; use an instruct model, set "
            "template.file to a template, or template=none for raw text"
        )
    try:
        with limited():
            text = tokenizer.apply_chat_template(
                list(messages),
                tools=list(tools) if tools else None,
                chat_template=template,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **(arguments or {}),
            )
    except RecipeError:  # a limit
        raise
    except (
        Exception
    ) as error:  # a template is a program: it raises jinja's errors and those of what it computes
        raise ModelError(f"the chat template refuses this prompt: {visible(str(error), 500)}") from error
    return str(text)


def one_bos(tokenizer: PreTrainedTokenizerBase, ids: list[int], *, begins: bool | None = None) -> list[int]:
    """Return the `ids` of a rendered text with exactly one BOS.

    A BOS that the template leaves out is added where the tokenizer itself begins every text with one
    (Zephyr), because the model was trained with it; where both write it, one remains.

    Args:
        begins: what `begins_with_bos` returns; computed if None.
    """
    bos = tokenizer.bos_token_id
    if bos is None:
        return ids
    leading = next((i for i, token in enumerate(ids) if token != bos), len(ids))  # BOS that it has
    begins = leading > 0 or (begins_with_bos(tokenizer) if begins is None else begins)
    return [bos] * begins + ids[leading:]


def begins_with_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the tokenizer itself begins every text with a BOS."""
    # By trying, because no attribute tells it: post-processors add it, whatever `add_bos_token` is.
    return bool(tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id])
