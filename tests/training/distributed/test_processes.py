"""Two processes share the work of one: gloo, on the CPU. What their runs end in is in test_exact.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.processes import SCRIPT, gradients, two_processes

from pairkit.files import write_json
from pairkit.losses import LOSSES
from pairkit.training.distributed.processes import ALONE, Processes
from pairkit.training.output.metrics import read_metrics

SUM = "dpo:0.5+mcpo+bco:0.2+sft:0.1"


@given(st.lists(st.integers(1, 4000), max_size=60), st.integers(1, 8))
def test_every_item_is_one_process_s_and_none_has_much_more(sizes: list[int], processes: int) -> None:
    shares = [Processes(rank, processes).share(sizes) for rank in range(processes)]
    assert sorted(i for share in shares for i in share) == list(range(len(sizes)))
    assert all(share == sorted(share) for share in shares)
    loads = [sum(sizes[i] for i in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes, default=0)


@pytest.mark.parametrize("mode", ["gradients", "sharded"])
def test_two_processes_make_the_gradient_of_one_for_every_loss(
    tmp_path: Path, data: Path, model: Path, mode: str
) -> None:
    names = [*LOSSES, SUM] if "bco" in LOSSES else list(LOSSES)
    alone = gradients(str(data), str(model), tmp_path / "a.parquet", names, ALONE, budget=10**6)
    two_processes(SCRIPT, mode, str(data), str(model), str(tmp_path / "b.parquet"), str(tmp_path), *names)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name in names:
        one, two, expected = first[name], second[name], alone[name]
        assert torch.equal(one["gradient"], two["gradient"]), name
        assert one["state"] == two["state"], name
        largest = float(expected["gradient"].abs().max())
        assert largest > 0, name
        assert one["value"] == pytest.approx(expected["value"], rel=1e-4, abs=1e-6), name
        torch.testing.assert_close(one["gradient"], expected["gradient"], rtol=1e-3, atol=1e-5 * largest)
        torch.testing.assert_close(one["state"], expected["state"], rtol=1e-4, atol=1e-5)


def test_the_command_line_under_torchrun(tmp_path: Path, data: Path, model: Path) -> None:
    write_json(tmp_path / "recipe.yaml", {
        "data": str(data), "model": str(model), "max_length": 96, "sets_per_step": 7, "max_steps": 1,
    })  # fmt: skip
    out = tmp_path / "run"
    done = two_processes(
        "--module", "pairkit", "train", "--recipe", str(tmp_path / "recipe.yaml"), "--out", str(out)
    )  # fmt: skip
    assert done.stdout.count("metrics:") == 1  # one process speaks
    assert done.stderr.count("tokenizing train") == 1
    assert len(read_metrics(out, "train")) == 1
