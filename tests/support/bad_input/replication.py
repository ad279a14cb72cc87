"""`pairkit replicate` and `pairkit sweep`."""

from __future__ import annotations

from support.bad_input.case import Case

RECIPE = {"own.yaml": b"loss: {name: dpo}\nmax_steps: 2\nmax_length: 96\ntrackers: []\n"}
SWEEP = "sweep own.yaml --data data --model model"

CASES = [
    Case(
        "an unknown replication",
        "replicate N11",
        "unknown replication 'N11'; did you mean 'N1'? Known: …",
    ),
    Case(
        "no replication",
        "replicate",
        "which replications? give their ids, --all, or --list to see them",
        code=2,
    ),
    Case(
        "a seed twice",
        "replicate N1 --seeds 0,1,0",
        "--seeds 0,1,0: seed 0 is there twice; its runs would count double",
    ),
    Case(
        "a seed that settings are chosen with",
        "replicate N1 --seeds 0,101",
        "--seeds 0,101: settings are chosen with seed 101; use another one",
    ),
    Case(
        "a replication where others' files are",
        "replicate N1 --quick --out .",
        ". is not empty and was not created by this command; choose another --out",
        {"own.yaml": b""},
    ),
    Case(
        "many right answers without the verifier that knows them",
        "build --source split --limit 20 rank.ranker=verifier",
        "split: no usable candidate set in 20 rows (20 no_answer); the first: set …: metadata has no "
        "'answer' that 'exact' can check…",
    ),
    Case(
        "a value twice in a sweep",
        f"{SWEEP} --metric loss --set seed=0,0",
        "seed has the value 0 twice: remove one of them",
        RECIPE,
    ),
    Case(
        "a metric that runs do not have",
        f"{SWEEP} --metric los --set seed=0,1",
        "unknown metric 'los'; did you mean 'loss'? Known: …",
        RECIPE,
    ),
    Case(
        "accuracy of a sweep without a benchmark",
        f"{SWEEP} --metric accuracy --set seed=0,1",
        "--metric accuracy is that of a benchmark answered during training: set eval.generate.benchmark",
        RECIPE,
    ),
    Case(
        "a sweep of a setting that is out of range",
        f"{SWEEP} --metric loss --set loss.beta=0.1,-1",
        "dpo.beta must be in (0, inf), got -1",
        RECIPE,
    ),
    Case(
        "half a run at a time",
        f"{SWEEP} --metric loss --set seed=0,1 --parallel 0.5",
        "--parallel 0.5: must be a number of runs, 1 or more, or devices",
        RECIPE,
    ),
]

# Each has a test in tests/replication/test_command.py.
APART = {
    "no model": Case(
        "task D without its model",
        "replicate N1-D",
        "task D needs SmolLM2-135M-Instruct: set PAIRKIT_SMOLLM2 to its directory (.ci/smollm2 of the "
        "repository makes one), or leave out its replications",
    ),
    "changed design": Case(
        "a changed design with old runs",
        "replicate N1",
        "runs/replication/designs/N1 contains runs of N1 with other settings: arms.dpo.recipe.loss.beta 0.2 "
        "-> 0.1. Choose another --out, or use --on-existing delete to start over",
        rows="kept",
    ),
    "verifier": Case(
        "a task whose verifier is missing",
        "replicate N1",
        "verifier check 'pairkit.sources.split:absent' cannot be imported: module 'pairkit.sources.split' "
        "has no attribute 'absent'",
    ),
}
