"""The report page of a judge: its measures, and the pairs in which it contradicts people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.judges import ScriptedJudge, fair
from support.labeled import jsonl, row
from support.parsed_page import EVIL, Page
from typer.testing import CliRunner

from pairkit.cli import app


def written(folder: Path, mark: str) -> Page:
    """The page of a judge that prefers the longer text; people prefer the shorter in 4 of 12 pairs."""
    texts = {"first": f"{mark} long enough", "second": mark}
    rows = [row(2 if number < 4 else 1, prompt=f"{mark} {number}?", **texts) for number in range(12)]
    data = jsonl(folder / "own.jsonl", *rows)
    out = folder / "out"
    done = CliRunner().invoke(app, ["eval", "judge", "--data", str(data), "--model", "m", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert json.loads((out / "results.json").read_text())["pairs_judged"] == 12
    return Page((out / "report.html").read_text())


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedJudge(fair(len))
    monkeypatch.setattr("pairkit.evaluation.judge.run.open_engine", lambda recipe, calls: engine)


def test_the_page_shows_agreement_and_contradictions(tmp_path: Path) -> None:
    texts = written(tmp_path, "plain").text
    shown = "".join(texts)
    assert "0.667 [" in shown  # 8 of 12
    assert texts.count("people: the second is better; judge: the first is better") == 4
    contradicted = texts[texts.index("Judge against people") :]
    assert [text for text in contradicted if text.startswith("plain") and text.endswith("?")] == [
        f"plain {number}?" for number in range(4)
    ]
    assert shown.count("the judge's words, shown in the order first, second: first") == 4
    assert shown.count("the judge's words, shown in the order second, first: first") == 4


@pytest.mark.full
def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    for name in ("plain", "evil"):
        (tmp_path / name).mkdir()
    plain, evil = written(tmp_path / "plain", "p" * len(EVIL)), written(tmp_path / "evil", EVIL)
    tags = [[tag for tag, _ in page.tags if tag in CONTENT] for page in (plain, evil)]
    assert tags[0] == tags[1]
    assert "".join(evil.text).count(EVIL) >= 4 * 3


CONTENT = {"section", "h2", "p", "div", "tr", "td", "th", "details", "summary", "span", "b", "script"}
