"""What a training run recorded: its record, its metrics, and its files of pairs and samples."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.files import read_record, undamaged
from pairkit.intervals import Floats
from pairkit.losses.building import trained_by
from pairkit.training.output.entries import read_entries
from pairkit.training.output.layout import METRICS, RECORD
from pairkit.training.record.schemas import PAIR_ROWS, PAIRS, SAMPLE_ROWS, SAMPLES

ADVICE = "leave the run out, or train it again"


@dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
        recipe: its settings, as its record has them.
        loss: name and all keywords of the loss, those of a sum by part.
        negatives: every setting of the sampler.
        examples: sets, or pairs, of an epoch.
        entries: the lines of its metrics.
        pairs, samples: its files, by step.
        segments: of an online training what it wrote of each finished one.
        planned: steps that it takes in all, None where that is not known.
    """

    folder: Path
    recipe: Mapping[str, Any]
    loss: Mapping[str, Any]
    negatives: Mapping[str, Any]
    examples: int
    entries: Sequence[Mapping[str, Any]]
    pairs: Mapping[int, Path]
    samples: Mapping[int, Path]
    segments: Sequence[Mapping[str, Any]] = ()
    planned: int | None = None
    # Kept, because several figures are drawn from one file, and from one number.
    _read: dict[tuple[int, str], Sets] = field(default_factory=dict, repr=False, compare=False)
    _columns: dict[tuple[str, ...], Column] = field(default_factory=dict, repr=False, compare=False)
    _by_kind: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def trains(self) -> str:
        """What the loss trains: policy, reward or pairrm."""
        return trained_by(str(self.loss["name"]))

    @property
    def taken(self) -> int:
        """The last step that is recorded."""
        return max((entry["step"] for entry in self.entries), default=0)

    @property
    def unfinished(self) -> bool:
        """Whether more steps were planned than are recorded."""
        return self.planned is not None and self.taken < self.planned

    @property
    def warnings(self) -> Sequence[Mapping[str, Any]]:
        """The signs of collapse that it has found."""
        return self._of_kind("warning")

    def epoch(self, step: int) -> float:
        """Return the epochs that `step` steps take."""
        return step * int(self.recipe["sets_per_step"]) / self.examples

    def column(self, kind: str, *keys: str) -> Column:
        """Return a number, or the difference of two, over the steps; NaN where it was not finite.

        Raises `InputError` for a value that is not a number.
        """
        if (kind, *keys) not in self._columns:
            with undamaged(self.folder / METRICS, ADVICE):
                entries = self._of_kind(kind)
                try:
                    values = [list(map(itemgetter(key), entries)) for key in keys]
                except KeyError:
                    # Fewer have it, which takes longer to find than that all do.
                    entries = [entry for entry in entries if all(map(entry.__contains__, keys))]
                    values = [list(map(itemgetter(key), entries)) for key in keys]
                first, *others = map(numbers_of, values)
                steps = np.fromiter(map(itemgetter("step"), entries), np.int64, len(entries))
                self._columns[kind, *keys] = _ascending(steps, first - sum(others))
        return self._columns[kind, *keys]

    def values(self, kind: str, *keys: str) -> dict[int, float]:
        """Return what `column` does, by step."""
        steps, values = self.column(kind, *keys)
        return dict(zip(steps.tolist(), values.tolist(), strict=True))

    def _of_kind(self, kind: str) -> Sequence[Mapping[str, Any]]:
        if not self._by_kind:
            for entry in self.entries:
                self._by_kind.setdefault(entry["kind"], []).append(entry)
        return self._by_kind.get(kind, ())

    def before(self, step: int) -> int | None:
        """Return the step of the pairs that were recorded before those of a step, None for the first ones.

        Counts of draws begin again in each segment of an online training.
        """
        folder = self.pairs[step].parent
        earlier = (other for other, path in self.pairs.items() if other < step and path.parent == folder)
        return max(earlier, default=None)

    def sets(self, step: int, split: str) -> Sets:
        """Read the recorded sets of a split, "train" or "eval". Raises `InputError` for a damaged file."""
        if (step, split) not in self._read:
            self._read[step, split] = _sets(self.pairs[step], str(self.recipe[f"{split}_split"]))
        return self._read[step, split]

    def written(self, step: int, *, texts: bool = False) -> list[dict[str, Any]]:
        """Read the samples of a step, without or with `prompt` and `text`.

        Raises `InputError` for a damaged file.
        """
        names = [name for name in SAMPLE_ROWS.names if texts or name not in ("prompt", "text")]
        rows: list[dict[str, Any]] = _read(self.samples[step], SAMPLE_ROWS, names).to_pylist()
        return rows


