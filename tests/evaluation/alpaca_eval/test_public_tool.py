"""pairkit's files and scores against the public tool itself, which has an environment of its own.

See .ci/alpaca_eval. It scores what pairkit wrote: answers and verdicts of models whose rows are all there.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.alpaca import annotations
from typer.testing import CliRunner

from pairkit.cli import app

pytestmark = pytest.mark.alpaca_eval

SCRIPT = Path(__file__).parents[2] / "support" / "alpaca_public.py"
MODELS = ["claude-2.1", "FuseChat-Gemma-2-9B-Instruct", "alpaca-7b", "gemma-2b-it"]


@pytest.fixture(scope="module")
def both(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """By model: results.json of pairkit, and what the public tool says of the files next to it."""
    python = os.environ.get("PAIRKIT_ALPACA_EVAL_PYTHON")
    if not python:
        pytest.fail(
            "PAIRKIT_ALPACA_EVAL_PYTHON does not name the Python of alpaca-eval's environment: run "
            ".ci/alpaca_eval"
        )
    folder = tmp_path_factory.mktemp("public")
    packed = real_data / "alpaca_eval2_df_gamed_rebuilt.csv.gz"
    (folder / "df_gamed.csv").write_bytes(gzip.decompress(packed.read_bytes()))
    outs = [folder / str(place) for place in range(len(MODELS))]
    for model, out in zip(MODELS, outs, strict=True):
        rows = annotations(real_data).filter(pl.col("result_dir") == model)
        rows.drop("example_idx", "result_dir").write_json(folder / "verdicts.json")
        words = ["--annotations", str(folder / "verdicts.json"), "--gamed", str(packed), "--out", str(out)]
        result = CliRunner().invoke(app, ["eval", "alpaca_eval", "--name", model, *words])
        assert result.exit_code == 0, result.output
    done = subprocess.run(
        [python, "-W", "ignore", str(SCRIPT), str(folder / "df_gamed.csv"), *map(str, outs)],
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"scores"')]
    ours = [json.loads((out / "results.json").read_text()) for out in outs]
    return dict(zip(MODELS, zip(ours, lines, strict=True), strict=True))


@pytest.mark.parametrize("model", MODELS)
def test_win_rates_are_the_same(both: dict[str, tuple[Any, Any]], model: str) -> None:
    ours, theirs = both[model]
    names = ("win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total", "discrete_win_rate")
    for name in names:
        assert ours["as_published"][name] == pytest.approx(theirs["scores"][name], abs=1e-9), name


@pytest.mark.parametrize("model", MODELS)
def test_length_control_differs_by_the_penalty_alone(both: dict[str, tuple[Any, Any]], model: str) -> None:
    """It chooses the penalty by folds; ours is fixed between those that it chooses."""
    ours, theirs = both[model]
    found, scores = ours["as_published"], theirs["scores"]
    assert found["length_controlled_winrate"] == pytest.approx(scores["length_controlled_winrate"], abs=0.16)
    assert found["lc_se_as_published"] == pytest.approx(scores["lc_standard_error"], rel=0.02)


@pytest.mark.parametrize("model", MODELS)
def test_the_answers_load(both: dict[str, tuple[Any, Any]], real_data: Path, model: str) -> None:
    _, theirs = both[model]
    rows = annotations(real_data).filter(pl.col("result_dir") == model)
    assert [row["output"] for row in theirs["outputs"]] == rows["output_2"].to_list()
    assert {row["generator"] for row in theirs["outputs"]} == {model}
