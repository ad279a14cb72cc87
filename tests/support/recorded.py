"""Small runs that have recorded everything, trained or written by hand, and their files as plain rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from support.tiny import random_sets, write_data
from support.training import recipe

from pairkit.files import write_json
from pairkit.training.record.pairs import step_file, write_rows
from pairkit.training.record.schemas import PAIR_ROWS, SAMPLE_ROWS
from pairkit.training.run import train

ALL: dict[str, Any] = {
    "figures": True, "pairs": True, "report_sets": 16,
    "samples": {
        "every": 2, "prompts": 4, "per_prompt": 2, "max_tokens": 6, "check": "support.verifiers:vowels",
    },
}  # fmt: skip
KL = {**ALL, "kl": True}
# Of each a run: the keywords of its loss, and fields of its recipe.
RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dpo/seed-0": ({"name": "dpo", "beta": 0.5}, {"record": ALL}),
    "dpo/seed-1": ({"name": "dpo", "beta": 0.5}, {"record": ALL, "seed": 1}),
    "mcpo": ({"name": "mcpo", "beta": 0.5}, {"record": ALL}),
    "simpo": ({"name": "simpo"}, {"record": KL}),
    "stapo": ({"name": "stapo"}, {"record": KL}),
    "alpha": ({"name": "alpha_dpo", "alpha": 0.2}, {"record": KL}),
    "spo": ({"name": "spo", "alpha": 0.4}, {"record": ALL}),
    "plain": ({"name": "dpo"}, {}),
}


def recorded_data(folder: Path) -> Path:
    """A dataset of 24 sets, and 8 held-out ones with an answer that a verifier looks for."""
    held_out = random_sets(8, seed=1)
    answers = pa.array(['{"answer": "7"}'] * held_out.num_rows)
    place = held_out.schema.get_field_index("metadata")
    return write_data(folder, random_sets(24), held_out.set_column(place, "metadata", answers))


def record(folder: Path, data: Path, model: Path, *names: str) -> dict[str, Path]:
    """Train runs of `RUNS`, in folders of their names."""
    for name in names or RUNS:
        loss, fields = RUNS[name]
        train(recipe(data, model, loss, eval_every=2, trackers=[], **fields), folder / name)
    return {name: folder / name for name in names or RUNS}


def lines_of(run: Path, kind: str) -> Iterator[dict[str, Any]]:
    """The lines of a kind of a run's metrics."""
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["kind"] == kind:
            yield entry


def completions_of(run: Path, step: int, split: str = "train") -> dict[str, list[dict[str, Any]]]:
    """The recorded completions of each set of a split, the chosen one first."""
    sets: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(run / "pairs" / f"step-{step:06d}.parquet").to_pylist():
        if row["split"] == split:
            sets.setdefault(row["set_id"], []).append(row)
    return sets


