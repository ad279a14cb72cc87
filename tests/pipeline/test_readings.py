"""How files are read, in the plan, the log, the summary and the manifest of a build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import raw

from pairkit.pipeline import describe, readings
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe, load

RATED = {"prompt": "p", "helpfulness": 4, "correctness": 4, "coherence": 4, "complexity": 1, "verbosity": 1}
READ_AS = "read as helpsteer2: one response per row with its ratings, grouped by prompt"
UNREAD = "not read (kept as metadata): domain (100 %), note (3 %)"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rated(path: Path, *, rows: int = 100) -> Path:
    """Write rows in HelpSteer2's form with two more columns: one of all rows, one of 3 of 100."""
    return write(
        path,
        [
            {
                **RATED,
                "prompt": f"p{number // 2}",
                "response": "good" if number % 2 else "bad",
                "helpfulness": number % 2,
                "domain": "d",
                "note": "n" if number < rows * 0.03 else None,
            }
            for number in range(rows)
        ],
    )


def recipe(path: Path, **fields: Any) -> BuildRecipe:
    return load(None, {"source": {"name": "files", "path": str(path)} | fields, "test_fraction": 0}, {})


def test_layout_and_unread_columns_are_in_plan_log_summary_and_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, out = recipe(rated(tmp_path / "rows.jsonl")), tmp_path / "out"
    plan = describe.plan(made, out)
    assert f"\n{READ_AS}\n" in plan
    assert "\n  completion = response\n  score      = helpfulness\n" in plan
    assert f"\n{UNREAD}\n" in plan
    manifest = build(made, out)
    logged = capsys.readouterr().err
    assert f"{out}: {READ_AS}\n" in logged
    assert f"{out}: {UNREAD}\n" in logged
    assert f"\n  {READ_AS}\n  {UNREAD}\n" in describe.summary(manifest, out)
    (record,) = manifest["readings"]
    assert record["files"] == ["rows.jsonl"]
    assert record["layout"] == "helpsteer2"
    assert record["map"]["completion"] == "response"
    assert record["unread"] == {"domain": 1.0, "note": 0.03}
    assert json.loads((out / "pairkit.json").read_text())["readings"] == manifest["readings"]
    assert manifest["counts"]["train"]["pairs"] == 50


def test_files_that_are_read_alike_are_one_line(tmp_path: Path) -> None:
    for name, rows in (("a", 100), ("b", 10), ("c", 20)):
        rated(tmp_path / "in" / f"{name}.jsonl", rows=rows)
    pairs = [{"prompt": "p", "chosen": "c", "rejected": "r", "why": 1}]
    write(tmp_path / "in" / "d.jsonl", pairs)
    plan = describe.plan(recipe(tmp_path / "in"), tmp_path / "out")
    assert plan.count("read as ") == 2
    assert f"\na.jsonl and 2 more: {READ_AS}\n" in plan
    # The largest share of the three: 1 of 10 rows.
    assert "\na.jsonl and 2 more: not read (kept as metadata): domain (100 %), note (10 %)\n" in plan
    assert "\nd.jsonl: read as pairs: a chosen and a rejected reply per row\n" in plan
    assert "\nd.jsonl: not read (kept as metadata): why (100 %)\n" in plan


def test_parts_and_what_is_not_kept_have_lines_of_their_own(tmp_path: Path) -> None:
    rows = [{"data": {"q": "p", "by": "m"}, "chosen": "c", "rejected": "r"}]
    mapped = {"prompt": "data.q", "chosen": "chosen", "rejected": "rejected"}
    plan = describe.plan(recipe(write(tmp_path / "rows.jsonl", rows), map=mapped), tmp_path / "out")
    assert "not read of columns that are read in part (kept as metadata): data.by\n" in plan
    rows = [{"prompt": "p", "chosen": "c", "rejected": "r", "messages": [{"role": "user", "content": "p"}]}]
    plan = describe.plan(recipe(write(tmp_path / "rows.jsonl", rows)), tmp_path / "out")
    assert "not read and not kept: messages (100 %)\n" in plan


def test_named_sources_say_nothing_of_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = {"name": "ultrafeedback", "path": str(raw.ultrafeedback(tmp_path / "u.jsonl", 40))}
    made = load(None, {"source": source}, {})
    manifest = build(made, tmp_path / "out")
    assert "readings" not in manifest
    shown = describe.plan(made, tmp_path / "out") + describe.summary(manifest, tmp_path / "out")
    assert "read as" not in shown + capsys.readouterr().err


def test_a_finished_build_is_recognized_with_its_readings(tmp_path: Path) -> None:
    made = recipe(rated(tmp_path / "rows.jsonl"))
    assert build(made, tmp_path / "out") == build(made, tmp_path / "out")


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0"), (1e-9, "<1"), (0.0099, "<1"), (0.034, "3"), (0.5, "50"), (0.9901, ">99"), (1, "100")],
)
def test_a_share_is_never_rounded_to_nothing_or_all(share: float, text: str) -> None:
    assert readings.percent(share) == text


def test_names_of_columns_are_escaped() -> None:
    assert readings.shares({"\x1b[2Jname\n": 1.0}) == "\\x1b[2Jname\\n (100 %)"
