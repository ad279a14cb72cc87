"""What results hold next to the numbers: the matrix, the judge's behavior, lengths, qualifications."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pairkit.evaluation.answers import Answer, Answers
from pairkit.evaluation.matrix.cycles import MOST, cycles_of
from pairkit.evaluation.matrix.judging import EQUAL, Texts
from pairkit.evaluation.matrix.prompts import Prompts
from pairkit.evaluation.matrix.strengths import RESAMPLES, Strengths, names
from pairkit.evaluation.matrix.table import Cell, matrix_of
from pairkit.evaluation.measures import Metric
from pairkit.evaluation.results import Verdict
from pairkit.evaluation.win_rates import longer_wins
from pairkit.rankers.judge.statistics import judge_rates, rates_by_name
from pairkit.rankers.judge.texts import harmless


def matrix_entry(
    models: Sequence[str], cells: Sequence[Cell], means: Sequence[Metric], strengths: Strengths
) -> dict[str, Any]:
    """Return the entry `matrix` of results.json; rates are in percent, strengths in log-odds."""
    matrix = matrix_of(models, cells)
    circles = cycles_of(models, [pair for cell in cells if (pair := cell.better) is not None])
    return {
        "models": list(models),
        "win_rates": [[None if np.isnan(rate) else rate for rate in row] for row in matrix.tolist()],
        "cells": [_cell(cell) for cell in cells],
        "rows": [
            {"model": model, "mean_win_rate": mean._asdict(), "strength": strength._asdict()}
            for model, mean, strength in zip(models, means, strengths.strengths, strict=True)
        ],
        "largest_gap_to_bradley_terry": {
            "points": strengths.largest_gap,
            "row_and_column": names(strengths.widest, models),
        },
        "cycles": {"count": len(circles), "at_most": MOST, "first": circles[:10]},
        "resamples_of_strengths": RESAMPLES,
    }


def _cell(cell: Cell) -> dict[str, Any]:
    metric = cell.metric
    return {
        "row": cell.row,
        "column": cell.column,
        **{name: getattr(metric, name) for name in ("value", "low", "high", "se", "n")},
        "games": cell.games._asdict(),
        "both_orders": cell.orders.both,
        "same": cell.orders.same,
        "flips": cell.orders.flips,
        "one_order": cell.orders.one,
        "missing": cell.orders.none,
        "p": cell.p,
        "p_holm": cell.p_holm,
        "significant": cell.significant,
    }


def judge_statistics(
    verdicts: Sequence[Verdict], answer_counts: Counter[str], texts: Texts
) -> dict[str, Any]:
    """Return the shares that a judge's biases have; `answer_counts` counts its answers, read or not."""
    counts = answer_counts.copy()
    games: dict[tuple[str, str, str | None], dict[int, float]] = {}
    for verdict in verdicts:
        if verdict.game is None:
            continue
        counts["questions"] += 1
        counts["unanswered"] += verdict.points is None
        if verdict.points is None:
            continue
        # Of what was shown first, which is the model's answer in game 1.
        first = verdict.points if verdict.game == 1 else 1 - verdict.points
        counts["first_wins" if first == 1 else "ties" if first == 0.5 else "second_wins"] += 1
        key = (verdict.prompt_id, verdict.model, verdict.reference)
        games.setdefault(key, {})[verdict.game] = verdict.points
    for both in games.values():
        if len(both) == 2:
            counts["swapped"] += 1
            counts["same"] += both[0] == both[1]
            counts["flips"] += abs(both[0] - both[1]) == 1
    return rates_by_name(judge_rates(counts)) | _longer_wins(verdicts, texts)


def _longer_wins(verdicts: Sequence[Verdict], texts: Texts) -> dict[str, Any]:
    games = []
    for verdict in verdicts:
        both = [
            texts.get(name or "", {}).get(verdict.prompt_id) for name in (verdict.model, verdict.reference)
        ]
        lengths = [len(text) for text in both if text is not None]
        if len(lengths) == 2:
            games.append((lengths[0] - lengths[1], verdict.points))
    return longer_wins(games)


def lengths(answers: Mapping[str, Answers], texts: Texts) -> dict[str, Any]:
    """Return what is to be said of the answers of each model.

    `quoted_verdicts`: how many hold something like a verdict, which the judge is shown in other brackets.
    """
    return {
        model: {
            "answers": len(texts[model]),
            "mean_length": float(np.mean([len(text) for text in texts[model].values()]))
            if texts[model]
            else None,
            "empty": sum(not text.strip() for text in texts[model].values()),
            "quoted_verdicts": sum(harmless(text) != text for text in texts[model].values()),
            "truncated": sum(isinstance(answer, Answer) and answer.truncated for answer in of_model.values()),
        }
        for model, of_model in answers.items()
    }


def notes(
    prompts: Prompts, cells: Sequence[Cell], verdicts: Sequence[Verdict], entry: Mapping[str, Any]
) -> list[str]:
    """Return sentences that qualify the numbers, shown next to them."""
    return [*_of_prompts(prompts), *_of_games(cells, verdicts), *_of_cycles(entry["cycles"])]


def _of_prompts(prompts: Prompts) -> Iterator[str]:
    if len(prompts.questions) < prompts.file.rows:
        yield f"the first {len(prompts.questions):,} of {prompts.file.rows:,} prompts"


def _of_games(cells: Sequence[Cell], verdicts: Sequence[Verdict]) -> Iterator[str]:
    if equal := sum(verdict.verdict == EQUAL for verdict in verdicts):
        yield f"{equal:,} pairs of equal answers are ties without a question"
    if single_games := sum(cell.orders.one for cell in cells):
        yield (
            f"{single_games:,} scores are of one game, because the judge's verdict in the other order is "
            "missing"
        )
    unread = Counter(verdict.reason for verdict in verdicts if verdict.points is None)
    if unread:
        summary = ", ".join(f"{count:,} {reason}" for reason, count in sorted(unread.items(), key=str))
        yield f"verdicts that are missing: {summary}"
    unclear = [cell for cell in cells if not cell.significant]
    if unclear and len(cells) > 1:
        yield (
            f"{len(unclear):,} of {len(cells):,} pairs show no difference after correction for their number "
            "(Holm)"
        )


def _of_cycles(cycles: Mapping[str, Any]) -> Iterator[str]:
    if cycles["count"]:
        circle = cycles["first"][0]
        yield (
            f"{cycles['count']:,} cycles among pairs whose interval excludes 50, such as "
            f"{' > '.join([*circle, circle[0]])}: no ranking shows them"
        )
