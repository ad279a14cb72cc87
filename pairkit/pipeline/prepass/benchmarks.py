"""The prompts of benchmarks, from files in any format that pairkit reads or, by name, from the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from os.path import isfile  # unlike that of a Path, it takes names of any length
from pathlib import Path
from typing import Any, NamedTuple

from pairkit.errors import InputError, RecipeError, listed, unknown
from pairkit.masking import masked
from pairkit.readers.formats import blocks, has_format, without_endings
from pairkit.schema import short_hash
from pairkit.sources.reading.hub import dataset_file
from pairkit.stores.address import is_address

# Where each benchmark's prompts are: a dataset on the hub and a file of it.
NAMES: Mapping[str, tuple[str, str]] = {
    "alpaca_eval": ("tatsu-lab/alpaca_eval", "alpaca_eval_gpt4_baseline.json"),
    "arena_hard_0.1": ("lmarena-ai/arena-hard-auto", "data/arena-hard-v0.1/question.jsonl"),
    "arena_hard_2.0": ("lmarena-ai/arena-hard-auto", "data/arena-hard-v2.0/question.jsonl"),
    "gsm8k": ("openai/gsm8k", "main/test-00000-of-00001.parquet"),
    "humaneval": ("openai/openai_humaneval", "openai_humaneval/test-00000-of-00001.parquet"),
    "ifeval": ("google/IFEval", "ifeval_input_data.jsonl"),
    "mt_bench": ("HuggingFaceH4/mt_bench_prompts", "raw/question.jsonl"),
}
# The first of these that a row has is its prompt: a text, a list of turns, or turns with a content.
PROMPTS = ("turns", "instruction", "question", "prompt", "problem")
IDS = ("question_id", "uid", "task_id", "key", "id", "prompt_id")
_ROWS = 1000


class Item(NamedTuple):
    """A prompt of a benchmark, or a turn of one: `id` is that of its row, else the row's number."""

    benchmark: str
    id: str
    text: str


class Benchmarks(NamedTuple):
    """The prompts of all benchmarks; `hashes` has a hash of the texts of each."""

    items: tuple[Item, ...]
    hashes: Mapping[str, str]


def published_name(against: str) -> str:
    """Return the name of a benchmark in manifests: the one it is given, else that of its file.

    >>> [published_name(each) for each in ("gsm8k", "mt=bench/question.jsonl", "bench/my.v1.jsonl.gz")]
    ['gsm8k', 'mt', 'my.v1']
    """
    return _parsed(against)[0]


def _parsed(against: str) -> tuple[str, str]:
    """Return name and place of NAME, FILE or NAME=FILE."""
    name, equals, place = against.partition("=")
    if equals and name and not isfile(against):
        return name, place
    return (against if against in NAMES else without_endings(Path(against).name)), against


def load(against: Sequence[str]) -> Benchmarks:
    """Read the prompts of benchmarks, each text once per benchmark.

    Raises `RecipeError` for a name that is not known and no file, or two benchmarks of one name, `InputError`
    for a file that cannot be read or has no prompts, `HubError` for one that cannot be downloaded.
    """
    items: list[Item] = []
    hashes: dict[str, str] = {}
    for each in against:
        name, place = _parsed(each)
        if name in hashes:
            raise RecipeError(
                f"decontaminate.against names {name!r} twice: give each benchmark once, and files of one "
                "name as NAME=FILE"
            )
        texts: dict[str, str] = {}
        for key, text in _prompts(_file(place)):
            texts.setdefault(text, key)
        items += [Item(name, key, text) for text, key in texts.items()]
        hashes[name] = short_hash(list(texts))
    return Benchmarks(tuple(items), hashes)


def _file(against: str) -> Path:
    if is_address(against):
        # Masked, because an address may hold a key.
        raise InputError(
            f"{masked(against)}: is an address: download the benchmark, and name its file in decontaminate"
        )
    path = Path(against)
    if isfile(path):
        return path
    if against in NAMES:
        return dataset_file(*NAMES[against])
    if "/" in against or has_format(path):
        raise InputError(f"{against}: no such file of a benchmark")
    raise unknown("benchmark", against, NAMES)


def _prompts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield id and text of each prompt. A row that cannot be read is an error: its prompt would be missed."""
    empty = True
    with closing(blocks(path, _ROWS)) as reader:
        for block in reader:
            raw = block.load()
            if raw.bad:
                raise InputError.at(raw.bad[0].detail, file=path, row=raw.bad[0].number)
            for part in raw.tables:
                names = part.table.column_names
                fields = [name for name in PROMPTS if name in names]
                if not fields:
                    raise InputError(
                        f"{path}: a benchmark without prompts: expected a column {', '.join(PROMPTS)}; "
                        f"found {listed(names, 600) or 'none'}"
                    )
                key = next((name for name in IDS if name in names), None)
                for number, row in zip(part.numbers, part.table.to_pylist(), strict=True):
                    # By row, because files of several benchmarks in one have rows of several forms.
                    prompt = next((row[field] for field in fields if row[field] is not None), None)
                    for text in _texts(prompt):
                        empty = False
                        yield str(number if key is None else row[key]), text
    if empty:
        raise InputError(f"{path}: a benchmark without prompts: no row has a word")


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts of a prompt: itself, or its turns."""
    if isinstance(value, str):
        # What has no word shares none.
        if any(map(str.isalnum, value)):
            yield value
    elif isinstance(value, Mapping):
        yield from _texts(value.get("content"))
    elif isinstance(value, Sequence):
        for turn in value:
            yield from _texts(turn)
