"""What a model measures: pairs and answers against computations of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from support.replications import SMALL, TASK, measured, random_start
from support.tiny import candidate_sets, completion

from pairkit.engines.transformers import load_transformers
from pairkit.errors import InputError
from pairkit.replication.measured import Measured
from pairkit.replication.measuring import effective_share, of_answers, own_entropy, pairs
from pairkit.training.logprobs.score_sets import LOGPS


def logps(*rows: tuple[list[float], list[int]] | None) -> pa.Table:
    values = [
        {
            "set_id": str(n),
            "logps": row and row[0],
            "tokens": row and row[1],
            "reason": None if row else "none",
        }
        for n, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(values, schema=LOGPS)


def test_each_pair_is_the_chosen_completion_and_one_below_it() -> None:
    ranked = [completion("a", 1), completion("b", 1), completion("c", 2), completion("d", origin="noise")]
    table = candidate_sets(
        [("x", ranked), ("y", [completion("a", 1), completion("b", 2)]), ("z", ranked[:2])]
    )
    policy = logps(([-1.0, -2.0, -3.0, -4.0], [2, 1, 3, 4]), None, ([-1.0, -2.0], [1, 1]))
    reference = logps(([-1.5, -2.0, -2.0, -1.0], [2, 1, 3, 4]), None, ([-1.0, -2.0], [1, 1]))
    found = pairs(table, policy, reference)
    expected = {
        "set": [0, 0], "chosen": [0.5, 0.5], "rejected": [-1.0, -3.0], "chosen_logp": [-1.0, -1.0],
        "rejected_logp": [-3.0, -4.0], "chosen_length": [2, 2], "rejected_length": [3, 4],
    }  # fmt: skip
    for name, values in expected.items():
        assert found[name].tolist() == values, name
    weights = torch.softmax(0.01 * torch.tensor([-1.0, -3.0], dtype=torch.float64), 0)
    assert found["effective"] == pytest.approx(
        [float(torch.exp(torch.distributions.Categorical(weights).entropy())) / 2] * 2
    )


def test_the_effective_share_falls_with_the_spread() -> None:
    """Five negatives at beta 0.01, whose log-ratios have a deviation of 5, 50 and 100 nats."""
    random = np.random.default_rng(0)
    shares = [
        np.mean([5 * effective_share(s * random.normal(size=5)) for _ in range(4000)]) for s in (5, 50, 100)
    ]
    assert shares == pytest.approx([5.0, 4.57, 3.76], abs=0.06)
    assert effective_share(np.array([0.0, -1e6])) == pytest.approx(0.5)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_start(TASK, tmp_path_factory.mktemp("start"), 0, SMALL)


def test_answers_are_checked_counted_and_measured(start: Path) -> None:
    found = of_answers(TASK, load_transformers(str(start)), "test", SMALL, 0)
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(
        ("right", "malformed", "entropy", "distinct"), 6
    )
    # A random model writes nothing of use.
    assert found["right"].tolist() == [0.0] * 6
    assert found["malformed"].mean() > 0.5


def test_the_entropy_is_that_of_the_models_own_steps(start: Path) -> None:
    engine = load_transformers(str(start))
    text, prompt = "12;3", "4+5+6="
    sets = candidate_sets([(prompt, [completion(text), completion("7")])])
    (found,) = own_entropy(engine, sets, TASK)
    tokenizer = engine.tokenizer
    each = []
    for answer in (text, "7"):
        ids = torch.tensor([tokenizer.convert_tokens_to_ids(["<s>", *prompt, *answer, "</s>"])])
        with torch.no_grad():
            steps = torch.log_softmax(engine.model(ids).logits[0, len(prompt) : -1], dim=-1)
        each.append(float(-(steps.exp() * steps).sum(-1).mean()))
    assert found == pytest.approx(np.mean(each), rel=1e-4)


def test_numbers_are_kept_exactly(tmp_path: Path) -> None:
    numbers = measured(np.random.default_rng(0))
    numbers.save(tmp_path / "a.npz")
    loaded = Measured.load(tmp_path / "a.npz")
    assert loaded.seconds == 60.0
    for ours, theirs in ((loaded.problems, numbers.problems), (loaded.pairs, numbers.pairs)):
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="is damaged"):
        Measured.load(tmp_path / "a.npz")
