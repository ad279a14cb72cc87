"""From a model to numbers: its answers to problems, and the log-probs of training pairs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairkit.dataset.reader import open_data
from pairkit.engines.generate import no_progress
from pairkit.engines.transformers import TransformersEngine, load_transformers
from pairkit.files import replacing, undamaged
from pairkit.hashing import sha256_of
from pairkit.intervals import Floats
from pairkit.progress import silenced
from pairkit.replication.measured import Measured
from pairkit.replication.tasks.base import Size, Task
from pairkit.schema import short_hash
from pairkit.training.logprobs.forward import score_all
from pairkit.training.logprobs.score_sets import score_sets
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.tokens.tokenize import tokenize

KERNEL_BETA = 0.01  # of MC-PO's paper


def measure(
    task: Task, model: Path, start: Path, data: Path, references: Path, split: str, size: Size, seed: int
) -> Measured:
    """Measure a model on the problems of a split and on the training pairs of `data`.

    Args:
        start: the model that log-ratios are to.
        references: the folder in which the log-probs of `start` are kept, for the models after this one.
    """
    with silenced():
        engine = load_transformers(str(model))
        problems = of_answers(task, engine, split, size, seed)
        return Measured(problems, of_pairs(task, model, start, data, references, size))


def of_answers(
    task: Task, engine: TransformersEngine, split: str, size: Size, seed: int
) -> dict[str, Floats]:
    """Let the model answer each problem, and return the numbers of `Measured.problems`."""
    answers = task.answered(engine, split, size, seed)
    count = answers.sets.num_rows
    flat = pc.list_flatten(answers.sets["completions"]).combine_chunks()
    texts = [text.strip() for text in pc.struct_field(flat, "text").to_pylist()]
    # Every problem has equally many answers (see `accuracy`), so that arrays are [problems, samples].
    samples = len(texts) // count
    right = pc.struct_field(flat, "score").to_numpy(zero_copy_only=False).reshape(count, samples)
    form = re.compile(task.form)
    malformed = np.array([form.fullmatch(text) is None for text in texts]).reshape(count, samples)
    rows = np.array(texts, dtype=object).reshape(count, samples)
    # Of right answers alone, because random texts are the most different ones.
    distinct = [len(set(row[good > 0])) for row, good in zip(rows, right, strict=True)]
    return {
        "right": answers.values,
        "malformed": malformed.mean(axis=1),
        "entropy": own_entropy(engine, answers.sets, task),
        "distinct": np.array(distinct, dtype=np.float64),
    }


def own_entropy(engine: TransformersEngine, sets: pa.Table, task: Task) -> Floats:
    """Return the mean entropy of the model's steps over its own answers, `[sets]`, nats; NaN without one."""
    length = task.training["max_length"] + task.max_tokens
    tokens = tokenize(
        [sets],
        engine.tokenizer,
        max_length=length,
        max_prompt_length=length - task.max_tokens,
        wanted="all",
        advance=no_progress,
    )
    reasons = [reason for batch in tokens.batches for reason in batch["reason"].to_pylist()]
    places = [place for place, reason in enumerate(reasons) if reason is None]
    values = np.full(len(reasons), np.nan)  # [sets]
    # By completion, each with the mean over its tokens: a long answer counts as much as a short one.
    totals, counts = np.zeros(len(places)), np.zeros(len(places))
    work = [SetSelection.all(item) for item in tokens.sets]
    budget = task.training["tokens_per_micro_batch"]
    for rows, scores in score_all(engine.model, work, budget, want=frozenset({"entropy"})):
        assert scores.entropy is not None  # it was asked for
        # Rows are padded to the widest set.
        for (position, columns), entropies in zip(rows, scores.entropy.tolist(), strict=True):
            totals[position] += sum(entropies[: len(columns)])
            counts[position] += len(columns)
    values[places] = totals / counts
    return values


def of_pairs(
    task: Task, model: Path, start: Path, data: Path, references: Path, size: Size
) -> dict[str, Floats]:
    """Return the numbers of `Measured.pairs` of the first training sets."""
    table = pa.concat_tables(open_data(str(data), "train").tables("train", size.pairs))
    # Named by content: log-probs of another start, or of other pairs, are not taken.
    of = short_hash([hash_of(start), hash_of(data)])[:10]
    path = references / f"{data.name}-{size.pairs}-{of}.parquet"
    if not path.exists():
        with replacing(path) as temporary:
            pq.write_table(_scored(task, start, table), temporary, write_page_checksum=True)
    with undamaged(path, "remove it, and the start is scored again"):
        reference = pq.read_table(path, page_checksum_verification=True)
    return pairs(table, _scored(task, model, table), reference)


def hash_of(folder: Path) -> str:
    """Return the hash of all files of a model or a dataset."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    hashes = sha256_of(files, f"checking {folder}")
    return short_hash([[path.relative_to(folder).as_posix(), hashes[path]] for path in files])


def pairs(table: pa.Table, policy: pa.Table, reference: pa.Table) -> dict[str, Floats]:
    """Compare the chosen completion of each set with each that ranks below it: `Measured.pairs`.

    Args:
        table: candidate sets, the chosen completion first.
        policy, reference: their `LOGPS`, row for row.
    """
    columns: dict[str, list[npt.NDArray[np.float64]]] = {}
    rows = zip(table["completions"].to_pylist(), policy.to_pylist(), reference.to_pylist(), strict=True)
    for number, (completions, policy_row, reference_row) in enumerate(rows):
        below = _below(completions)
        if policy_row["logps"] is None or not below:
            continue
        # [K] of the set, summed over the tokens of a completion, in nats; and how many these are.
        logps, tokens = (np.array(policy_row[name], dtype=np.float64) for name in ("logps", "tokens"))
        ratios = logps - np.array(reference_row["logps"], dtype=np.float64)
        # An entry per rejected completion; what is of the chosen one or of the set is repeated.
        entries = {
            "set": np.full(len(below), float(number)),
            "chosen": np.full(len(below), ratios[0]),
            "rejected": ratios[below],
            "chosen_logp": np.full(len(below), logps[0]),
            "rejected_logp": logps[below],
            "chosen_length": np.full(len(below), tokens[0]),
            "rejected_length": tokens[below],
            "effective": np.full(len(below), effective_share(ratios[below])),
        }
        for name, values in entries.items():
            columns.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in columns.items()}


def effective_share(ratios: Floats, beta: float = KERNEL_BETA) -> float:
    """Return exp(entropy) of softmax(beta x log-ratios) over their number: 1 where the kernel is uniform.

    >>> round(effective_share(np.array([0.0, 0.0, 0.0])), 6)
    1.0
    """
    logits = beta * (ratios - ratios.max())  # [negatives], at most 0, so that exp does not overflow
    total = np.exp(logits).sum()
    # Not by the logs of weights, which may be 0.
    entropy = np.log(total) - (np.exp(logits) * logits).sum() / total
    return float(np.exp(entropy) / len(ratios))


def _below(completions: Sequence[dict[str, object]]) -> list[int]:
    """Return the places of the completions that rank below the first; noise ranks below all."""
    best = completions[0]["rank"]
    return [
        place
        for place, each in enumerate(completions)
        if place and (each["origin"] == "noise" or (best is not None and each["rank"] != best))
    ]


def _scored(task: Task, model: Path, table: pa.Table) -> pa.Table:
    return score_sets(
        str(model),
        [table],
        count=table.num_rows,
        max_length=task.training["max_length"],
        tokens_per_micro_batch=task.training["tokens_per_micro_batch"],
    )
