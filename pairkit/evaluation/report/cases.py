"""The section of a page that shows the prompts with the lowest and the highest scores, and what was said."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.evaluation.report.texts import Prompt, Text
from pairkit.intervals import Floats
from pairkit.reports.html import Html, badge, join, section, table, text

COUNT = 10
# A text that repeats itself to the limit of tokens tells no more after so many characters.
_CHARACTERS = 20_000


class Case(NamedTuple):
    """A prompt, its score as text, the answers in the order of their columns, and what was said of them.

    No answers where none are generated, but likelihoods of given ones computed.
    """

    prompt_id: str
    score: str
    answers: Sequence[tuple[str, Text | None]]
    said: Sequence[tuple[str, str]] = ()  # a title and the words
    prompt: Prompt = Prompt()  # where no answer is stored, whose file has the prompt


def extremes(scores: Floats, middle: float, count: int = COUNT) -> tuple[list[int], list[int]]:
    """Return the places of the lowest scores, below `middle`, and of the highest, above it; worst first.

    Of equal scores the first prompts are chosen.
    """
    order = np.argsort(scores, kind="stable")  # missing scores, NaN, are last
    backwards = np.argsort(-scores, kind="stable")
    low = [int(place) for place in order if scores[place] < middle]
    high = [int(place) for place in backwards if scores[place] > middle]
    return low[:count], high[:count]


def cases_section(title: str, cases: Sequence[Case], note: str = "") -> Html | None:
    """Show cases one below the other, or nothing if there are none."""
    return section(title, join([_case(case) for case in cases]), note=note) if cases else None


def _case(case: Case) -> Html:
    prompt = next((answer.prompt for _, answer in case.answers if answer), case.prompt)
    several = len(prompt.turns) > 1
    said_by_user = [(f"user, turn {n}" if several else "user", t) for n, t in enumerate(prompt.turns, 1)]
    turns = join([_line(*message) for message in (*prompt.before, *said_by_user)])
    answers = Html("")
    if case.answers:
        names, texts = zip(*case.answers, strict=True)
        answers = table(names, [[_answers(answer) for answer in texts]])
    remarks = [_said(title, words) for title, words in case.said]
    return Html(
        '<div class="set case"><div class="prompt">'
        f"<div>{badge(case.score)} <b>{text(case.prompt_id)}</b></div>"
        f"{turns}</div>{answers}{join(remarks)}</div>"
    )


def _said(title: str, words: str) -> Html:
    if not words:
        return Html(f'<div class="said">{text(title)}</div>')
    return Html(f'<details class="said"><summary>{text(title)}</summary>{_long(words)}</details>')


def _answers(stored_answer: Text | None) -> Html:
    if stored_answer is None:
        return text("not stored")
    if stored_answer.problem:
        return badge(f"no answer: {stored_answer.problem}", "bad")
    cut = [badge("cut off", "flat")] if stored_answer.truncated else []
    if len(stored_answer.answers) == 1:
        return join([*cut, _long(stored_answer.answers[0])])
    return join([*cut, *(_line(f"turn {n}", answer) for n, answer in enumerate(stored_answer.answers, 1))])


def _line(name: str, content: str) -> Html:
    return Html(f"<div><b>{text(name)}</b>{_long(content)}</div>")


def _long(content: str) -> Html:
    if not content:
        return badge("empty", "flat")
    cut = content[:_CHARACTERS]
    more = f"… ({len(content):,} characters)" if len(content) > _CHARACTERS else ""
    return Html(f'<span class="text">{text(cut + more)}</span>')


def judge_words(
    verdicts: pa.Table | None, model: str | None = None, *, either: bool = False
) -> Callable[[str], list[tuple[str, str]]]:
    """Return a function from a prompt to what the judge said of it: titles and words.

    With a `model`, of its verdicts alone; with `either`, also of those in which it is the reference.
    """
    by_prompt: dict[str, list[Mapping[str, Any]]] = {}
    for row in verdicts.to_pylist() if verdicts is not None else ():
        if model in (None, row["model"]) or (either and model == row["reference"]):
            by_prompt.setdefault(row["prompt_id"], []).append(row)
    pairs = {(row["model"], row["reference"]) for rows in by_prompt.values() for row in rows}
    return lambda prompt: [
        (_title(row, several=len(pairs) > 1), row["answer"] or "") for row in by_prompt.get(prompt, ())
    ]


def _title(row: Mapping[str, Any], *, several: bool) -> str:
    pair = f" on {row['model']} against {row['reference']}" if several and row["reference"] else ""
    order = {0: ", reference shown first", 1: ", model shown first"}.get(row["game"], "")
    turn = f", turn {row['turn']}" if (row["turn"] or 1) > 1 else ""
    verdict = row["verdict"] if row["points"] is not None else f"none ({row['reason'] or 'unread'})"
    return f"the judge's words{pair}{turn}{order}: {verdict}"


def details_said(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a benchmark keeps of a prompt besides its score as what was said of it."""
    summary = ", ".join(f"{name}: {_short(value)}" for name, value in details.items())
    return [(summary, "")] if details else []


def _short(value: Any) -> str:
    """Write a value as JSON, its numbers with three decimals."""
    rounded_value = json.loads(json.dumps(value), parse_float=lambda number: round(float(number), 3))
    return json.dumps(rounded_value, ensure_ascii=False)
