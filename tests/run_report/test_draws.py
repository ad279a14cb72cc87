"""Figure 16: shares of negatives by origin and rank against the recorded counts, and candidates in effect."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.recorded import completions_of, lines_of, write_run

from pairkit.run_report.drawn import WEIGHTS
from pairkit.run_report.draws import drawn_negatives
from pairkit.run_report.find import Setting, find

Colors = dict[str, str]


def part(row: dict[str, object]) -> str:
    return str(row["origin"]) if row["rank"] is None else f"{row['origin']}, rank {row['rank']}"


@pytest.mark.parametrize("names", [["mcpo"], ["dpo/seed-0", "dpo/seed-1"]])
def test_shares_are_those_of_new_draws(recorded: dict[str, Path], names: list[str], colors: Colors) -> None:
    figure = drawn_negatives(find([recorded[name] for name in names]).settings, colors)
    assert not figure.missing
    for first, last in ((0, 2), (2, 4)):
        expected: Counter[str] = Counter()
        for name in names:
            for sign, step in ((1, last), (-1, first)):
                for completions in completions_of(recorded[name], step).values():
                    for row in completions:
                        expected[part(row)] += sign * row["drawn"]
        expected = +expected
        rows = [row for row in figure.tables["shares"] if (row["from step"], row["to step"]) == (first, last)]
        assert {row["drawn"] for row in rows} == {expected.total()}
        found = {row["part"]: row["share"] * expected.total() for row in rows if row["share"]}
        assert found == pytest.approx(dict(expected))


def test_without_pairs_shares_are_by_origin(recorded: dict[str, Path], colors: Colors) -> None:
    rows = drawn_negatives(find([recorded["plain"]]).settings, colors).tables["shares"]
    lines = list(lines_of(recorded["plain"], "train"))
    assert {(row["from step"], row["to step"]) for row in rows} == {(n, n + 1) for n in range(4)}
    for row in rows:
        line = lines[row["from step"]]
        drawn = {key.removeprefix("drawn_"): line[key] for key in line if key.startswith("drawn_")}
        assert row["drawn"] == sum(drawn.values()) == 8
        assert row["share"] == drawn.get(row["part"], 0) / 8


@pytest.mark.parametrize("name", ["mcpo", "simpo"])
def test_weights_are_those_of_the_kernel_before(recorded: dict[str, Path], name: str, colors: Colors) -> None:
    """Of a policy-weighted draw: proportional to (policy / reference) ** beta of each negative, by hand."""
    figure = drawn_negatives(find([recorded[name]]).settings, colors)
    beta = 0.5 if name == "mcpo" else 2.0
    for first, last in ((0, 2), (2, 4)):
        after = completions_of(recorded[name], last)
        expected: Counter[str] = Counter()
        for key, completions in completions_of(recorded[name], first).items():
            _, *negatives = completions
            # A loss without a reference weighs by the policy's log-prob per token.
            logits = [
                row["logp"] - row["ref_logp"] if name == "mcpo" else row["logp"] / row["length"]
                for row in negatives
            ]
            powers = [math.exp(beta * (logit - max(logits))) for logit in logits]
            for row, power in zip(negatives, powers, strict=True):
                new = after[key][row["column"]]["drawn"] - row["drawn"]
                expected[bin_of(power / sum(powers) * len(negatives))] += new
        rows = [
            row for row in figure.tables["weights"] if (row["from step"], row["to step"]) == (first, last)
        ]
        found = {row["part"]: row["share"] * row["drawn"] for row in rows if row["share"]}
        assert found == pytest.approx(dict(+expected))


def bin_of(ratio: float) -> str:
    ends = (0.25, 0.5, 1, 2, 4)
    return WEIGHTS[sum(ratio >= end for end in ends)]


def test_losses_of_other_packages_have_no_weights(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"name": "evil_loss:loss"})
    figure = drawn_negatives(find([run]).settings, {"run": "#3b6fe0"})
    assert figure.tables["shares"]
    assert not figure.tables["weights"]


def test_candidates_in_effect_are_those_of_the_metrics(
    recorded: dict[str, Path], settings: Sequence[Setting], colors: Colors
) -> None:
    rows = drawn_negatives(settings, colors).tables["effective candidates"]
    # The data ask for draws by the policy, so that every loss has them in its steps.
    assert {row["sets"] for row in rows} == {"each step's sets"}
    assert {row["setting"] for row in rows} == {each.name for each in settings} - {"plain"}
    found = {row["step"]: row["mean"] for row in rows if row["setting"] == "mcpo"}
    lines = lines_of(recorded["mcpo"], "train")
    assert found == {line["step"]: line["effective_candidates"] for line in lines}
