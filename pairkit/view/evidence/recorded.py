"""What a training run recorded of a set: log-probs at each evaluation, and which negatives it sampled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairkit.errors import InputError, RecipeError
from pairkit.files import read_json_lines, read_record, undamaged
from pairkit.imports import only_named
from pairkit.training.output.layout import RECORD, REFUSED
from pairkit.training.record.schemas import PAIRS
from pairkit.view.files.shards import reading

ADVICE = "choose another --run, or train it again"
NUMBERS = ("length", "logp", "ref_logp", "token_kl", "drawn")
_NAMES = ("split", "set_id", "column", "rank", "origin", *NUMBERS)
Completion = Mapping[str, Any]


@dataclass(frozen=True)
class RecordedRun:
    """A training run: the fields of its record that are needed.

    Attributes:
        loss: name and keywords of the loss, as its recipe has them.
        negatives: every setting of the sampler; {} of a loss that samples none.
    """

    folder: Path
    loss: Mapping[str, Any]
    negatives: Mapping[str, Any]

    @property
    def steps(self) -> dict[int, Path]:
        """The files of pairs by step, as they are now: the run may go on."""
        files = {
            path.stem.removeprefix("step-"): path for path in (self.folder / PAIRS).glob("step-*.parquet")
        }
        # A person's copies have other names.
        return dict(sorted((int(name), path) for name, path in files.items() if name.isdigit()))


def open_run(
    folder: Path, manifests: Mapping[str, Mapping[str, Any]], digest: str, runs: Mapping[str, Path]
) -> tuple[RecordedRun, frozenset[str]]:
    """Open a run that was trained on a dataset; return it with the segments that it was trained on.

    Args:
        manifests: of the datasets, by segment; "" where there are none.
        digest: of the manifest of a single dataset.
        runs: of an online training, by segment: they may have been trained on more than their segment's data.

    Raises `InputError` for a directory that is none, a damaged record, and a run on other data.
    """
    run, record = read_run(folder)
    with undamaged(folder / RECORD, ADVICE):
        # None in records of versions that hashed no files.
        read = set(((record.get("content") or {}).get("data") or {}).values())
        trained_on = record["recipe"]["data"]
    segments = {segment for segment, manifest in manifests.items() if read & _hashes(manifest)}
    segments |= {segment for segment, path in runs.items() if path.resolve() == folder.resolve()}
    if record.get("data") == digest:
        segments |= set(manifests)
    if not segments:
        raise InputError(
            f"{folder}: was trained on other data ({trained_on}): open those, or leave --run out"
        )
    return run, frozenset(segments)


def _hashes(manifest: Mapping[str, Any]) -> set[Any]:
    """Return the hashes of the files that a manifest lists; none of one that lists them otherwise."""
    files = manifest.get("files")
    entries = files.values() if isinstance(files, Mapping) else ()
    hashes = (about.get("sha256") for about in entries if isinstance(about, Mapping))
    return {digest for digest in hashes if isinstance(digest, str)}


def read_run(folder: Path) -> tuple[RecordedRun, dict[str, Any]]:
    """Read a run and its record. Raises `InputError` for a directory that is none, and a damaged record."""
    if not (folder / RECORD).is_file():
        what = "no training run" if folder.is_dir() else "no such directory"
        raise InputError(f"{folder}: {what}: give --run a directory that `pairkit train` wrote ({RECORD})")
    record = read_record(folder / RECORD, ADVICE)
    with undamaged(folder / RECORD, ADVICE):
        loss, negatives = dict(record["recipe"]["loss"]), dict(record["plan"].get("negatives") or {})
        orjson.dumps([loss, negatives])  # as the page gets them, and it has integers of 64 bits alone
        return RecordedRun(folder, loss, negatives), record


def recorded(run: RecordedRun, set_id: str, split: str, completions: Sequence[Completion]) -> dict[str, Any]:
    """Return what a run recorded of a set.

    Args:
        completions: of the set, with `position`, `rank`, `score` and `origin`.

    Returns:
        `loss`, `negatives`, and `steps`: of each evaluation its number and the completions, each with its
        `position` in the set (null where it is not certain), log-probs (nats), how often it was `drawn` as a
        negative so far and `new` since the evaluation before, and the `weight` with which the sampler would
        take it. `note` says why there is no step or no weight, null if there is nothing to say; `refused` why
        the run did not train on the set.

    Raises `InputError` for damaged files.
    """
    steps = []
    before: dict[tuple[int, int], int] = {}
    for step, path in run.steps.items():
        examples = _examples(_read(path, set_id, split))
        rows = [
            {**row, "example": number, "position": position, "weight": weight}
            for number, example in enumerate(examples)
            for row, position, weight in zip(
                example, _positions(example, completions), _weights(run, example), strict=True
            )
        ]
        for row in rows:
            key = (row["example"], row["column"])
            row["new"] = None if row["drawn"] is None else row["drawn"] - before.get(key, 0)
            before[key] = row["drawn"] or 0
        if rows:
            steps.append({"step": step, "completions": rows})
    return {
        "folder": str(run.folder),
        "loss": run.loss,
        "negatives": run.negatives,
        "steps": steps,
        "note": _note(run, bool(steps)),
        "refused": _refused(run, set_id, split),
    }


def _note(run: RecordedRun, has_steps: bool) -> str | None:
    if has_steps:
        return None if not _has_weights(run) or _has_torch() else "weights need torch: pip install torch"
    if not run.steps:
        return "the run recorded no pairs: train with record.pairs=true"
    return "the run recorded other sets: it records all held-out ones, and record.report_sets training sets"


def _read(path: Path, set_id: str, split: str) -> list[dict[str, Any]]:
    with reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        if missing := [name for name in _NAMES if name not in file.schema_arrow.names]:
            raise InputError(f"{path}: has no column {missing[0]!r}; {ADVICE}")
        table = file.read(list(_NAMES))
        mine = pc.and_(pc.equal(table["set_id"], set_id), pc.equal(table["split"], split))
        rows: list[dict[str, Any]] = table.filter(mine).to_pylist()
    return [{name: _finite(row[name]) for name in ("column", "rank", "origin", *NUMBERS)} for row in rows]


def _finite(value: Any) -> Any:
    # JSON has no other numbers.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _examples(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Divide the rows of a set into examples: one, or with `expand=pairs` one per pair."""
    examples: list[list[dict[str, Any]]] = []
    for row in rows:
        if row["column"] == 0 or not examples:
            examples.append([])
        examples[-1].append(row)
    return examples


