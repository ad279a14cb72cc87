"""Rankers that pairkit has trained: measured as their runs measured them, and ranking a build."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from support import pairrm_model, pairrm_training, reward_models
from support.judges import ScriptedJudge, fair
from support.labeled import jsonl
from support.tiny import write_data
from support.training import recipe as policy_recipe
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.training.output.entries import read_metrics
from pairkit.training.run import train

Command = Callable[..., str]
Tables = Callable[[str], dict[str, dict[str, Any]]]
RUNS = {"pairrm": "runs/pairs", "reward_model": "runs/reward"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, and a PairRM and a reward model trained on it for some steps."""
    folder = tmp_path_factory.mktemp("trained")
    held_out = pairrm_training.red_sets(60, seed=1)
    # Of two, because the scores of PairRM in a larger set are means over its pairs.
    held_out = held_out.filter(pc.equal(pc.list_value_length(held_out["completions"]), 2))
    data = write_data(folder / "red", pairrm_training.red_sets(30), held_out)
    encoder = pairrm_model.save(folder / "encoder", "PairRM-hf")
    train(pairrm_training.recipe(data, encoder, max_steps=6), folder / RUNS["pairrm"])
    start = reward_models.save(folder / "start", "causal")
    fields = {"sets_per_step": 8, "max_steps": 6, "trackers": [], "max_length": 256}
    train(policy_recipe(data, start, "reward_bt", **fields), folder / RUNS["reward_model"])
    return folder


@pytest.mark.full
def test_rankers_are_measured_as_their_runs_measured_them(
    trained: Path, command: Command, table: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one table with a judge, who prefers the longer completion, annotations and length."""
    engine = ScriptedJudge(fair(len))
    monkeypatch.setattr("pairkit.engines.pool.open_engine", lambda recipe, calls, name, account: engine)
    words = [word for kind, run in RUNS.items() for word in ("--ranker", f"{kind}={trained / run / 'model'}")]
    others = ["--ranker", "judge=J", "--ranker", "annotations", "--ranker", "length"]
    command(str(trained / "red"), *words, *others, "--out", "o")
    found = table("o")
    assert list(found) == ["pairrm", "reward_model", "judge", "annotations", "length"]
    assert engine.asked
    assert found["judge"]["metrics"] == found["length"]["metrics"]
    for kind, run in RUNS.items():
        (over_pairs,) = (
            each for each in found[kind]["metrics"] if each["name"] == "pairwise_accuracy_over_pairs"
        )
        last = read_metrics(trained / run, "eval")[-1]["reward_accuracy"]
        assert over_pairs["value"] == pytest.approx(100 * last)
        ece = next(each for each in found[kind]["metrics"] if each["name"] == "ece")
        assert 0 <= ece["low"] <= ece["value"] <= ece["high"] <= 1
    assert found["annotations"]["metrics"][0]["value"] == 100


@pytest.mark.parametrize("kind", RUNS)
def test_a_build_is_ranked_by_it_and_its_card_names_it(
    kind: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = ["red red cat", "the cat", "red dog", "a dog sat"]
    jsonl(Path("own.jsonl"), *({"prompt": f"Question {n}?", "completions": texts} for n in range(6)))
    words = ["build", "--source", "files", "--path", "own.jsonl", "--out", "made", f"rank.ranker={kind}"]
    result = CliRunner().invoke(app, [*words, f"rank.model={trained / RUNS[kind] / 'model'}"])
    assert result.exit_code == 0, (result.output, result.exception)
    name = f"{Path(RUNS[kind]).name}/model"
    card = Path("made/README.md").read_text()
    assert name in card
    assert str(trained) not in card
    manifest = json.loads(Path("made/pairkit.json").read_text())
    assert manifest["recipe"]["rank"]["model"] == name
    assert manifest["recipe"]["rank"]["ranker"] == kind
    lines = [line for line in card.splitlines() if name in line]
    assert any(kind in line for line in lines), lines
