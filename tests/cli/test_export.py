"""`pairkit export` as it is typed: its help, its output, its errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.tiny import candidate_sets, completion, random_sets, write_data
from typer.testing import CliRunner

from pairkit.cli import app, main
from pairkit.dataset.formats import FORMATS


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(words: str) -> str:
    result = CliRunner().invoke(app, ["export", *words.split()], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_help_lists_every_format():
    text = typed("--help")
    for name, made in FORMATS.items():
        assert f"\n    {name:<10} {made.consumer}\n" in text


def test_help_is_aligned_as_that_of_other_commands():
    text = typed("--help").partition("Arguments:")[0]
    assert "\n  The formats, and what reads them:\n" in text
    assert "\n  Examples:\n\n    pairkit export " in text
    indents = {len(line) - len(line.lstrip()) for line in text.splitlines()[1:] if line}
    assert indents == {2, 4}


def test_help_tells_that_nectar_has_unranked_completions():
    assert "rank is null if unranked" in typed("--help")


def test_default_file_and_counts(here: Path):
    write_data(here / "runs/data/mine", random_sets(3), random_sets(1))
    assert typed("runs/data/mine --as trl") == (
        "3 sets in, 3 rows out; sets left out: none\nruns/export/mine-trl/train.parquet\n"
    )
    assert typed("runs/data/mine --as sharegpt --split test") == (
        "1 sets in, 1 rows out; sets left out: none\nruns/export/mine-sharegpt-test/test.jsonl\n"
    )
    assert typed("runs/data/mine --as openai --out my.jsonl --limit 2 --rejected all").endswith("my.jsonl\n")
    lines = (here / "my.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["input"]["messages"][0]["role"] == "user"
    assert typed("runs/data/mine --as nectar --dry-run").endswith("nothing was written (--dry-run)\n")
    assert sorted(path.name for path in (here / "runs/export").iterdir()) == [
        "mine-sharegpt-test",
        "mine-trl",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("data --as openia", "unknown format 'openia'; did you mean 'openai'? Known: binarized, nectar, "),
        ("data --as trl --out x.jsonl", "--out x.jsonl: the format trl is written as *.parquet"),
        ("data --as trl --split dev", "data: no split 'dev'; it has: test, train"),
        (
            "data --as trl --split test",
            "data: no set of the split 'test' makes a row of the format trl; sets ",
        ),
        (
            "data --as trl --out a.csv",
            "--out a.csv: the format trl is written as *.parquet; give such a file",
        ),
        ("data --as trl --out mine.parquet", "mine.parquet exists and was not written by `pairkit export`, "),
        ("data --as trl --out mine.parquet --dry-run", "mine.parquet exists and was not written by "),
        ("data", "--as is missing; choose a format: nectar, binarized, "),
        ("whole", "whole: is a whole model, which transformers, vLLM and pairkit load as it is; export the "),
        ("whole --as model", "whole: is a whole model, which transformers, vLLM and pairkit load as it is"),
        ("whole --dtype float32", "whole: is a whole model, which transformers, vLLM and pairkit load as it"),
        (
            "data --as trl --out data",
            "data is not empty and was not created by this command",
        ),
    ],
)
def test_errors_are_one_line(
    here: Path, words: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    tie = candidate_sets([("tie", [completion("a", 1), completion("b", 1)])])
    write_data(here / "data", random_sets(2), tie)
    (here / "mine.parquet").write_text("mine")
    (here / "whole").mkdir()
    (here / "whole" / "config.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["pairkit", "export", *words.split()])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code in (1, 2)
    # The lines of progress come before the error of a split that was read whole.
    line, *progress = reversed(capsys.readouterr().err.splitlines())
    assert all(each.startswith("exporting data") for each in progress), progress
    assert line.startswith(f"error: {message}")
    assert not (here / "runs").exists()
