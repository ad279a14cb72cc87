"""The files of pairs: log-probs against transformers' own, counts of draws, and which sets are there."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from support.processes import perturbed
from support.segments import segments_of
from support.training import recipe
from transformers import AutoModelForCausalLM, AutoTokenizer

from pairkit.training.output.entries import read_metrics
from pairkit.training.plan import plan
from pairkit.training.record.drawn import Drawn
from pairkit.training.record.recording import report_sets
from pairkit.training.record.settings import Record
from pairkit.training.run import train
from pairkit.training.tokens.token_set import TokenSet

ALL = {"figures": True, "pairs": True}


def rows_of(out: Path, step: int) -> list[dict[str, Any]]:
    return pq.read_table(out / "pairs" / f"step-{step:06d}.parquet").to_pylist()


@pytest.fixture(scope="module")
def other(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference that differs from the model."""
    folder = tmp_path_factory.mktemp("reference") / "llama"
    perturbed(AutoModelForCausalLM.from_pretrained(model)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def recorded(data: Path, model: Path, other: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of 24 sets, with a draw under the policy; the reference runs at evaluations."""
    out = tmp_path_factory.mktemp("recorded") / "run"
    fields: dict[str, Any] = {"max_steps": 6, "eval_every": 3, "reference": str(other)}
    train(recipe(data, model, "mcpo", record={**ALL, "kl": True}, **fields), out)
    return out


def by_hand(model: Path, other: Path, item: TokenSet, column: int) -> tuple[float, float, float]:
    """Log-prob of a completion, the reference's, and the divergence, from whole logits in double."""
    ids = torch.tensor([[*item.prompt.tolist(), *item.columns[column].ids.tolist()]])
    start, values = len(item.prompt), []
    for folder in (model, other):
        network = AutoModelForCausalLM.from_pretrained(folder).double()
        with torch.no_grad():
            values.append(network(ids).logits[0].log_softmax(-1)[start - 1 : -1])
    policy, reference = values
    picked = [each.gather(1, ids[0, start:, None]).sum().item() for each in values]
    return picked[0], picked[1], float((reference.exp() * (reference - policy)).sum())


@pytest.mark.default("6")
@pytest.mark.parametrize("step", [0, 6])
def test_log_probs_are_those_of_the_model_and_the_reference(
    recorded: Path, data: Path, model: Path, other: Path, step: int
) -> None:
    """Before the first step, and after the last one against the saved model."""
    rows = rows_of(recorded, step)
    planned = plan(recipe(data, model, "mcpo"))
    assert planned.held_out is not None
    for split, sets in (("train", planned.train.sets), ("test", planned.held_out.sets)):
        item = sets[3]
        found = [row for row in rows if row["set_id"] == item.set_id]
        assert [row["column"] for row in found] == list(range(len(item.columns)))
        for row, column in zip(found, item.columns, strict=True):
            assert row["split"] == split
            assert (row["rank"], row["origin"], row["length"]) == (column.rank, column.origin, column.length)
            folder = recorded / "model" if step else model
            expected = by_hand(folder, other, item, row["column"])
            found_values = [row["logp"], row["ref_logp"], row["token_kl"]]
            assert found_values == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_all_sets_are_there_once_and_counts_add_up(recorded: Path, data: Path, model: Path) -> None:
    """Every draw of every step, as the metrics count them; none before the first step."""
    planned = plan(recipe(data, model, "mcpo"))
    assert planned.held_out is not None
    every = [*planned.train.sets, *planned.held_out.sets]
    for step, steps in ((0, 0), (3, 3), (6, 6)):
        rows = rows_of(recorded, step)
        keys = Counter((row["set_id"], row["column"]) for row in rows)
        assert set(keys.values()) == {1}
        assert sum(keys.values()) == sum(len(item.columns) for item in every)
        counts = [row["drawn"] for row in rows if row["split"] == "train"]
        assert sum(counts) == 8 * steps
        assert {row["drawn"] for row in rows if row["split"] == "test"} == {None}
        by_origin: Counter[str] = Counter()
        for row in rows:
            by_origin[row["origin"]] += row["drawn"] or 0
        logged = Counter[str]()
        for line in read_metrics(recorded, "train")[:steps]:
            logged.update({name[6:]: line[name] for name in line if name.startswith("drawn_")})
        assert +by_origin == +logged


def test_figures_of_an_evaluation_are_means_over_its_rows(recorded: Path) -> None:
    for line in read_metrics(recorded, "eval"):
        rows = [row for row in rows_of(recorded, line["step"]) if row["split"] == "test"]
        ratios = {(row["set_id"], row["column"]): row["logp"] - row["ref_logp"] for row in rows}
        chosen = [ratios[key] for key in ratios if key[1] == 0]
        margins = [ratios[key[0], 0] - ratio for key, ratio in ratios.items() if key[1]]
        divergences = [row["token_kl"] for row in rows if row["column"] == 0]
        assert line["chosen_log_ratio"] == pytest.approx(sum(chosen) / len(chosen), rel=1e-4)
        assert line["log_ratio_margin"] == pytest.approx(sum(margins) / len(margins), rel=1e-4)
        assert line["kl_chosen"] == pytest.approx(sum(divergences) / len(divergences), rel=1e-4)


def test_counts_are_of_the_completions_that_were_drawn(data: Path, model: Path, tmp_path: Path) -> None:
    """With `worst` the last of each set, once per step that takes the set; of the report's sets alone."""
    settings = recipe(
        data, model, "dpo", negatives={"sampling": "worst"}, max_steps=4, eval_every=2,
        record={"pairs": True, "report_sets": 10},
    )  # fmt: skip
    train(settings, tmp_path / "run")
    planned = plan(settings)
    sets = list(planned.train.sets)
    chosen = report_sets(settings.record, len(sets), 0)
    assert len(set(chosen)) == 10
    for step in (2, 4):
        taken = Counter(number for before in range(step) for number in planned.order.step_sets(before))
        expected = {
            (sets[number].set_id, column): taken[number] if column == len(sets[number].columns) - 1 else 0
            for number in chosen
            for column in range(len(sets[number].columns))
        }
        rows = [row for row in rows_of(tmp_path / "run", step) if row["split"] == "train"]
        assert {(row["set_id"], row["column"]): row["drawn"] for row in rows} == expected
    assert max(expected.values()) >= 1


def without_rates(out: Path, kind: str) -> Iterator[dict[str, Any]]:
    for line in read_metrics(out, kind):
        yield {name: value for name, value in line.items() if not name.endswith("per_second")}


@pytest.mark.full
def test_recording_changes_neither_weights_nor_other_metrics(data: Path, model: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"loss": "mcpo+alpha_dpo", "eval_every": 2, "save_every": 2}
    train(recipe(data, model, **fields), tmp_path / "plain" / "run")
    train(recipe(data, model, **fields, record=ALL), tmp_path / "recorded" / "run")
    plain, recorded = tmp_path / "plain" / "run", tmp_path / "recorded" / "run"
    assert (plain / "model" / "model.safetensors").read_bytes() == (
        recorded / "model" / "model.safetensors"
    ).read_bytes()
    for kind in ("train", "eval"):
        for one, other in zip(without_rates(plain, kind), without_rates(recorded, kind), strict=True):
            assert {name: other[name] for name in one} == one
            assert "contrastive_logit" in other.keys() - one.keys()
    assert "std_M" in read_metrics(recorded, "train")[-1]
    assert not (plain / "pairs").exists()
    state = torch.load(plain / "checkpoints" / "step-000002" / "state.pt", weights_only=True)
    assert state.keys() == {"optimizer", "loss", "skipped"}


@pytest.mark.full
def test_counts_that_began_later_are_not_known(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, fields = tmp_path / "run", {"save_every": 2, "eval_every": 2}
    train(recipe(data, model, **fields), out)
    shutil.rmtree(out / "model")
    shutil.rmtree(out / "checkpoints" / "step-000003", ignore_errors=True)
    train(recipe(data, model, **fields, record={"pairs": True}), out)
    assert "record.pairs: the run began without the counts of these sets" in capsys.readouterr().err
    assert [path.name for path in (out / "pairs").iterdir()] == ["step-000004.parquet"]
    assert {row["drawn"] for row in rows_of(out, 4)} == {None}


@pytest.mark.full
def test_a_segment_counts_from_its_own_start(data: Path, model: Path, tmp_path: Path) -> None:
    """It begins with the checkpoint of another segment, whose counts are of other sets."""
    for number, (out, segment) in enumerate(segments_of((2, 3), tmp_path)):
        train(recipe(data, model, "mcpo", record={"pairs": True}), out, segment=segment)
        first, last = segment.first, segment.end
        assert {path.name for path in (out / "pairs").iterdir()} == {
            f"step-{first:06d}.parquet", f"step-{last:06d}.parquet",
        }  # fmt: skip
        for step, draws in ((first, 0), (last, 8 * segment.steps)):
            counts = [row["drawn"] for row in rows_of(out, step) if row["split"] == "train"]
            assert sum(counts) == draws, number


def test_counts_belong_to_their_sets(data: Path, model: Path) -> None:
    sets = list(plan(recipe(data, model)).train.sets)
    one, same, another = Drawn(sets[:3]), Drawn(sets[:3]), Drawn(sets[1:4])
    one.add([Counter({(2, 1): 4}), Counter({(2, 1): 1, (0, 3): 2})])
    same.load_state_dict(one.state_dict())
    assert [same.of(number) for number in range(3)] == [one.of(number) for number in range(3)]
    assert (same.of(2)[1], same.of(0)[3], same.known) == (5, 2, True)
    another.load_state_dict(one.state_dict())
    assert not another.known


def test_the_reports_sets_are_a_sample_by_the_seed() -> None:
    settings = Record(pairs=True, report_sets=20)
    chosen = report_sets(settings, 100, seed=0)
    assert chosen == report_sets(settings, 100, seed=0) == sorted(set(chosen))
    assert chosen != report_sets(settings, 100, seed=1)
    assert report_sets(settings, 5, seed=0) == [0, 1, 2, 3, 4]
    assert report_sets(Record(), 100, seed=0) == []
