"""A build that generates: what the sets hold, that counts add up, that nothing is asked twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.grids import some
from support.published import hashes
from support.tiny import save_model

from pairkit.engines.base import Call
from pairkit.engines.transformers import TransformersEngine
from pairkit.errors import ExistingOutputError, Interrupted, ModelError
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe, load
from pairkit.schema import SETS, check_sets

PROBLEMS = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("runs") / "tiny", seed=0)


def recipe(model: Path, **fields: Any) -> BuildRecipe:
    content = {
        "source": {"name": "arithmetic", "limit": PROBLEMS},
        "generate": {
            "model": str(model),
            "samples": [{"n": 2, "temperature": 0.6}, {"n": 2, "temperature": 1.0}],
            "max_tokens": 5,
        },
        "rank": {"ranker": "verifier", "check": "support.verifiers:low_digits"},
        "mine": {"rejected": "policy", "noise": {"token_swap": {"tokenizer": str(model)}}},
        "unit_rows": 20,
        "test_fraction": 0.2,
    }
    return load(None, content, fields)


def rows(out: Path, split: str) -> pa.Table:
    return ds.dataset(sorted((out / "data").glob(f"{split}-*.parquet"))).to_table()


@pytest.fixture(scope="module")
def built(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    build(recipe(model), out)
    return out


def test_sets_hold_ranked_completions_of_the_model_and_noise(built: Path) -> None:
    table = pa.concat_tables([rows(built, split) for split in ("train", "test")])
    assert table.schema.equals(SETS)
    check_sets(table)
    for row in table.to_pylist():
        generated = [one for one in row["completions"] if one["origin"] == "generated"]
        noise = [one for one in row["completions"] if one["origin"] == "noise"]
        assert row["completions"] == generated + noise
        assert generated[0]["rank"] == 1
        assert generated[0]["score"] == 1.0  # a set whose best is wrong would be none
        assert {one["score"] for one in generated} == {0.0, 1.0}
        assert {one["sampling"]["temperature"] for one in generated} <= {0.6, 1.0}
        assert {one["model"] for one in generated} == {"/".join(built_model_name(built))}
        assert len({one["text"] for one in row["completions"]}) == len(row["completions"])
        assert all(one["rank"] is one["score"] is None for one in noise)


def built_model_name(built: Path) -> tuple[str, str]:
    parent, name = json.loads((built / "pairkit.json").read_text())["recipe"]["generate"]["model"].split("/")
    assert name == "tiny"
    return parent, name


def test_counts_of_all_stages_add_up(built: Path) -> None:
    counts = json.loads((built / "pairkit.json").read_text())["counts"]
    quarantine = pq.read_table(built / "quarantine.parquet")
    assert counts["source"]["rows"] == PROBLEMS
    assert counts["generate"]["completions"] == 4 * PROBLEMS == counts["rank"]["checked"]
    assert counts["generate"]["stop"] + counts["generate"]["length"] == 4 * PROBLEMS
    assert 0 < counts["rank"]["right"] < 4 * PROBLEMS
    assert counts["mine"]["quarantined_no_choice"] > 0
    assert set(quarantine["stage"].to_pylist()) == {"mine"}
    assert counts["mine"]["sets_out"] + quarantine.num_rows == PROBLEMS
    card = (built / "README.md").read_text()
    assert f"| generate | completions | {4 * PROBLEMS} |" in card
    assert f"| rank | right | {counts['rank']['right']} |" in card
    assert "generate.model=DIR_OF_THE_MODEL" in card


def test_what_cannot_be_generated_or_verified_is_in_quarantine(model: Path, tmp_path: Path) -> None:
    """The model has room for 32 tokens: 26 to generate leave six, too few for BOS and `37+45=`."""
    source = tmp_path / "sums.jsonl"
    lines = [{"prompt": f"{a}+{b}=", "result": "1"} for a in (3, 33) for b in range(10, 30)]
    lines += [{"prompt": f"{a}+3="} for a in range(5)]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest = build(
        recipe(
            model,
            source={"name": "files", "path": str(source), "limit": None},
            generate={"max_tokens": 26},
            rank={"check": "number", "answer": "result"},
            mine={"require_choice": False},
        ),
        tmp_path / "out",
    )
    counts = manifest["counts"]
    assert counts["generate"]["quarantined_too_long"] == 20
    assert counts["rank"]["quarantined_no_answer"] == 5
    assert counts["mine"]["sets_in"] == 20
    quarantine = pq.read_table(tmp_path / "out" / "quarantine.parquet")
    stages = quarantine["stage"].to_pylist()
    assert (stages.count("generate"), stages.count("rank")) == (20, 5)
    assert counts["mine"]["sets_out"] + quarantine.num_rows == len(lines)


@pytest.mark.full
@pytest.mark.parametrize(("fields", "workers"), [({"shard_mb": 0.002}, 1), ({}, 4)])
def test_rows_do_not_depend_on_shards_or_workers(
    fields: dict[str, Any], workers: int, model: Path, built: Path, tmp_path: Path
) -> None:
    build(recipe(model, **fields), tmp_path / "out", workers=workers)
    assert len(list((tmp_path / "out" / "data").glob("train-*"))) > (2 if fields else 0)
    for split in ("train", "test"):
        assert rows(tmp_path / "out", split).equals(rows(built, split))


@pytest.mark.full
def test_another_seed_gives_other_completions(model: Path, built: Path, tmp_path: Path) -> None:
    build(recipe(model, seed=1), tmp_path / "out")
    assert not rows(tmp_path / "out", "train").equals(rows(built, "train"))


class Interrupting:
    """Counts the requests that a model is asked; the batch number `stop` is interrupted."""

    def __init__(self, stop: int | None) -> None:
        self.real, self.stop, self.batches, self.asked = TransformersEngine.submit, stop, 0, 0

    def __call__(self, engine: TransformersEngine, number: int, call: Call) -> None:
        if self.batches == self.stop:
            raise KeyboardInterrupt
        self.batches += 1
        self.asked += len(call.requests)
        self.real(engine, number, call)


@pytest.mark.parametrize("shard_mb", some(lambda size: size < 1, [256, 0.002]))
def test_a_stopped_build_asks_for_nothing_twice(
    shard_mb: float, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(recipe(model, shard_mb=shard_mb), tmp_path / "other" / "whole")  # with another cache of calls
    asked = 0
    for stop in (2, 0, None):
        spy = Interrupting(stop)
        with monkeypatch.context() as patch:
            patch.setattr(TransformersEngine, "submit", lambda *given, spy=spy: spy(*given))
            if stop is None:
                build(recipe(model, shard_mb=shard_mb), tmp_path / "out")
            else:
                with pytest.raises(Interrupted, match="kept"):
                    build(recipe(model, shard_mb=shard_mb), tmp_path / "out")
        asked += spy.asked
    assert asked == PROBLEMS
    assert hashes(tmp_path / "out") == hashes(tmp_path / "other" / "whole")
    assert not (tmp_path / "out" / ".build").exists()


def test_a_model_that_cannot_be_loaded_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        build(recipe(tmp_path / "nowhere"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.full
def test_a_model_with_other_weights_is_another_build(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", seed=0)
    build(recipe(model), tmp_path / "out")
    save_model(model, seed=1)
    with pytest.raises(ExistingOutputError, match="the model has other files"):
        build(recipe(model), tmp_path / "out")


def test_nothing_of_this_machine_is_published(built: Path, model: Path) -> None:
    for name in ("pairkit.json", "README.md"):
        assert str(model.parent.parent) not in (built / name).read_text()


@pytest.mark.full
def test_demonstrations_are_built_without_torch(tmp_path: Path) -> None:
    """`pairkit build --source arithmetic`: one completion a prompt, no choice asked for, no model loaded."""
    code = (
        "import sys; from pathlib import Path; from pairkit.pipeline.recipe import load; "
        "from pairkit.pipeline.build import build; "
        "recipe = load(None, {'source': {'name': 'arithmetic'}}, {'mine': {'require_choice': False}}); "
        f"print(build(recipe, Path({str(tmp_path / 'out')!r}))['counts']['mine']['sets_out']); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "2700"), done.stderr
