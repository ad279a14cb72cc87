"""What a person should know of how texts became tokens: said once per run."""

from __future__ import annotations

from collections.abc import Mapping

from pairkit.models.chat.format import ChatFormat
from pairkit.training.tokens.writing import RECORDED, REPEATED, RETOKENIZED, SAME


def notes(format: ChatFormat, counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return a line for everything that is worth one.

    Args:
        counts: `Tokenized.noted` of the training sets.
    """
    lines = []
    lead = format.turn().lead
    if lead and not format.settings.prefill:
        lines.append(
            f"the template writes {lead!r} before an answer, which is not added: a completion is the text as "
            "written; template.prefill adds it to the prompt"
        )
    if format.settings.prefill and not format.prefill():
        lines.append(
            f"the template ends every prompt in {format.settings.prefill!r} already: template.prefill is not "
            "added again"
        )
    if "strftime_now" in format.template:
        lines.append(
            "the template may write today's date: tokens keep the day on which they were made (stored ones "
            "too); template.file with a date of its own fixes it"
        )
    if count := counts.get(REPEATED):
        lines.append(
            f"{count:,} completions repeat the thought mark that ends the prompt; it is written once"
        )
    if count := counts.get(RECORDED):
        lines.append(
            f"{count:,} completions have the ids that were sampled, which differ from those of their text"
        )
    if count := counts.get(RETOKENIZED):
        lines.append(f"{count:,} completions have ids of another tokenizer or template; their text is used")
    if count := counts.get(SAME):
        lines.append(f"{count:,} rejected completions have the tokens of the chosen one and are not used")
    return tuple(lines)
