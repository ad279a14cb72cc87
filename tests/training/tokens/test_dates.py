"""Templates that write today's date: a run that resumes another day goes on with the tokens that it has."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.training import recipe

from pairkit.training.plan import Plan, plan
from pairkit.training.tokens.store import TokenStore

TEMPLATE = "{{ strftime_now('%Y-%m-%d') }}{% for m in messages %}[{{ m['content'] }}]{% endfor %}"


def planned(folder: Path, data: Path, model: Path, day: int, monkeypatch: pytest.MonkeyPatch) -> Plan:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime(2026, 1, day, tzinfo=tz)

    file = folder / "dated.jinja"
    file.write_text(TEMPLATE, encoding="utf-8")
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Clock)
    return plan(recipe(data, model, template={"file": str(file)}), TokenStore(folder / "tokens"))


def test_stored_tokens_keep_their_day(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(day: int) -> str:
        found = planned(tmp_path, data, model, day, monkeypatch)
        assert any("today's date" in note for note in found.notes)
        text = found.tokenizer.decode(found.train.sets[0].prompt).replace(" ", "")
        return str(text[text.index("2026") :][:10])

    assert [first(1), first(2)] == ["2026-01-01", "2026-01-01"]
    for path in (tmp_path / "tokens").iterdir():
        path.unlink()
    assert first(2) == "2026-01-02"
