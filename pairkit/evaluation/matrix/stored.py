"""Verdicts of an earlier matrix, read from its verdicts.parquet or any file with these columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pairkit.errors import InputError
from pairkit.evaluation.results import RESULTS, Verdict
from pairkit.evaluation.rows import DataFile, Row, number_field, read_rows, text_field
from pairkit.files import read_json, undamaged

# The judge of verdicts from elsewhere.
STORED = {"name": "stored"}
# prompt_id, model, reference, game.
Key = tuple[str, str, str, int | None]


class Stored(NamedTuple):
    """Stored verdicts, and the models that they are on, in order of appearance."""

    verdicts: Mapping[Key, Verdict]
    models: tuple[str, ...]
    file: DataFile
    judge: Mapping[str, Any]

    def of(self, prompt_id: str, model: str, reference: str) -> list[Verdict]:
        """Return the verdicts on a prompt and two models, from the side of `model`."""
        verdicts = []
        for game in (None, 0, 1):
            if (verdict := self.verdicts.get((prompt_id, model, reference, game))) is not None:
                verdicts.append(verdict)
            elif (verdict := self.verdicts.get((prompt_id, reference, model, game))) is not None:
                verdicts.append(turned(verdict))
        return verdicts


def turned(verdict: Verdict) -> Verdict:
    """Return a verdict from the side of the other model."""
    assert verdict.reference is not None
    names = {"win": "loss", "loss": "win"}
    return verdict._replace(
        model=verdict.reference,
        reference=verdict.model,
        game=None if verdict.game is None else 1 - verdict.game,
        verdict=names.get(verdict.verdict or "", verdict.verdict),
        points=None if verdict.points is None else 1 - verdict.points,
    )


def read_verdicts(path: Path, prompt_ids: Sequence[str]) -> Stored:
    """Read the verdicts on these prompts.

    Raises `InputError` for a file without the columns, none on these prompts, or two verdicts on one game.
    """
    rows, file = read_rows(path)
    ids = set(prompt_ids)
    verdicts: dict[Key, Verdict] = {}
    models: dict[str, None] = {}
    others: list[str] = []
    for number, row in rows:
        verdict = _verdict(row, path, number)
        assert verdict.reference is not None
        key = (verdict.prompt_id, verdict.model, verdict.reference, verdict.game)
        # A verdict from the other model's side is one on the same game.
        other = turned(verdict)
        if key in verdicts or (other.prompt_id, other.model, other.reference, other.game) in verdicts:
            raise InputError.at(
                f"a second verdict on prompt {verdict.prompt_id!r}, {verdict.model!r} against "
                f"{verdict.reference!r}, in the same order: keep one",
                file=path,
                row=number,
            )
        models |= {verdict.model: None, verdict.reference: None}
        if verdict.prompt_id in ids:
            verdicts[key] = verdict
        else:
            others.append(verdict.prompt_id)
    if not verdicts:
        raise InputError(f"{path}: none of its {len(rows):,} verdicts is on one of the {len(ids):,} prompts")
    return Stored(verdicts, tuple(models), file.leaving_out(others), _judge(path))


def _judge(path: Path) -> Mapping[str, Any]:
    """Return the judge of the matrix that wrote the verdicts, `STORED` where that is not known."""
    results = path.parent / RESULTS
    if path.name != "verdicts.parquet" or not results.is_file():
        return STORED
    with undamaged(results, "evaluate again"):
        judge = read_json(results)["judge"]
    return judge if isinstance(judge, dict) else STORED


def _verdict(row: Row, path: Path, number: int) -> Verdict:
    prompt_id, model, reference = (
        text_field(row, name, path, number) for name in ("prompt_id", "model", "reference")
    )
    game = None if row.get("game") is None else number_field(row, "game", path, number)
    if game not in (None, 0, 1):
        raise InputError.at(
            f"field 'game' is {game:g}, not 0 (the reference's answer was shown first) or 1",
            file=path,
            row=number,
        )
    points = None if row.get("points") is None else number_field(row, "points", path, number)
    if points is not None and not 0 <= points <= 1:
        raise InputError.at(f"field 'points' is {points:g}, not from 0 to 1", file=path, row=number)
    answer, verdict, reason = (
        None if row.get(name) is None else str(row[name]) for name in ("answer", "verdict", "reason")
    )
    return Verdict(
        prompt_id,
        model,
        reference,
        None if game is None else int(game),
        answer=answer,
        verdict=verdict,
        points=points,
        reason=reason or (None if points is not None else "no_verdict"),
    )
