"""How much of a text repeats, and how different the completions of a set are."""

from __future__ import annotations

import polars as pl

from pairkit.texts import ngrams, words


def repetition(texts: pl.Series, n: int) -> pl.Series:
    """Return the share of each text's n-grams that repeat an earlier one, in [0, 1).

    >>> repetition(pl.Series(["a b a b a b", "a b c", ""]), 2).to_list()
    [0.6, 0.0, 0.0]
    """
    grams = ngrams(words(texts), n)
    shares = (
        pl.DataFrame({"text": grams.texts, "gram": grams.hashes})
        .group_by("text")
        .agg(share=1 - pl.col("gram").n_unique() / pl.len())
    )
    rows = pl.DataFrame({"text": pl.int_range(len(texts), eager=True)})
    text_shares = rows.join(shares, on="text", how="left", maintain_order="left")
    return text_shares.select(pl.col("share").fill_null(0.0)).to_series()


def diversity(lists: pl.Series) -> pl.Series:
    """Return the effective number of different texts of each list: its Vendi score of order 2.

    With J the Jaccard similarity of the words of two of n texts, that is n^2 / sum over all pairs of J^2: 1
    for n copies, n for texts without a common word; null without texts.

    References:
        Pasarkar and Dieng 2023, arXiv 2310.12952, order q = 2.

    >>> diversity(pl.Series([["a b", "b a"], ["a", "b"], []], dtype=pl.List(pl.String))).to_list()
    [1.0, 2.0, None]
    """
    frame = pl.DataFrame({"set": pl.int_range(len(lists), eager=True), "text": lists}).explode("text")
    frame = frame.filter(pl.col("text").is_not_null()).with_row_index("row")
    word_lists = words(frame["text"]).list.unique()
    # A text without a word is like itself alone: one word that no other text has.
    own = pl.concat_str(pl.lit(" "), pl.col("row").cast(pl.String)).implode().over("row")
    frame = frame.with_columns(word=pl.Series(word_lists)).with_columns(
        word=pl.when(pl.col("word").list.len() == 0).then(own).otherwise("word")
    )
    frame = frame.with_columns(size=pl.col("word").list.len().cast(pl.Float64))
    flat = frame.select("set", "row", "size", "word").explode("word")
    # Pairs without a common word do not occur, and add nothing.
    common = (
        flat.join(flat, on=["set", "word"])
        .group_by("set", "row", "row_right")
        .agg(pl.len().alias("common"), pl.col("size").first(), pl.col("size_right").first())
    )
    jaccard = pl.col("common") / (pl.col("size") + pl.col("size_right") - pl.col("common"))
    sums = common.group_by("set").agg(
        total=jaccard.pow(2).sum(), count=pl.col("row").n_unique().cast(pl.Float64)
    )
    rows = pl.DataFrame({"set": pl.int_range(len(lists), eager=True)})
    set_sums = rows.join(sums, on="set", how="left", maintain_order="left")
    # Rounded, because sums in another order differ in their last bits, and a bound must not depend on them.
    return set_sums.select((pl.col("count").pow(2) / pl.col("total")).round(9)).to_series()