def pairs_of(run: Path, step: int, split: str = "train") -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The recorded pairs of a chosen completion and another one of its set."""
    every = completions_of(run, step, split).values()
    return [(chosen, rejected) for chosen, *others in every for rejected in others]


def samples_of(run: Path, step: int) -> list[dict[str, Any]]:
    """The recorded samples of a step."""
    rows: list[dict[str, Any]] = pq.read_table(run / "samples" / f"step-{step:06d}.parquet").to_pylist()
    return rows


def write_run(
    folder: Path,
    loss: dict[str, Any] | None = None,
    *,
    described: dict[str, Any] | None = None,
    logp: float = -3.0,
    origin: str = "generated",
    sets: int = 5,
    plan_sets: int = 5,
    text: str = "?",
    steps: int = 2,
    **recipe_fields: Any,
) -> Path:
    """Write the files of a run as if it had been trained, of sets of three completions.

    Args:
        described: the loss with all its keywords, by default as `loss`.
        logp: of the chosen completions.
        origin: of the rejected completions.
        sets: recorded of each split.
        plan_sets: training sets of the run.
        text: of the samples, and of their prompts.
    """
    loss = loss or {"name": "dpo", "beta": 0.1}
    settings = {
        "loss": loss, "seed": 0, "sets_per_step": 2, "train_split": "train", "eval_split": "test",
        "record": {"figures": True, "pairs": True, "kl": True},
        "optimizer": {"learning_rate": 1e-3, "max_grad_norm": 1.0},
    }  # fmt: skip
    plan = {"loss": described or loss, "steps": steps, "train_sets": {"used": plan_sets}}
    content = {"recipe": settings | recipe_fields, "plan": plan}
    write_json(folder / "run.json", content)
    (folder / "recipe.yaml").write_text("")  # by which a run is known
    lines = [entry for step in range(steps + 1) for entry in _entries(step, steps, origin)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for step in (0, steps):
        splits = [content["recipe"][key] for key in ("train_split", "eval_split")]
        rows = [row for split in splits for row in _completions(split, step, logp, origin, sets)]
        write_rows(step_file(folder / "pairs", step), [pa.Table.from_pylist(rows, PAIR_ROWS)])
        samples = [
            {
                "set_id": f"{n}", "sample": 0, "prompt": [{"role": "user", "content": f"{text} {n}"}],
                "text": f"{text} {n} {step}", "entropy": 0.5, "score": n % 2, "length": 3,
            }
            for n in range(sets)
        ]  # fmt: skip
        write_rows(step_file(folder / "samples", step), [pa.Table.from_pylist(samples, SAMPLE_ROWS)])
    return folder


def write_online(folder: Path, *, restart: str | None = None, **fields: Any) -> Path:
    """Write the files of an online training of two segments of two steps."""
    build = {"source": {"name": "arithmetic"}, "generate": {}, "rank": {}, "mine": {}, "seed": 0}
    recipe = {
        "model": "m", "segments": 2, "prompts_per_segment": None, "reference": "start", "mix": None,
        "restart": restart, "build": build,
    }  # fmt: skip
    lines = []
    for number in (1, 2):
        run = write_run(folder / f"segment-{number}" / "run", **fields)
        if number == 2 and not restart:
            _move(run, 2)
        score = {"best": 0.5 * number, "mean": 0.25 * number, "worst": 0.0}
        lines.append({"segment": number, "first": 2 * number - 2, "steps": 2, "score": score, "kl": None})
    write_json(folder / "online.json", {"recipe": recipe})
    (folder / "segments.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def _move(run: Path, steps: int) -> None:
    """Number the steps of a run from `steps` on."""
    path = run / "metrics.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    moved = [{**entry, "step": entry["step"] + steps} for entry in entries]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in moved))
    for file in sorted(run.glob("*/step-*.parquet"), reverse=True):
        file.rename(step_file(file.parent, int(file.stem.removeprefix("step-")) + steps))


def _entries(step: int, steps: int, origin: str) -> Iterator[dict[str, Any]]:
    numbers = {
        "chosen_logp_per_token": -1.0, "rejected_logp_per_token": -2.0 - step, "chosen_log_ratio": 0.1 * step,
        "rejected_log_ratio": -0.2 * step, "log_ratio_margin": 0.3 * step, "kl_chosen": 0.1 * step,
        "kl_rejected": 0.2 * step, "effective_candidates": 1.5, "std_M": 0.1, "adaptive_margin": 0.4,
        "loss": 0.7 / (1 + step), "reward_margin": 0.03 * step, "reward_accuracy": 0.5 + 0.1 * (step > 0),
    }  # fmt: skip
    if step:
        rates = {"sets_per_second": 2.0, "tokens_per_second": 100.0 + step % 7}
        pace = {"grad_norm": 1.5 + step % 3, "learning_rate": 1e-3}
        yield {"step": step, "kind": "train", **numbers, **pace, **rates, f"drawn_{origin}": 2}
    if step in (0, steps):
        yield {"step": step, "kind": "eval", **numbers}


def _completions(split: str, step: int, logp: float, origin: str, sets: int) -> Iterator[dict[str, Any]]:
    for number in range(sets):
        for column in range(3):
            yield {
                "split": split, "set_id": f"{split}-{number}", "column": column, "rank": column + 1,
                "origin": origin if column else "source", "length": 4 + column,
                "logp": -6.0 - number * step if column else logp, "ref_logp": -5.0 - column, "token_kl": 0.1,
                "drawn": step * (column == 2),
            }  # fmt: skip