class Column(NamedTuple):
    """A number over ascending steps, `[steps]` each."""

    steps: npt.NDArray[np.int64]
    values: Floats


def column_of(values: Mapping[int, float]) -> Column:
    """Return values by step as a column."""
    steps = np.fromiter(values, np.int64, len(values))
    return _ascending(steps, np.fromiter(values.values(), np.float64, len(values)))


def _ascending(steps: npt.NDArray[np.int64], values: Floats) -> Column:
    if (np.diff(steps) > 0).all():
        return Column(steps, values)
    # Of a step that is there twice, as the end and the beginning of two segments, the last value.
    places = len(steps) - 1 - np.unique(steps[::-1], return_index=True)[1]
    return Column(steps[places], values[places])


class Sets(NamedTuple):
    """Completions of B candidate sets, `[B, K]` each; completion 0 is the chosen one.

    Log-probs and divergences are sums over tokens, nats. What is not known, or absent, is NaN.
    """

    mask: npt.NDArray[np.bool_]
    logp: Floats
    reference: Floats
    token_kl: Floats
    length: Floats
    rank: Floats
    drawn: Floats
    origin: npt.NDArray[np.object_]
    key: npt.NDArray[np.object_]  # what each set is known by, `[B]`

    def differences(self, values: Floats) -> Floats:
        """Return chosen minus rejected, for each pair of a chosen completion and another one of its set."""
        pairs: Floats = (values[:, :1] - values)[:, 1:][self.mask[:, 1:]]
        return pairs

    def of(self, rows: npt.NDArray[np.intp]) -> Sets:
        """Return some of the sets."""
        return Sets._make(values[rows] for values in self)


def in_both(first: Sets, second: Sets) -> tuple[Sets, Sets]:
    """Return the sets that two files have in common: a run that is resumed may record others."""
    if np.array_equal(first.key, second.key):
        return first, second
    _, rows, others = np.intersect1d(first.key, second.key, return_indices=True)
    width = int(first.mask[rows].sum(axis=1).max(initial=1))
    both = (each.of(places) for each, places in ((first, rows), (second, others)))
    one, other = (Sets._make([*(values[:, :width] for values in each[:-1]), each.key]) for each in both)
    return one, other


def read_run(folder: Path) -> Run:
    """Read the record and the metrics of a run. Raises `InputError` for damaged ones."""
    record = read_record(folder / RECORD, ADVICE)
    with undamaged(folder / RECORD, ADVICE):
        recipe, plan = dict(record["recipe"]), dict(record["plan"])
        counts = plan["train_sets"]
        examples = int(counts.get("pairs", counts["used"]))
        loss = {"name": str(plan["loss"]["name"]), **plan["loss"]}
        negatives = dict(plan.get("negatives") or {})
        # Read here, so that what misses in a record, or has another form, is an error of its file.
        names = [recipe[key] for key in ("seed", "sets_per_step", "train_split", "eval_split", "record")]
        if not examples or not isinstance(names[1], int):
            raise ValueError("it has no sets")
        for name in ("loss", "record", "optimizer"):
            if not isinstance(recipe[name], Mapping):
                raise TypeError(f"{name} is not an object")
        numbers_of([recipe["optimizer"].get(name) for name in ("learning_rate", "max_grad_norm")])
        numbers_of([loss.get("beta"), plan.get("steps")])
    pairs, samples = (
        {_step(path): path for path in sorted(_files(folder / name))} for name in (PAIRS, SAMPLES)
    )
    entries = read_entries(folder / METRICS, ADVICE)
    return Run(folder, recipe, loss, negatives, examples, entries, pairs, samples, planned=plan.get("steps"))


