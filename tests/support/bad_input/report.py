"""`pairkit report`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from support.bad_input.case import Case, half


def run(name: str = "run", **changes: Any) -> Path:
    """Write a recorded run; `changes` are those of its recipe."""
    from support.recorded import write_run

    return write_run(Path(name), **changes)


def seeds() -> None:
    for seed in (0, 1):
        run(f"dpo/seed-{seed}", seed=seed, epochs=1 + seed)


def one_line(text: str) -> None:
    (run() / "metrics.jsonl").write_text(text)


def online() -> Path:
    from support.recorded import write_online

    return write_online(Path("online"))


def cut_segments() -> None:
    (online() / "segments.jsonl").write_text('{"segment": 1,\n')


def unbegun() -> None:
    for segment in online().glob("segment-*"):
        shutil.rmtree(segment)


def damaged_evaluation() -> None:
    from support.evaluations import measured, write_evaluation

    run()
    out = write_evaluation(Path("ifeval"), [measured("strict", [1.0, 0.0, 1.0])])
    half(out / "results.json")


def unfinished_replications() -> None:
    Path("out").mkdir()
    Path("out/replications.json").write_text(json.dumps({"pairkit": "0"}))


CASES = [
    Case("a report of nothing", "report runs/absent", "runs/absent: no such directory"),
    Case(
        "a report of what is no run",
        "report data",
        "data: no training run: it has no run.json, which `pairkit train` writes",
    ),
    Case(
        "a report of a run that is given twice",
        "report run ./run",
        "…/run: is given 2 times: name each run once",
        prepare=run,
        code=2,
    ),
    Case(
        "a report of a run that has not taken a step",
        "report run",
        "run: nothing is recorded yet: metrics.jsonl is empty; wait for the first step",
        prepare=lambda: one_line(""),
    ),
    Case(
        "a report of damaged metrics",
        "report run",
        "run/metrics.jsonl: is damaged (ValueError: line 1: …); leave the run out, or train it again",
        prepare=lambda: one_line('{"step": 1, "kind"\n'),
    ),
    Case(
        "a report of metrics that are not numbers",
        "report run",
        "run/metrics.jsonl: is damaged (TypeError: 'low' is not a number); leave the run out, or train it "
        "again",
        prepare=lambda: one_line('{"step": 1, "kind": "train", "chosen_logp_per_token": "low"}\n'),
    ),
    Case(
        "a report of a damaged file of pairs",
        "report run",
        "run/pairs/step-000002.parquet: is damaged (…); leave the run out, or train it again",
        prepare=lambda: half(run() / "pairs" / "step-000002.parquet"),
    ),
    Case(
        "a report of damaged segments",
        "report online",
        "online/segments.jsonl: is damaged (JSONDecodeError: …); leave the run out, or train it again",
        prepare=cut_segments,
    ),
    Case(
        "a report of an online training that has not begun",
        "report online",
        "online: nothing is recorded yet: no segment is trained; wait for its first step",
        prepare=unbegun,
    ),
    Case(
        "a report with evaluations that are not there",
        "report run --eval runs/eval",
        "runs/eval: no such directory",
        prepare=run,
    ),
    Case(
        "a report with a directory without evaluations",
        "report run --eval run",
        "run: has no evaluation: give a directory that `pairkit eval` wrote, or one with some",
        prepare=run,
    ),
    Case(
        "a report of a damaged evaluation",
        "report run --eval ifeval",
        "ifeval/results.json: is damaged (JSONDecodeError: …); evaluate again",
        prepare=damaged_evaluation,
    ),
    Case(
        "a report of seeds that were trained otherwise",
        "report dpo",
        "dpo/seed-1: cannot be averaged with dpo/seed-0, because epochs is 2 there and 1 here: give them "
        "other names than seeds of one setting have",
        prepare=seeds,
    ),
    Case(
        "a report of replications without a result",
        "report out",
        "out: has no result of a replication yet; run the same `pairkit replicate` again",
        prepare=unfinished_replications,
    ),
    Case(
        "a report that would replace another file",
        "report run --out notes.html",
        "notes.html: exists and was not written by `pairkit report`; give another file",
        {"notes.html": b"<!doctype html>"},
        run,
    ),
    Case(
        "a report inside a run",
        "report run --out run/report.html",
        "run/report.html: is inside …/run, which holds a training run; choose another --out",
        prepare=run,
    ),
]
