"""The page of a report: a section per question, and the figures' numbers in tables below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from pairkit.reports.canvas import INK, MORE, SERIES
from pairkit.reports.grids import grid
from pairkit.reports.html import Html, badge, contents, details, join, page, paragraph, section, table, text
from pairkit.run_report.curves import gradients, losses, margins, own_samples, throughput
from pairkit.run_report.distance import divergence, reference_gap
from pairkit.run_report.draws import drawn_negatives
from pairkit.run_report.evaluations import Benchmark
from pairkit.run_report.find import Found, Setting
from pairkit.run_report.logits import contrastive_logits, log_probs, spread
from pairkit.run_report.pushes import adaptive_margins, coefficients
from pairkit.run_report.rewards import log_ratios, plane
from pairkit.run_report.samples import entropy_and_score
from pairkit.run_report.scores import evaluations
from pairkit.run_report.segments import segments
from pairkit.run_report.series import Colors, Draw, Figure, Row, Table, caption, ready
from pairkit.run_report.summary import overview
from pairkit.run_report.texts import samples_side_by_side

TITLE = "pairkit report"
ROWS = 200  # of a table on the page; files have all
RUNS = "Runs"


class Question(NamedTuple):
    """A section: what is asked, and the figures that answer it, of runs that train a policy."""

    asked: str
    draws: Sequence[Draw]


# Of every run; figures of the next ones need log-probs, which reward models and PairRM have not.
GENERAL = Question("Does training go well?", (losses, margins, gradients, throughput))
SEGMENTS = "How did the segments go?"  # of online trainings alone
EVALUATED = "How good are the models?"
QUESTIONS = (
    Question("How far apart are chosen and rejected completions?", (contrastive_logits, spread, log_probs)),
    Question("Does the chosen completion gain, or does the rejected one lose?", (log_ratios, plane)),
    Question("How hard does the loss push?", (coefficients, adaptive_margins)),
    Question("How far from the reference is the policy?", (reference_gap, divergence)),
    Question("Which negatives were drawn?", (drawn_negatives,)),
    Question("Do answers get better, and do they stay varied?", (entropy_and_score, own_samples)),
    Question(SEGMENTS, (segments,)),
    Question("What do the models write?", (samples_side_by_side,)),
)
CLAIMS = "Do the papers' claims hold in miniature?"


def colors_of(settings: Sequence[Setting]) -> Colors:
    """Give each setting a color, of twelve; next to runs of alpha-DPO SimPO is black, as in its paper."""
    black = any(setting.part("alpha_dpo") for setting in settings)
    colors = cycle([*SERIES.values(), *MORE.values()])
    return {setting.name: INK if black and setting.part("simpo") else next(colors) for setting in settings}


def draw(
    inputs: Found, policies: Sequence[Setting], benchmarks: Sequence[Benchmark], colors: Colors
) -> dict[str, list[Figure]]:
    """Draw all figures by the question that they answer: those of log-probs of `policies` alone.

    Raises `InputError` for damaged files.
    """
    figures = {}
    if inputs.settings:  # of replications alone, the others would be empty
        figures[GENERAL.asked] = [each(inputs.settings, colors) for each in GENERAL.draws]
        figures[EVALUATED] = [evaluations(inputs.settings, colors, benchmarks)]
    if policies:
        for question in QUESTIONS:
            if question.asked != SEGMENTS or any(setting.first.segments for setting in policies):
                figures[question.asked] = [each(policies, colors) for each in question.draws]
    return {**figures, CLAIMS: [_claims(inputs.replications)]}


def _claims(folders: Sequence[Path]) -> Figure:
    """Draw figure 17: tables of what replications measured, next to the papers' numbers."""
    title, reproduces = "Ours next to the papers'", "MC-PO, Tables 2 to 4, and the other claims"
    if not folders:
        missing = {"": "give the directory of `pairkit replicate` as a further RUN to have its tables"}
        return Figure(17, title, reproduces, {}, [partial(grid, caption(17, title, reproduces), [])], missing)
    # Here, because it imports whatever a replication runs.
    from pairkit.run_report.published import replicated

    rows, tables = replicated(folders)
    return Figure(17, title, reproduces, {"arms": rows}, [ready(tables)])


def render(settings: Sequence[Setting], figures: Mapping[str, Sequence[Figure]], colors: Colors) -> str:
    """Make the page."""
    titles = [*([RUNS] if settings else []), *figures]
    anchors = {title: f"section-{number}" for number, title in enumerate(titles)}
    sections = [overview(RUNS, settings, colors, anchors[RUNS])] if settings else []
    sections += [_section(title, answers, anchors[title]) for title, answers in figures.items()]
    return page(
        TITLE,
        sections,
        summary="What runs have recorded, side by side. A setting has one color on the whole page. Where it "
        "has several seeds, a curve is their mean and a band one standard deviation, unless a figure says "
        "otherwise.",
        top=contents({anchor: title for title, anchor in anchors.items()}),
    )


def _section(title: str, figures: Sequence[Figure], anchor: str) -> Html:
    """Show figures, and in a fold below them why others are not drawn."""
    blocks = [_block(figure) for figure in figures if is_drawn(figure)]
    others = [figure for figure in figures if not is_drawn(figure)]
    if others:
        names = ", ".join(str(figure.number) for figure in others)
        summary = f"Not drawn: figure {names}" if len(others) == 1 else f"Not drawn: figures {names}"
        # A drawing without data has its title, and may say that no run can have it.
        reasons = [
            join([paragraph(caption(*figure[:3])), *_reasons(figure)]) if figure.missing else figure.draw()
            for figure in others
        ]
        blocks.append(details(summary, *reasons))
    return section(title, *blocks, anchor=anchor)


def is_drawn(figure: Figure) -> bool:
    """Return whether there is anything in a figure."""
    return any(len(rows) for rows in figure.tables.values())


def _block(figure: Figure) -> Html:
    """Show a figure with its numbers, and what is missing of it."""
    data = [
        details(f"Numbers of figure {figure.number}: {name} ({len(rows):,})", _numbers(rows))
        for name, rows in figure.tables.items()
        if len(rows)
    ]
    return join([figure.draw(), *_reasons(figure), *data])


def _reasons(figure: Figure) -> list[Html]:
    """Show why settings are not in a figure, those of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in figure.missing.items():
        by_reason.setdefault(reason, []).append(name)
    return [_missing(", ".join(filter(None, names)), reason) for reason, names in by_reason.items()]


def _missing(names: str, reason: str) -> Html:
    sentence = f"{names}: {reason}" if names else reason
    return Html(f'<p class="note">{badge("not drawn", "flat")} {text(sentence)}</p>')


def _numbers(rows: Table) -> Html:
    first: list[Row] = list(islice(rows, ROWS))
    headers = list(dict.fromkeys(key for row in first for key in row))
    cells = [[_cell(row.get(key)) for key in headers] for row in first]
    numeric = [
        place
        for place, key in enumerate(headers)
        if any(isinstance(row.get(key), (int, float)) for row in first)
    ]
    block = table(headers, cells, numeric=numeric)
    if len(rows) <= ROWS:
        return block
    more = f"The first {ROWS} of {len(rows):,} rows; --csv and --json write all of them."
    return join([block, paragraph(more)])


def _cell(value: str | float | None) -> Html:
    return text("" if value is None else value)
