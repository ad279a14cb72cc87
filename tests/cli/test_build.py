"""`pairkit build` as typed: flags over recipe, overrides over flags, what it prints, what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.raw import ultrafeedback
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.errors import PairkitError, RecipeError


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return ultrafeedback(tmp_path / "u.jsonl", 60)


def run(*words: object) -> str:
    result = CliRunner().invoke(app, ["build", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def resolved(*words: object) -> dict[str, Any]:
    """Return the recipe that `--dry-run` prints."""
    recipe = re.split(r"^input \(", run(*words, "--dry-run"), flags=re.M)[0]
    return yaml.safe_load(recipe)


def test_a_build_prints_its_counts_and_the_next_command(source: Path) -> None:
    shown = run("--source", "ultrafeedback", "--path", source, "--rejected", "all")
    out = Path("runs/data/ultrafeedback")
    counts = json.loads((out / "pairkit.json").read_text())["counts"]
    assert f"{counts['train']['sets']} sets, {counts['train']['completions']} completions" in shown
    assert counts["train"]["pairs"] > counts["train"]["sets"]
    assert f"{counts['source']['quarantined_missing_prompt']} in quarantine: missing_prompt" in shown
    assert shown.splitlines()[-1] == f"next: pairkit train --loss mcpo --data {out}"


def test_dry_run_writes_nothing(source: Path) -> None:
    shown = run("--recipe", "ultrafeedback", "--path", source, "--out", "new/out", "--dry-run")
    assert "nothing was written" in shown
    assert f"{source} ({source.stat().st_size:,} bytes)" in shown
    assert sorted(path.name for path in source.parent.iterdir()) == [source.name]


def test_dry_run_imports_no_library_of_models(source: Path) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from pairkit.cli import app\n"
        "result = CliRunner().invoke(app, sys.argv[1:], catch_exceptions=False)\n"
        "print(result.exit_code, *sorted({'torch', 'transformers', 'datasets'} & sys.modules.keys()))"
    )
    words = ["build", "--recipe", "ultrafeedback", "--path", str(source), "--dry-run"]
    process = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["0"]


def test_flags_override_the_recipe_and_overrides_over_flags(source: Path) -> None:
    plain = resolved("--recipe", "nectar", "source.name=ultrafeedback", "--path", source)
    assert plain["mine"]["drop_ranks"] == [2]
    flags = ["--drop-ranks", "2,3", "--keep-negatives", 2, "--min-margin", 0.5, "--rejected", "worst"]
    more = ["--test-fraction", 0.2, "--seed", 7, "--limit", 9, "--score", "overall_score"]
    made = resolved(
        "--recipe", "nectar", "source.name=ultrafeedback", "--path", source, *flags, *more,
        "mine.keep_negatives=4", "--unit_rows", 10,
    )  # fmt: skip
    mine = made["mine"]
    assert (mine["drop_ranks"], mine["keep_negatives"], mine["min_margin"]) == ([2, 3], 4, 0.5)
    assert (mine["rejected"], made["test_fraction"], made["seed"]) == ("worst", 0.2, 7)
    assert (made["source"]["limit"], made["source"]["score"], made["unit_rows"]) == (9, "overall_score", 10)


def test_a_source_may_be_given_by_its_name_alone(source: Path) -> None:
    Path("r.yaml").write_text("source: nectar\n")
    assert resolved("--recipe", "r.yaml", "--path", source, "source=ultrafeedback")["source"]["path"] == str(
        source
    )
    assert resolved("source=ultrafeedback", "--path", source)["source"]["name"] == "ultrafeedback"


def test_a_train_split_without_pairs_is_reported(source: Path) -> None:
    Path("one.jsonl").write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n')
    shown = run("--source", "files", "--path", "one.jsonl", "--test-fraction", 0.9999)
    assert shown.splitlines()[-1].startswith("all pairs are in the split test: ")


def test_noise_flags_become_blocks_of_the_recipe(source: Path) -> None:
    noise = ["--noise", "word_swap=2", "--noise", "truncate", "--noise", "label_flip=0.1"]
    swap = ["--noise", "token_swap=3", "--noise-tokenizer", "some/model"]
    made = resolved("--source", "ultrafeedback", "--path", source, *noise, *swap)["mine"]["noise"]
    assert made["word_swap"] == {"swaps": 2, "count": 1}
    assert made["truncate"] == {"count": 1}
    assert made["label_flip"] == {"rate": 0.1}
    assert made["token_swap"]["tokenizer"] == "some/model"
    assert made["token_swap"]["swaps"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sourc", "nectar"], "unknown option '--sourc'; did you mean '--source'?"),
        (["sourc=nectar"], "unknown recipe key 'sourc'; did you mean 'source'?"),
        (["--source", "nectra"], "unknown source 'nectra'; did you mean 'nectar'?"),
        (["--recipe", "nectr"], "unknown recipe 'nectr'; did you mean 'nectar'?"),
        (["--recipe", "gone.yaml"], "gone.yaml: no such recipe file"),
        (["--source", "nectar", "--rejected", "best"], "recipe key 'mine.rejected'"),
        (["--source", "nectar", "--drop-ranks", "two"], "--drop-ranks 'two': write 2 or 2,3"),
        (["--source", "nectar", "--noise", "label_flip"], "label_flip=0.1"),
        (["--source", "nectar", "--noise", "wordswap"], "unknown recipe key 'mine.noise.wordswap'"),
        (["--source", "nectar", "--map", "prompt"], "write field=column"),
        (["--source", "nectar", "--test-fraction", "1"], "less than 1"),
        (["--source", "nectar", "--path", "gone.jsonl"], "gone.jsonl"),
        ([], "nothing to build from"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, source: Path) -> None:
    with pytest.raises(PairkitError, match=re.escape(message)) as caught:
        run(*words)
    assert "\n" not in str(caught.value)
    assert not Path("runs").exists()


def test_a_recipe_file_with_an_unknown_key_is_refused(source: Path) -> None:
    Path("r.yaml").write_text("source: {name: nectar}\nmine: {keep_negativ: 1}\n")
    with pytest.raises(RecipeError, match=r"'mine\.keep_negativ'; did you mean 'mine\.keep_negatives'"):
        run("--recipe", "r.yaml")
