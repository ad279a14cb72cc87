"""What a run of PairRM has in the place of a chat format: the ranker's own encoding of texts.

`max_length` and `max_prompt_length` lower the limits of the checkpoint and never raise them; PairRM's own,
1224 tokens of source and 412 of each completion, fit the default of 2048.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerFast

from pairkit.errors import ModelError
from pairkit.models.chat.settings import TemplateSettings
from pairkit.rankers.pairrm import text
from pairkit.rankers.pairrm.text import CLS, EDGES, PAD, SEP, UNK, Encoder, Limits
from pairkit.training.pairrm.start import TrainedPairRM, read_start, tokenizer_of, with_ids
from pairkit.training.tokens.comparisons import CUT_COMPLETIONS, CUT_PROMPTS, SAME

Lengths = tuple[int, int | None]  # a recipe's `max_length` and `max_prompt_length`


class PairFormat:
    """How prompts and completions become ids; with what a plan reads of a `ChatFormat`."""

    own_template = None
    settings = TemplateSettings()

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        names = {"pad_token": PAD, "cls_token": CLS, "sep_token": SEP, "unk_token": UNK}
        # Of the file, because transformers' own class for DeBERTa makes another one of the vocabulary.
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=encoder.tokenizer, **names)

    @property
    def identity(self) -> list[Any]:
        """All that ids depend on besides the tokenizer, as JSON values."""
        return ["pairrm", list(self.encoder.limits), inspect.getsource(text)]

    def prefill(self) -> str:
        """Return "": nothing is added to a prompt."""
        return ""


def pair_format(name: str, revision: str | None, other: str | None, lengths: Lengths) -> PairFormat:
    """Make the format of a run.

    Args:
        name: the model.
        other: where the tokenizer of a configuration file is, if not next to it.

    Raises:
        ModelError: the model is no PairRM and no DeBERTa, its tokenizer is missing, or has too few positions
            for its limits.
    """
    start = read_start(name, revision)
    limits = lowered(start.limits, lengths)
    most = start.config.get("max_position_embeddings")
    longest = limits.source + 2 * limits.completion
    # Others have no absolute positions, and buckets for distances of any size.
    if start.config.get("position_biased_input", True) and most and longest > most:
        raise ModelError(
            f"a pair has up to {longest} tokens, but the model {name!r} has only {most} positions; "
            f"set max_length={most}"
        )
    return PairFormat(Encoder(tokenizer_of(name, revision, other), limits))


def lowered(limits: Limits, lengths: Lengths) -> Limits:
    """Return limits of which a pair fits `max_length`, and the source `max_prompt_length`."""
    max_length, max_prompt_length = lengths
    whole = limits.source + 2 * limits.completion
    if whole > max_length:
        # In their proportion; at least one token of each text.
        source = max(EDGES + 1, max_length * limits.source // whole)
        source = min(source, max_length - 2 * (EDGES + 1))
        limits = Limits(source, min(limits.completion, (max_length - source) // 2))
    return limits._replace(source=min(limits.source, max_prompt_length or limits.source))


def finish(model: Any, tokenizer: Any, lengths: Lengths) -> None:
    """Give a loaded model what is saved with it: the limits of the run, and a new one the ids of prefixes."""
    network: TrainedPairRM = model
    network.limits = lowered(network.limits, lengths)
    if network.is_new:
        network.settings = with_ids(network.settings, tokenizer.backend_tokenizer)


def notes(_: PairFormat, counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return a line for what a person should know of how texts became tokens."""
    lines = []
    if count := counts.get(CUT_COMPLETIONS):
        lines.append(f"{count:,} completions are cut at their end to fit, as the ranker cuts them")
    if count := counts.get(CUT_PROMPTS):
        lines.append(f"{count:,} prompts are cut to fit, as the ranker cuts them")
    if count := counts.get(SAME):
        lines.append(f"{count:,} completions have the tokens of a better one and are not used")
    return tuple(lines)
