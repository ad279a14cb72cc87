"""The page of a report: a section per question, and the figures' numbers in tables below them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from pairkit.files import flat_keys
from pairkit.reports.canvas import INK, MORE, SERIES, list_colors
from pairkit.reports.grids import grid
from pairkit.reports.html import Html, badge, details, join, page, paragraph, section, table, text
from pairkit.run_report.distance import divergence, reference_gap
from pairkit.run_report.draws import drawn_negatives
from pairkit.run_report.find import Found, Setting
from pairkit.run_report.logits import contrastive_logits, log_probs
from pairkit.run_report.pushes import adaptive_margins, coefficients
from pairkit.run_report.rewards import log_ratios, plane
from pairkit.run_report.samples import entropy_and_score
from pairkit.run_report.series import Colors, Draw, Figure, Row, caption

TITLE = "pairkit report"
ROWS = 200  # of a table on the page; files have all
# What has no log-probs, in words.
NOUNS = {"reward": "a reward model", "pairrm": "a PairRM"}


class Question(NamedTuple):
    """A section: what is asked, and the figures that answer it."""

    asked: str
    draws: Sequence[Draw]


QUESTIONS = (
    Question("How far apart are chosen and rejected completions?", (contrastive_logits, log_probs)),
    Question("Does the chosen completion gain, or does the rejected one lose?", (log_ratios, plane)),
    Question("How hard does the loss push?", (coefficients, adaptive_margins)),
    Question("How far from the reference is the policy?", (reference_gap, divergence)),
    Question("Which negatives were drawn?", (drawn_negatives,)),
    Question("Do answers get better, and do they stay varied?", (entropy_and_score,)),
)
CLAIMS = "Do the papers' claims hold in miniature?"


def colors_of(settings: Sequence[Setting]) -> Colors:
    """Give each setting a color, of twelve; next to runs of alpha-DPO SimPO is black, as in its paper."""
    black = any(setting.part("alpha_dpo") for setting in settings)
    colors = cycle([*SERIES.values(), *MORE.values()])
    return {setting.name: INK if black and setting.part("simpo") else next(colors) for setting in settings}


def draw(inputs: Found, settings: Sequence[Setting], colors: Colors) -> dict[str, list[Figure]]:
    """Draw all figures, those of runs of some settings, by the question that they answer.

    Raises `InputError` for damaged files.
    """
    # Of replications alone, the others would be empty.
    questions = QUESTIONS if settings else ()
    figures = {question.asked: [each(settings, colors) for each in question.draws] for question in questions}
    return {**figures, CLAIMS: [_claims(inputs.replications)]}


def _claims(folders: Sequence[Path]) -> Figure:
    """Draw figure 17: tables of what replications measured, next to the papers' numbers."""
    title, reproduces = "Ours next to the papers'", "MC-PO, Tables 2 to 4, and the other claims"
    if not folders:
        missing = {"": "give the directory of `pairkit replicate` as a further RUN to have its tables"}
        return Figure(17, title, reproduces, {}, grid(caption(17, title, reproduces), []), missing)
    # Here, because it imports whatever a replication runs.
    from pairkit.run_report.published import replicated

    rows, tables = replicated(folders)
    return Figure(17, title, reproduces, {"arms": rows}, tables)


def render(
    settings: Sequence[Setting],
    others: Sequence[Setting],
    figures: Mapping[str, Sequence[Figure]],
    colors: Colors,
) -> str:
    """Make the page.

    Args:
        others: settings that train no policy, of which no figure exists.
    """
    sections = [section(question, *map(_block, answers)) for question, answers in figures.items()]
    return page(
        TITLE,
        [*([_runs(settings, others, colors)] if settings or others else []), *sections],
        summary="Figures of the papers of StaPO, SPO, alpha-DPO, MC-PO and MinorDPO, drawn from what runs "
        "have recorded. A setting has one color on the whole page. Where it has several seeds, a curve is "
        "their mean and a band one standard deviation, unless a figure says otherwise.",
    )


def _runs(settings: Sequence[Setting], others: Sequence[Setting], colors: Colors) -> Html:
    """Show what the settings are, and in what they differ."""
    every = [*settings, *others]
    flat = {setting.name: flat_keys(setting.first.recipe) for setting in every}
    keys = dict.fromkeys(key for recipe in flat.values() for key in recipe)
    differences = [key for key in keys if len({str(recipe.get(key)) for recipe in flat.values()}) > 1]
    headers = ["setting", "loss", "learning rate", "steps", "seeds"]
    rows = [
        [
            text(setting.name),
            text(_loss(setting.first.recipe["loss"])),
            text(float(flat[setting.name].get("optimizer.learning_rate") or 0)),
            text(max((entry["step"] for entry in setting.first.entries), default=0)),
            text(", ".join(str(run.recipe["seed"]) for run in setting.runs)),
        ]
        for setting in every
    ]
    blocks = [
        list_colors([(setting.name, colors[setting.name], False) for setting in settings]),
        table(headers, rows, numeric=(2, 3)),
        *[
            paragraph(
                f"{setting.name} trains {NOUNS[setting.first.trains]}, which has no log-probs of "
                "completions: none of the figures exists for it."
            )
            for setting in others
        ],
    ]
    if len(every) > 1 and differences:
        cells = [
            [text(key), *(text(_plain(flat[each.name].get(key))) for each in every)] for key in differences
        ]
        names = ["setting", *(setting.name for setting in every)]
        blocks.append(details("Settings that differ", table(names, cells)))
    return section("Runs", *blocks)


def _plain(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _loss(loss: Mapping[str, object]) -> str:
    """Return a loss with the keywords that are set."""
    keywords = [f"{key} {_plain(value)}" for key, value in flat_keys(loss).items() if key != "name"]
    return f"{loss['name']} ({', '.join(keywords)})" if keywords else str(loss["name"])


def _block(figure: Figure) -> Html:
    """Show a figure with its numbers, and what is missing of it."""
    data = [
        details(f"Numbers of figure {figure.number}: {name} ({len(rows):,})", _numbers(rows))
        for name, rows in figure.tables.items()
        if rows
    ]
    reasons: dict[str, list[str]] = {}
    for name, reason in figure.missing.items():
        reasons.setdefault(reason, []).append(name)
    notes = [_missing(", ".join(filter(None, names)), reason) for reason, names in reasons.items()]
    return join([figure.drawing, *notes, *data])


def _missing(names: str, reason: str) -> Html:
    sentence = f"{names}: {reason}" if names else reason
    return Html(f'<p class="note">{badge("not drawn", "flat")} {text(sentence)}</p>')


def _numbers(rows: Sequence[Row]) -> Html:
    headers = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(key)) for key in headers] for row in rows[:ROWS]]
    numeric = [
        place
        for place, key in enumerate(headers)
        if any(isinstance(row.get(key), (int, float)) for row in rows)
    ]
    block = table(headers, cells, numeric=numeric)
    if len(rows) <= ROWS:
        return block
    more = f"The first {ROWS} of {len(rows):,} rows; --csv and --json write all of them."
    return join([block, paragraph(more)])


def _cell(value: str | float | None) -> Html:
    return text("" if value is None else value)
