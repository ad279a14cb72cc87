"""UltraFeedback-shaped rows of any number: raw nested schema, realistic lengths, no text twice.

Words are drawn independently from a Zipf law over 30,000 made-up ones, so that zstd finds about as much
to save as in English and no text occurs twice. A block of rows is a few columnar operations: one long run
of words, cut at word boundaries.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

COMPLETIONS = 4
ROWS_A_BLOCK = 1000  # also the row group, as `datasets` writes it
# Mean lengths in characters, chosen to give the 14 to 15 kB a row of openbmb/UltraFeedback.
LENGTHS = {"instruction": 700, "response": 1250, "critique": 950, "principle": 180, "rationale": 170}
CHARACTERS_A_WORD = 4.9  # with its space, measured over drawn texts
MODELS = ["gpt-4", "gpt-3.5-turbo", "bard", "llama-2-70b-chat", "llama-2-13b-chat", "llama-2-7b-chat"]
MODELS += ["alpaca-7b", "falcon-40b-instruct", "mpt-30b-chat", "vicuna-33b", "wizardlm-70b", "starchat"]
SOURCES = ["evol_instruct", "false_qa", "flan_v2_cot", "sharegpt", "truthful_qa", "ultrachat"]


def write(path: Path, rows: int, *, seed: int = 0) -> None:
    """Writes `rows` rows as zstd Parquet."""
    vocabulary = _vocabulary(np.random.default_rng(seed))
    writer = None
    for start in range(0, rows, ROWS_A_BLOCK):
        block = _block(min(ROWS_A_BLOCK, rows - start), vocabulary, np.random.default_rng([seed, start]))
        writer = writer or pq.ParquetWriter(path, block.schema, compression="zstd")
        writer.write_table(block)
    if writer:
        writer.close()


def _vocabulary(random: np.random.Generator, size: int = 30_000) -> pa.Array:
    """Made-up words with the lengths of English ones, each followed by a space."""
    letters = np.frombuffer(b"etaoinshrdlucmfwypvbgkjqxz", np.uint8)
    lengths = np.clip(random.poisson(np.linspace(3.2, 7.5, size)), 1, 14)
    weights = np.linspace(1.0, 0.05, len(letters)) ** 1.5
    drawn = random.choice(letters, lengths.sum(), p=weights / weights.sum())
    cuts = np.cumsum(lengths)[:-1]
    return pa.array([word.tobytes().decode() + " " for word in np.split(drawn, cuts)])


def _block(rows: int, vocabulary: pa.Array, random: np.random.Generator) -> pa.Table:
    count = rows * COMPLETIONS

    def text(kind: str, number: int = count) -> pa.Array:
        return _texts(number, LENGTHS[kind], vocabulary, random)

    def struct(**columns: pa.Array) -> pa.Array:
        names = [name.replace("_", " ") for name in columns]
        return pa.StructArray.from_arrays(list(columns.values()), names)

    def choice(names: list[str], number: int = count, p: list[float] | None = None) -> pa.Array:
        index = random.choice(len(names), number, p=p).astype(np.int32)
        return pa.DictionaryArray.from_arrays(index, pa.array(names)).cast(pa.string())

    def rating() -> pa.Array:
        return choice(["1", "2", "3", "4", "5", "N/A"], p=[0.06, 0.1, 0.18, 0.35, 0.3, 0.01])

    def kinds() -> pa.Array:
        values = choice(["1", "2", "3", "None"])
        return pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32), values)

    def plain() -> pa.Array:
        return struct(Rating=rating(), Rationale=text("rationale"))

    def typed() -> pa.Array:
        more = {"Rationale_For_Rating": text("rationale"), "Type": kinds()}
        return struct(Rating=rating(), Rationale=text("rationale"), **more)

    aspects = ["helpfulness", "honesty", "instruction_following", "truthfulness"]
    annotations = pa.StructArray.from_arrays([typed(), plain(), plain(), typed()], aspects)
    models = choice(MODELS)
    columns = {
        "annotations": annotations,
        "critique": text("critique"),
        "custom_system_prompt": text("principle"),
        "fine-grained_score": pa.array(random.integers(4, 21, count) / 4),
        "model": models,
        "overall_score": pa.array(random.integers(2, 21, count) / 2),
        "principle": choice(["helpfulness", "honesty", "truthfulness", "verbalized_calibration"]),
        "response": text("response"),
    }
    sets = np.arange(0, count + 1, COMPLETIONS, dtype=np.int32)
    completions = pa.StructArray.from_arrays(list(columns.values()), list(columns))
    nothing = pa.ListArray.from_arrays(np.zeros(rows + 1, np.int32), pa.array([], pa.string()))
    return pa.table(
        {
            "source": choice(SOURCES, rows),
            "instruction": text("instruction", rows),
            "models": pa.ListArray.from_arrays(sets, models),
            "completions": pa.ListArray.from_arrays(sets, completions),
            "correct_answers": nothing,
            "incorrect_answers": nothing,
        }
    )


def _texts(number: int, mean: int, vocabulary: pa.Array, random: np.random.Generator) -> pa.Array:
    """`number` texts of log-normal length around `mean` characters."""
    words = np.maximum(random.lognormal(-0.32, 0.8, number) * mean / CHARACTERS_A_WORD, 3).astype(np.int64)
    ranks = len(vocabulary) ** random.random(words.sum()) - 1  # Zipf: the density of 1 / rank
    run = vocabulary.take(pa.array(ranks.astype(np.int32)))
    ends = np.frombuffer(run.buffers()[1], np.int32)[np.concatenate([[0], np.cumsum(words)])]
    return pa.StringArray.from_buffers(number, pa.py_buffer(ends.astype(np.int32)), run.buffers()[2])
