"""Many signals in a row at any moment of quickstart, export and push: one line, and the state is kept."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from support.bursts import attack, errors_of, start
from support.hub_server import Hub, environment
from support.published import build_shards, hashes, published
from support.tiny import random_sets, write_data

pytestmark = pytest.mark.timeout(1800)  # twenty attacks on a quickstart wait 150 s, and two quickstarts end
TWENTY = pytest.param(20, id="twenty", marks=pytest.mark.slow)
ATTACKS = [pytest.param(1, id="one", marks=pytest.mark.full), TWENTY]


def ends(words: str, out: Path | str, environment: dict[str, str] | None = None) -> None:
    process = start(words, out, environment)
    errors = errors_of(process, 600)
    assert process.returncode == 0, errors


@pytest.mark.parametrize("attacks", ATTACKS)
def test_bursts_at_any_moment_of_an_export(attacks: int, tmp_path: Path) -> None:
    data = write_data(tmp_path / "sets", random_sets(20 if attacks == 1 else 20_000))
    words = f"export {data} --as trl --on-existing delete --out"
    codes = Counter(attack(start(words, tmp_path / "out"), Random(n), 2) for n in range(attacks))
    assert attacks == 1 or len(codes) > 1
    for out in ("out", "alone"):
        ends(words, tmp_path / out)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "alone")


@pytest.mark.parametrize("attacks", ATTACKS)
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_bursts_at_any_moment_of_a_push(attacks: int, tmp_path: Path, hub: Hub) -> None:
    """No reader sees a part of it, no large file is sent again once it arrived, and the push continues."""
    made = build_shards(tmp_path / "made", 60)
    home = environment(hub, tmp_path / "home")
    hub.fault("^(PUT|POST) ", seconds=0.2, times=float("inf"))
    for number in range(attacks):
        attack(start(f"push {made}", "user/sets", home), Random(number), 3)
        repository = ("dataset", "user/sets")
        assert repository not in hub.repos or hub.files(*repository) in ({}, published(made))
    hub.faults.clear()
    ends(f"push {made}", "user/sets", home)
    assert hub.files("dataset", "user/sets") == published(made)


@pytest.mark.parametrize("attacks", ATTACKS)
def test_bursts_at_any_moment_of_a_quickstart(attacks: int, tmp_path: Path) -> None:
    """Then the weights and results are those of a quickstart by itself."""
    words = "quickstart --sft-steps 30 --steps 20 --prompts 200 --out"
    for number in range(attacks):
        attack(start(words, tmp_path / "out"), Random(number), 3 if attacks == 1 else 15)
    if attacks > 1:
        for out in ("out", "alone"):
            ends(words, tmp_path / out)
        results = [(tmp_path / out / "results.json").read_bytes() for out in ("out", "alone")]
        assert results[0] == results[1]
        for run in ("sft", "dpo", "mcpo"):
            assert hashes(tmp_path / "out" / run / "model") == hashes(tmp_path / "alone" / run / "model")
