"""Every loss of the table: neither the token budget nor the number of processes changes what it trains to.

The losses are those of the table itself, so that a new one is included, and some sums. The policy starts as
the reference, so that every log-ratio of the first step is rounding. Only `stats="official"` is left out: it
is the code of a paper that updates its statistics by every micro-batch (docs/losses.md).
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.grids import some
from support.loss_cases import as_ids, in_case
from support.processes import SCRIPT, two_processes
from support.steps import Case, Outcome, Start, start_from

from pairkit.files import write_json
from pairkit.losses import LOSSES
from pairkit.losses.types import positive_part

WHOLE, FEW, SINGLE = 16384, 256, 64  # tokens per micro-batch: one pass per step, a few, one per set
TOLERANCE = 1e-5  # of the length of the first gradient, and of the way that the weights moved
VARIANTS: list[Case] = [
    ("alpha_dpo", {"margin_reduction": "sum"}),
    ("alpha_dpo", {"normalize": False, "stop_gradient": False}),
    ("alpha_dpo", {"stats": "dataset", "stats_every": 2}),
    ("alpha_dpo", {"margin": "token_kl"}),
    ("simpo", {"length_normalized": False}),
    ("cpo", {"nll_reduction": "sum"}),
    # Margins that ten steps do not pass: where each step overshoots the minimum, any difference grows.
    ("stapo", {"logit": "dpo", "beta": 0.1, "left_margin": 60.0, "right_margin": 80.0}),
    ("mcpo", {"sampling": "max", "negatives": 2}),
    # Sums whose part on one completion covers whole dialogues: a draw within the pass, or a pass before it.
    ("dpo:0.8+sft:0.5", {}),
    ("bco+sft", {}),
    ("tdpo2+sft", {}),
]
CASES: list[Case] = [*((name, {}) for name in LOSSES), *VARIANTS]
# Ten steps of these by default, of all with the mark `full`.
KINKS: tuple[Case, ...] = (("minor_dpo", {}), ("dpop", {}))
# Then statistics, a draw, token means.
OF_TWO: tuple[Case, ...] = (
    *KINKS,
    ("alpha_dpo", {}),
    ("kto", {}),
    ("mcpo", {}),
    ("cpo", {}),
    VARIANTS[2],
    VARIANTS[-3],
)


@pytest.fixture(scope="module")
def start(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    return start_from(data, model, tmp_path_factory.mktemp("every"))


def assert_same(one: Outcome, whole: Outcome) -> None:
    assert one.loss == pytest.approx(whole.loss, rel=1e-5, abs=1e-6)
    assert float(one.gradient.norm()) == pytest.approx(float(whole.gradient.norm()), rel=TOLERANCE)
    for here, there in ((one.gradient, whole.gradient), (one.moved, whole.moved)):
        assert float((here - there).norm()) < TOLERANCE * float(there.norm())
    torch.testing.assert_close(one.state, whole.state, rtol=1e-4, atol=1e-5)


@pytest.mark.default("dpo:0.8+sft:0.5", "mcpo")
@pytest.mark.parametrize("case", (few := [case for case in OF_TWO if case not in KINKS]), ids=as_ids(few))
def test_no_budget_changes_the_first_steps(case: Case, start: Start) -> None:
    """Loss and gradient of the first one, and the weights after three; of every loss after ten, below."""
    whole = start.steps(case, budget=WHOLE, steps=3)
    assert float(whole.gradient.norm()) > 0
    assert_same(start.steps(case, budget=SINGLE, steps=3), whole)


@pytest.mark.full
@pytest.mark.parametrize(
    "case",
    some(lambda case: case in KINKS, CASES),
    ids=as_ids(CASES),
)
def test_no_budget_changes_ten_steps(case: Case, start: Start) -> None:
    whole = start.steps(case, budget=WHOLE, steps=10)
    for budget in (FEW, SINGLE):
        assert_same(start.steps(case, budget=budget, steps=10), whole)


@pytest.mark.parametrize(
    ("cases", "steps"),
    [
        pytest.param(OF_TWO, 3, id="few", marks=pytest.mark.full),
        # A minute and a half; one process or two is the same for a loss of the same kind.
        pytest.param(CASES, 10, id="all", marks=pytest.mark.slow),
    ],
)
def test_two_processes_take_the_steps_of_one(
    cases: list[Case], steps: int, start: Start, data: Path, model: Path, tmp_path: Path
) -> None:
    write_json(tmp_path / "cases.json", cases)
    two_processes(SCRIPT, "steps", *map(str, (tmp_path / "cases.json", data, model, tmp_path, steps)))
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for case, first, second in zip(cases, *ranks, strict=True):
        with in_case(*case):
            one, two = Outcome(**first), Outcome(**second)
            assert torch.equal(one.moved, two.moved)
            assert one.state == two.state
            assert_same(one, start.steps(case, budget=WHOLE, steps=steps))


@pytest.mark.full
def test_a_side_decided_by_the_sign_would_be_noticed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """MinorDPO as it was: at the start half of its pairs are above 0, by rounding."""
    # Rounding of our own, because some processors round the log-probs of both runs alike.
    rounding = torch.Generator().manual_seed(0)

    def rounded(log_ratios: torch.Tensor) -> torch.Tensor:
        return log_ratios + 1e-6 * torch.randn(log_ratios.shape, generator=rounding)

    def difference() -> float:
        whole, single = (start.steps(("minor_dpo", {}), budget=budget, steps=3) for budget in (WHOLE, SINGLE))
        return float((single.moved - whole.moved).norm() / whole.moved.norm())

    monkeypatch.setattr("pairkit.losses.margins.positive_part", lambda ratios: positive_part(rounded(ratios)))
    assert difference() <= 100 * TOLERANCE
    monkeypatch.setattr("pairkit.losses.margins.positive_part", lambda ratios: rounded(ratios).clamp(min=0.0))
    assert difference() > 100 * TOLERANCE
