"""Stored verdicts in the public formats: read, and written as `judgments.jsonl`.

`model_judgment/JUDGE/MODEL.jsonl` has a row per prompt with `games`, each with `score` and the judge's text.
Rows with one game each (`game` 1 or 2), and the battles that the public script writes (`model_a`, `model_b`,
`winner`), are read too.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pairkit.errors import InputError
from pairkit.evaluation.answers import Question, one_name
from pairkit.evaluation.arena_hard.games import Game, game_of
from pairkit.evaluation.arena_hard.labels import Version, label_of, read_label
from pairkit.evaluation.arena_hard.questions import id_of
from pairkit.evaluation.results import check_public
from pairkit.evaluation.rows import DataFile, Row, read_rows, text_field
from pairkit.files import write_text

JUDGMENTS = "judgments.jsonl"
# The judge of a file that names none.
UNKNOWN = "unknown"
_WINNERS = {"model_a": 0.0, "model_b": 1.0, "tie": 0.5, "tie (bothbad)": 0.5}


class Judgments(NamedTuple):
    """Stored verdicts on one model; `judge` and `reference` are "" where the file does not name them.

    `references` are by prompt_id, in files that name them.
    """

    model: str
    judge: str
    references: Mapping[str, str]
    games: Sequence[Game]
    file: DataFile


def read_judgments(path: Path, questions: Sequence[Question], version: Version) -> Judgments:
    """Read verdicts on one model; those on other prompts are left out.

    Raises `InputError` for verdicts on several models or of several judges, two verdicts on one game, rows of
    another layout, or no verdict on any of the questions.
    """
    rows, file = read_rows(path)
    check_public(rows[0][1], path, JUDGMENTS)
    prompt_ids = {question.prompt_id for question in questions}
    models: dict[str, int] = {}
    judges: dict[str, int] = {}
    references: dict[str, str] = {}
    games: list[Game] = []
    others: list[str] = []
    game_keys: set[tuple[str, int]] = set()
    for number, row in rows:
        key = id_of(row, path, number)
        # Of a battle the first model is the reference.
        models.setdefault(text_field(row, "model_b" if "winner" in row else "model", path, number), number)
        if row.get("judge") is not None:
            judges.setdefault(text_field(row, "judge", path, number), number)
        if reference := row.get("model_a") if "winner" in row else row.get("baseline"):
            references[key] = str(reference)
        for game in _games(row, key, version, path, number):
            if game.game is not None and (key, game.game) in game_keys:
                raise InputError.at(
                    f"a second verdict on game {game.game + 1} of prompt {key!r}: keep one",
                    file=path,
                    row=number,
                )
            if game.game is not None:
                game_keys.add((key, game.game))
            if key in prompt_ids:
                games.append(game)
        if key not in prompt_ids:
            others.append(key)
    if not games:
        raise InputError(
            f"{path}: none of its {len(rows):,} rows is about one of the {len(prompt_ids):,} questions: give "
            "the verdicts on these questions, or another file of questions"
        )
    judge = one_name(judges, path, "verdicts", "judge")
    model = one_name(models, path)
    reference_names = {key: name for key, name in references.items() if key in prompt_ids}
    return Judgments(model, judge, reference_names, games, file.leaving_out(others))


def write_judgments(
    path: Path, judge: str, model: str, references: Mapping[str, str], games: Sequence[Game]
) -> None:
    """Write games in the public layout, a row per prompt with both games; `references` by prompt_id.

    Battles, which are no games, are written as they were read.
    """
    by_prompt: dict[str, list[Game]] = defaultdict(list)
    for game in games:
        by_prompt[game.prompt_id].append(game)
    lines = []
    for key, of in by_prompt.items():
        if of[0].game is None:
            battle = {"question_id": key, "model_a": references.get(key), "model_b": model}
            lines += [json.dumps(battle | {"winner": each.label}, ensure_ascii=False) + "\n" for each in of]
            continue
        line: dict[str, Any] = {
            "uid": key,
            "question_id": key,
            "judge": judge,
            "model": model,
            "baseline": references.get(key),
            "games": [{"score": game.label, "judgment": {"answer": game.answer}} for game in of],
        }
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))


def _games(row: Row, key: str, version: Version, path: Path, number: int) -> list[Game]:
    if "winner" in row:
        return [_battle(row, key, path, number)]
    if "game" in row:
        place = row["game"]
        if isinstance(place, bool) or place not in (1, 2):
            raise InputError.at(f"field 'game' is {place!r}; it is 1 or 2", file=path, row=number)
        return [_game(row, key, int(place) - 1, version)]
    games = row.get("games")
    if (
        not isinstance(games, Sequence)
        or isinstance(games, str)
        or len(games) > 2
        or not all(isinstance(game, Mapping | None) for game in games)
    ):
        raise InputError.at(
            "has neither 'games' (two), nor 'game', nor 'winner': it holds no verdict of Arena-Hard",
            file=path,
            row=number,
        )
    return [_game(game or {}, key, place, version) for place, game in enumerate(games)]


def _game(entry: Mapping[str, Any], key: str, place: int, version: Version) -> Game:
    judgment = entry.get("judgment")
    words = judgment.get("answer") if isinstance(judgment, Mapping) else judgment
    text = words if isinstance(words, str) else None
    # The label that the file has, because it is the verdict; its text is read only without one.
    label = label_of(entry["score"]) if "score" in entry else read_label(text or "", version)
    return game_of(key, place, label, text)


def _battle(row: Row, key: str, path: Path, number: int) -> Game:
    winner = text_field(row, "winner", path, number)
    if winner not in _WINNERS:
        raise InputError.at(
            f"field 'winner' is {winner!r}; it is model_a, model_b or tie", file=path, row=number
        )
    return Game(key, None, winner, points=_WINNERS[winner])
