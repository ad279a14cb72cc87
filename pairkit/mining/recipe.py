"""The `mine:` block of a build recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from pairkit.recipes import Strict

Rejected = Literal["worst", "quantile", "random", "all", "policy"]
Chosen = Literal["best"]


class TokenSwap(Strict):
    """Exchanges tokens of the chosen text (MC-PO's noisy candidates, section 5.4).

    `tokenizer` is a hub id or a directory, that of the model to train; `swaps` pairs of tokens are exchanged,
    `count` such completions are added per set.
    """

    tokenizer: str
    revision: str | None = None
    swaps: PositiveInt = 1
    count: PositiveInt = 1


class WordSwap(Strict):
    """Exchanges `swaps` pairs of whitespace-separated words of the chosen text; needs no tokenizer."""

    swaps: PositiveInt = 1
    count: PositiveInt = 1


class Truncate(Strict):
    """Cuts the chosen text at a random character."""

    count: PositiveInt = 1


class LabelFlip(Strict):
    """Exchanges the chosen completion and the next best one, in a share `rate` of the sets."""

    rate: Annotated[float, Field(gt=0, le=1)]


class NoiseRecipe(Strict):
    """The noise that is added (`token_swap`, `word_swap`, `truncate`, in this order) or changes labels."""

    token_swap: TokenSwap | None = None
    word_swap: WordSwap | None = None
    truncate: Truncate | None = None
    label_flip: LabelFlip | None = None


class MineRecipe(Strict):
    """Which completions stay in the sets, which noise is added, and how pairs are derived.

    chosen, rejected  how `pairs/` is derived, and the trainer's default; they do not change the sets.
                      "policy" leaves the choice to the training loop (`pairs/` is then random, by the seed);
                      "quantile" is the completion at the 2.3 % quantile, two standard deviations below the
                      mean, and "worst" the lowest, which is the same up to 43 completions below the best
                      and is the wrong one where there are more (arXiv 2502.16825).
    drop_ranks        completions of these ranks are dropped (MC-PO on Nectar: [2]).
    min_margin        completions whose score is less than this below the chosen one's are dropped. A set
                      with a ranked completion without a score goes to quarantine.
    min_agreement     with a panel: completions that fewer than this share of its rankers place below the
                      chosen one are dropped; 1: all of them have to.
    keep_negatives    keeps the chosen completion and this many of those below it, the lowest-ranked ones:
                      MC-PO makes its sets of 5 to 1 negatives by removing the highest-ranked. The seed
                      decides between equals. Completions tied with the chosen one, or unranked, are dropped.
    require_choice    a set with completions but no choice (one completion, or all ranked ones tied) goes to
                      quarantine; false keeps it, for demonstrations. Prompts without completions, and sets
                      without ranks, are always kept.
    record_dropped    writes the completions that are dropped from sets that stay to `dropped/`, each with its
                      set and the reason, so that nothing of what was sampled is lost.
    """

    chosen: Chosen = "best"
    rejected: Rejected = "random"
    drop_ranks: tuple[PositiveInt, ...] = ()
    keep_negatives: PositiveInt | None = None
    min_margin: PositiveFloat | None = None
    # Only where it is set, because a further field would change the identity of all other datasets.
    min_agreement: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, exclude_if=lambda share: share is None
    )
    require_choice: bool = True
    noise: NoiseRecipe = NoiseRecipe()
    record_dropped: bool = False