def _files(folder: Path) -> Iterator[Path]:
    # A person's copies have other names.
    return (path for path in folder.glob("step-*.parquet") if re.fullmatch(r"step-[0-9]{1,18}", path.stem))


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def number_of(value: object) -> float:
    """Return a number of a record, NaN for one that was not finite. Raises `TypeError` for another value."""
    return float(numbers_of([value])[0])


def numbers_of(values: Sequence[object]) -> Floats:
    """Return numbers of a record, `[values]`, as `number_of` does each."""
    # At once, because a long run has millions.
    if others := set(map(type, values)) - {int, float, type(None)}:
        other = next(value for value in values if type(value) in others)
        raise TypeError(f"{other!r} is not a number")
    array = np.array(values, np.float64)  # null, for one that was not finite, is NaN
    return np.where(np.isfinite(array), array, np.nan)


def _read(path: Path, schema: pa.Schema, names: Sequence[str]) -> pa.Table:
    fields = pa.schema([schema.field(name) for name in names])
    with (
        undamaged(path, ADVICE),
        _as_value_error(),
        pq.ParquetFile(path, page_checksum_verification=True) as file,
    ):
        if missing := [name for name in names if name not in file.schema_arrow.names]:
            raise ValueError(f"it has no column {missing[0]}")
        table: pa.Table = file.read(list(names)).select(list(names)).cast(fields)
        return table


@contextmanager
def _as_value_error() -> Iterator[None]:
    """Turn the OSError of a damaged file, which has no message for a person, into a ValueError."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise ValueError(str(error)) from error
        raise


def _sets(path: Path, split: str) -> Sets:
    table = _read(path, PAIR_ROWS, PAIR_ROWS.names)
    rows = table.filter(pa.compute.equal(table["split"], split))
    with undamaged(path, ADVICE):
        column = rows["column"].to_numpy()
        if len(column) and column[0] != 0:
            raise ValueError("its first completion is not a chosen one")
        begins = column == 0
        owner = np.cumsum(begins) - 1  # [rows]
        place = np.arange(len(column)) - np.flatnonzero(begins)[owner]
        shape = (int(begins.sum()), int(place.max(initial=0)) + 1)

        def spread(values: npt.NDArray[Any], empty: object, kind: Any) -> npt.NDArray[Any]:
            array = np.full(shape, empty, kind)
            array[owner, place] = values
            return array

        def numbers(name: str) -> Floats:
            values = rows[name].cast(pa.float64()).to_numpy()  # null is NaN
            return spread(np.where(np.isfinite(values), values, np.nan), np.nan, np.float64)

        origins = np.array(rows["origin"].to_pylist(), dtype=object)
        return Sets(
            mask=spread(np.ones(len(column), np.bool_), False, np.bool_),
            logp=numbers("logp"),
            reference=numbers("ref_logp"),
            token_kl=numbers("token_kl"),
            length=numbers("length"),
            rank=numbers("rank"),
            drawn=numbers("drawn"),
            origin=spread(origins, "", object),
            key=_keys(rows["set_id"].to_pylist(), column, begins),
        )


def _keys(
    ids: Sequence[str], column: npt.NDArray[np.int32], begins: npt.NDArray[np.bool_]
) -> npt.NDArray[np.object_]:
    """Return a set's id with its columns, because a set may be recorded as several pairs."""
    first = np.flatnonzero(begins)
    parts = np.split(column, first[1:]) if len(first) else []
    keys = [f"{ids[place]} {part.tolist()}" for place, part in zip(first.tolist(), parts, strict=True)]
    return np.array(keys, dtype=object)
