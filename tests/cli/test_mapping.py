"""`--map` and `--layout` as typed: how they are parsed, and what a build makes of small files with them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.cli.mapping import mapping
from pairkit.errors import PairkitError, UsageError

# A set as tests write it: the turns of the prompt, and text, rank and score of each completion.
Sets = list[tuple[list[tuple[str, str]], list[tuple[str, int | None, float | None]]]]

PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}
OPENED = {
    "input": {"messages": [{"role": "user", "content": "p"}], "topic": "t"},
    "completions": [{"text": "c", "by": "m"}, {"text": "r", "by": "n"}],
}


def built(rows: list[dict[str, Any]], *words: str) -> Sets:
    """Build rows through the command line, and read the sets in their order."""
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = ["build", "--source", "files", "--path", "rows.jsonl", "--test-fraction", "0", "--out", "out"]
    result = CliRunner().invoke(app, [*command, *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    sets = [row for file in sorted(Path("out/data").iterdir()) for row in pq.read_table(file).to_pylist()]
    return [
        (
            [(turn["role"], turn["content"]) for turn in row["prompt"]],
            [(each["text"], each["rank"], each["score"]) for each in row["completions"]],
        )
        for row in sets
    ]


def user(text: str) -> list[tuple[str, str]]:
    return [("user", text)]


CHOICE = [("c", 1, None), ("r", 2, None)]
CASES: dict[str, tuple[list[dict[str, Any]], list[str], Sets]] = {
    "columns": (
        [{"question": "p", "good": "c", "bad": "r"}],
        ["--map", "prompt=question, chosen=good,rejected=bad"],
        [(user("p"), CHOICE)],
    ),
    "paths": (
        [OPENED],
        ["--map", "prompt=input.messages,chosen=completions[0].text,rejected=completions[-1].text"],
        [(user("p"), CHOICE)],
    ),
    "paths to every item": (
        [OPENED],
        ["--map", "prompt=input.messages,completions=completions[].text,rank_by_order=true"],
        [(user("p"), CHOICE)],
    ),
    "constant with a comma": (
        [PAIR],
        ["--map", 'system="Be brief, please."'],
        [([("system", "Be brief, please."), *user("p")], CHOICE)],
    ),
    "constant in single quotes, between columns": (
        [PAIR],
        ["--map", "prompt=prompt,system='a=b, {c}',chosen=rejected,rejected=chosen"],
        [([("system", "a=b, {c}"), *user("p")], [("r", 1, None), ("c", 2, None)])],
    ),
    "winner": (
        [{"prompt": "p", "a": "r", "b": "c", "best": "b"}, {"prompt": "q", "a": "c", "b": "r", "best": "a"}],
        ["--map", "prompt=prompt,completions=a+b,winner=best"],
        [(user("p"), CHOICE), (user("q"), CHOICE)],
    ),
    "group": (
        [
            {"prompt": "p", "text": "c", "stars": 5, "page": 1},
            {"prompt": "p", "text": "other", "stars": 4, "page": 2},
            {"prompt": "p", "text": "r", "stars": 2, "page": 1},
            {"prompt": "p", "text": "worst", "stars": 1, "page": 2},
        ],
        ["--map", "prompt=prompt,completion=text,score=stars,group=page"],
        [
            (user("p"), [("c", 1, 5.0), ("r", 2, 2.0)]),
            (user("p"), [("other", 1, 4.0), ("worst", 2, 1.0)]),
        ],
    ),
    "ranks by order": (
        [{"prompt": "p", "texts": ["c", "r", "z"]}],
        ["--map", "prompt=prompt,completions=texts,rank_by_order=true"],
        [(user("p"), [*CHOICE, ("z", 3, None)])],
    ),
    "layout with a column of another name": (
        [{"frage": "p", "completions": ["c", "r"], "scores": [1, 0], "chosen": "no", "rejected": "no"}],
        ["--layout", "sets", "--map", "prompt=frage"],
        [(user("p"), [("c", 1, 1.0), ("r", 2, 0.0)])],
    ),
    "layout over the recognized one": (
        [{**PAIR, "completions": ["x", "y"], "ranks": [2, 1]}],
        ["--layout", "sets"],
        [(user("p"), [("y", 1, None), ("x", 2, None)])],
    ),
    "column whose name has an apostrophe": (
        [{"prompt": "p", "Bob's answer": "c", "Al's, answer": "x", "bad": "r"}],
        ["--map", "prompt=prompt,chosen=Bob's answer,rejected=bad"],
        [(user("p"), CHOICE)],
    ),
    "field of a recipe": (
        [{"question": "p", "good": "c", "bad": "r"}],
        ["source.map.prompt=question", "--source.map.chosen=good", "source.map.rejected=bad"],
        [(user("p"), CHOICE)],
    ),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.default("layout over the recognized one", "ranks by order", "group", "paths", "winner")
@pytest.mark.parametrize("name", CASES)
def test_a_build_reads_what_the_map_names(name: str) -> None:
    rows, words, expected = CASES[name]
    assert built(rows, *words) == expected


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("roles={Human: user, Bot: assistant}", {"roles": {"Human": "user", "Bot": "assistant"}}),
        (
            "roles={Human: user, Bot: assistant},messages=turns",
            {"roles": {"Human": "user", "Bot": "assistant"}, "messages": "turns"},
        ),
        ("rank_by_order=true,completions=o", {"rank_by_order": True, "completions": "o"}),
        ("rank_by_order=false", {"rank_by_order": False}),
        ('system="it\'s, {so}"', {"system": '"it\'s, {so}"'}),
        ("prompt=a=b", {"prompt": "a=b"}),
        (" prompt = my column , chosen=c", {"prompt": "my column", "chosen": "c"}),
        ("prompt=a+b,completions=x[0].y+x[1].y", {"prompt": "a+b", "completions": "x[0].y+x[1].y"}),
        (None, None),
    ],
)
def test_a_map_is_parsed(text: str | None, fields: dict[str, Any] | None) -> None:
    assert mapping(text) == fields


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prompt", "write field=column,field=column"),
        ("prompt=,chosen=c", "write field=column,field=column"),
        ("=p", "write field=column,field=column"),
        ("prompt=p,", "write field=column,field=column"),
        ("", "write field=column,field=column"),
        ("prompt=p,prompt=q", "prompt occurs twice"),
        ('system="Be brief', '" is missing at the end of a value'),
        ("roles={Human: user", "} is missing at the end of a value"),
        ('system="Be" brief', "nothing can follow a text in quotes"),
        ("roles={Human: user]}", "write a mapping, as in 'roles={Human: user}'"),
    ],
)
def test_a_broken_map_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=re.escape(problem)):
        mapping(text)


def test_a_field_of_a_recipe_may_name_roles() -> None:
    rows = [{"turns": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}]}]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["build", "--source", "files", "--path", "rows.jsonl", "--dry-run", "source.map.roles.Human=user"]
    shown = CliRunner().invoke(app, [*words, "--map", "messages=turns"], catch_exceptions=False).stdout
    assert "  roles    = {Human: user}\n" in shown
    assert "  messages = turns\n" in shown


def test_a_layout_that_rows_do_not_have_is_refused() -> None:
    with pytest.raises(PairkitError, match="not of layout 'sets', which needs completions"):
        built([PAIR], "--layout", "sets")
    assert not Path("out").exists()
