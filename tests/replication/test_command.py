"""`pairkit replicate` on the command line: what it lists, plans and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.bad_input import APART
from support.bad_input.running import Ended, check_failure, run_in_process
from support.replications import SMALL, arm, replication

from pairkit.replication import page
from pairkit.replication.claims import table
from pairkit.replication.claims.table import REPLICATIONS
from pairkit.replication.record import claim, claim_design
from pairkit.replication.tasks import base, chat
from pairkit.replication.tasks.base import FULL

Call = Callable[..., Ended]


@pytest.fixture
def called(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    return lambda *words: run_in_process(" ".join(["replicate", *words]), capsys, monkeypatch)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_list_names_each_claim_with_its_minutes(called: Call) -> None:
    lines = called("--list").out.splitlines()
    for name, row in REPLICATIONS.items():
        (line,) = [line for line in lines if f" {name} " in line]
        assert row.claim in line


def test_a_plan_counts_runs_that_are_shared_once(called: Call) -> None:
    def runs(*names: str) -> list[str]:
        out = called(*names, "--dry-run").out
        lines = [line.replace("│", " ").split() for line in out.splitlines() if "│" in line]
        return [line[2] for line in lines[:-1]]  # without the sum

    # Three methods, six settings at two seeds each, and five seeds.
    assert runs("S3") == [str(3 * (6 * 2 + 5))]
    assert runs("S3", "S4") == [*runs("S3"), "0"]
    assert runs("S3", "--seeds", "10") == [str(3 * (6 * 2 + 10))]


def test_names_and_all_exclude_each_other(called: Call) -> None:
    assert called("N1", "--all").code == 2
    assert called("N1", "--quick", "--page", "docs").code == 2


def test_a_task_without_its_model_is_refused(
    called: Call, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    monkeypatch.delenv(chat.MODEL, raising=False)
    check_failure(APART["no model"], called("N1-D"))
    assert not list(here.iterdir())


def test_a_changed_design_is_refused(called: Call) -> None:
    row = REPLICATIONS["N1"]
    other = row.arms["dpo"]
    before = replace(row, arms={**row.arms, "dpo": replace(other, loss={**other.loss, "beta": 0.2})})
    out = Path("runs/replication")
    claim(out)
    claim_design(out, before, FULL, "resume")
    check_failure(APART["changed design"], called("N1"))
    written = json.loads((out / "designs" / "N1" / "design.json").read_text())
    assert written["arms"]["dpo"]["recipe"]["loss"]["beta"] == 0.2


def test_a_missing_verifier_is_refused(called: Call, monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    row = REPLICATIONS["N1"]
    changed = replace(row, task=replace(row.task, verifier={"check": "pairkit.sources.split:absent"}))
    monkeypatch.setitem(REPLICATIONS, "N1", changed)
    check_failure(APART["verifier"], called("N1"))
    assert not list(here.iterdir())


def test_verdicts_are_printed(called: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    row = replication("T1", {"dpo": arm(), "minor_dpo": arm("minor_dpo")})
    for module in (table, page):
        monkeypatch.setattr(module, "REPLICATIONS", {"T1": row})
    monkeypatch.setattr(base, "QUICK", SMALL)
    ended = called("T1", "--quick", "--out", "out")
    assert ended.code == 0, ended.errors
    verdict = json.loads(Path("out/replication/T1.json").read_text())["verdict"]
    assert ended.out.splitlines()[0] == f"T1: {verdict}"
    assert ended.out.splitlines()[-1] == "page: out/replication.md"
    stopped = called("T1", "--quick", "--out", "other", "--limit-minutes", "0")
    assert "not finished in 0 minutes: T1; the same command continues" in stopped.out