class _Kind(NamedTuple):
    rank: int | None
    origin: str


def _positions(example: Sequence[Completion], completions: Sequence[Completion]) -> list[int | None]:
    """Return which completion of the set each row is.

    A run leaves out what its loss cannot use, in the same order; where it has left out more, a completion is
    certain if no other one has its rank and origin.
    """
    example_kinds = [_kind(row) for row in example]
    for choice in _choices(completions):
        if [_kind(each) for each in choice] == example_kinds:
            return [each["position"] for each in choice]
    kinds = [_kind(each) for each in completions]
    return [
        completions[kinds.index(kind)]["position"] if kinds.count(kind) == 1 else None
        for kind in example_kinds
    ]


def _kind(each: Completion) -> _Kind:
    return _Kind(each["rank"], each["origin"])


def _choices(completions: Sequence[Completion]) -> list[list[Completion]]:
    """Return what a loss may use of a set: all of it, the best and what is below it, those with scores."""
    ranked = [each for each in completions if each["rank"] is not None and each["origin"] != "noise"]
    if not ranked:
        return [list(completions), list(completions[:1])]
    best = min(ranked, key=lambda each: each["rank"])  # the first of several
    below = [
        each
        for each in completions
        if each is best or each["origin"] == "noise" or (each["rank"] or 0) > best["rank"]
    ]
    return [below, list(completions), [each for each in below if each["score"] is not None], [best]]


def _weights(run: RecordedRun, example: Sequence[Completion]) -> list[float | None]:
    """Return the probability with which one draw of MC-PO's kernel takes each completion."""
    nothing: list[float | None] = [None] * len(example)
    if not _has_weights(run) or len(example) < 2 or not _has_torch():
        return nothing
    # Here, because nothing else of a collection needs torch.
    import torch

    from pairkit.losses import Logps
    from pairkit.losses.sampling import candidate_weights

    with undamaged(run.folder / RECORD, ADVICE):
        loss = _loss(run)
    names = ["logp", "ref_logp"] if loss is not None and "reference" in loss.needs else ["logp"]
    if loss is None or any(row[name] is None for row in example for name in names):
        return nothing
    lengths = torch.tensor([[row["length"] for row in example]])
    sums = [torch.tensor([[row[name] for row in example]], dtype=torch.float64) for name in names]
    policy, *reference = (Logps(each, lengths, torch.ones_like(lengths, dtype=torch.bool)) for each in sums)
    with undamaged(run.folder / RECORD, ADVICE):
        weights = candidate_weights(
            policy,
            reference[0] if reference else None,
            beta=loss.beta,
            weights=str(run.negatives["weights"]),
            include_chosen=bool(run.negatives["include_chosen"]),
        )
    return weights[0].tolist()


def _has_weights(run: RecordedRun) -> bool:
    return run.negatives.get("sampling") == "mc"


def _has_torch() -> bool:
    """Return whether torch is installed: a machine that only prepares data can do without."""
    return find_spec("torch") is not None


def _loss(run: RecordedRun) -> Any:
    """Build the loss of a run; None for one of another package, whose code is not run."""
    from pairkit.losses.building import build

    fields = dict(run.loss)
    try:
        with only_named(()):
            return build(str(fields.pop("name")), **fields)
    except RecipeError:
        return None


def _refused(run: RecordedRun, set_id: str, split: str) -> str | None:
    path = run.folder / REFUSED
    if not path.is_file():
        return None
    lines = read_json_lines(path, ADVICE)
    with undamaged(path, ADVICE):
        return next(
            (
                f"{line['reason']}: {line['detail']}"
                for line in lines
                if line["set_id"] == set_id and line.get("split", split) == split
            ),
            None,
        )
