"""What a run records while it is trained; without any setting, its evaluations alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import nn

from pairkit.losses import Loss, WeightedSum
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.record.drawn import Drawn, Draws
from pairkit.training.record.pairs import pair_rows, step_file, write_rows
from pairkit.training.record.samples import Samples
from pairkit.training.record.schemas import FOLDERS, PAIRS, SAMPLES
from pairkit.training.record.settings import Record
from pairkit.training.step.batch import StepModel
from pairkit.training.step.evaluate import ScoredSets, evaluate, evaluation, score_sets
from pairkit.training.step.examples import Split
from pairkit.training.step.figures import Figures
from pairkit.training.step.order import StepOrder

STREAM = 1  # besides the seed, so that the report's sets are not the first of an epoch's order


@dataclass(frozen=True)
class Recording:
    """The evaluations of a run, and what it writes besides metrics.

    Attributes:
        out: the run's directory.
        names: of the training split and the held-out one.
        live: a reference that runs next to the policy at evaluations; None without `record.kl`.
        samples: None where none are taken.
        report: numbers of the training sets that the files of pairs have.
    """

    settings: Record
    out: Path
    names: tuple[str, str]
    negatives: Mapping[str, Any]
    train: Split
    held_out: Split | None
    live: nn.Module | None
    samples: Samples | None
    report: Sequence[int]
    drawn: Drawn | None
    _written: set[Path] = field(default_factory=set)

    def figures(self, loss: Loss | WeightedSum, *, logged: bool) -> Figures | None:
        """Return what collects the figures of a step that is logged; None where none are recorded."""
        return Figures(loss, self.negatives) if logged and self.settings.figures else None

    def draws(self, work: Sequence[SetSelection]) -> Draws:
        """Count what this process has drawn of the report's sets in a step."""
        return Draws() if self.drawn is None else self.drawn.find(work)

    def count(self, draws: Sequence[Draws]) -> None:
        """Add what all processes have drawn in a step."""
        if self.drawn is not None:
            self.drawn.add(draws)

    def evaluate(self, step_model: StepModel, step: int) -> dict[str, float]:
        """Return the metrics of the held-out sets, none without any, and write the file of pairs; collective.

        Raises `OutputError`.
        """
        if not self.settings.asked:
            return evaluate(step_model, self.held_out) if self.held_out else {}
        values: dict[str, float] = {}
        tables = []
        if self.held_out:
            sets = self._score(step_model, self.held_out, step_model.kind.evaluated)
            values = evaluation(step_model, sets, self.figures(step_model.loss, logged=True))
            tables.append((self.names[1], sets))
        if self.settings.pairs:
            if self.report:
                some = self._score(step_model, self.train, frozenset(), self.report)
                tables.insert(0, (self.names[0], some))
            if step_model.processes.main:
                self._write(PAIRS, step, [self._rows(name, sets) for name, sets in tables])
        return values

    def samples_due(self, step: int, order: StepOrder) -> bool:
        """Return whether samples are taken after `step` steps."""
        if self.samples is None:
            return False
        every = self.samples.settings.every
        if step in (0, order.end):
            return True
        if every == "epoch":
            return order.epoch_ended(step) is not None
        assert every is not None, "samples without an interval are not made"
        return step % every == 0

    def sample(self, step_model: StepModel, step: int) -> dict[str, float]:
        """Write the file of samples, and return their means; collective. Raises `OutputError`."""
        assert self.samples is not None, "asked of `samples_due`"
        table, means = self.samples.take(step_model, step, self.live if self.settings.kl else None)
        if step_model.processes.main:
            self._write(SAMPLES, step, [table])
        return means

    def forget_after(self, step: int) -> None:
        """Remove files of later steps than `step` that an earlier start has written, and this one has not."""
        for folder in FOLDERS:
            for path in (self.out / folder).glob("step-*.parquet"):
                if path not in self._written and _step_of(path) > step:
                    path.unlink()

    def _score(
        self,
        step_model: StepModel,
        split: Split,
        want: frozenset[str],
        rows: Sequence[int] | None = None,
    ) -> ScoredSets:
        runs = step_model.live is not None or self.live is not None
        divergence = self.settings.kl or "token_kl" in step_model.loss.needs
        want = step_model.want | want | ({"token_kl"} if runs and divergence else set())
        return score_sets(step_model, split, want, rows=rows, reference=self.live)

    def _rows(self, name: str, sets: ScoredSets) -> pa.Table:
        draws = self.drawn if name == self.names[0] and self.drawn and self.drawn.known else None
        return pair_rows(name, sets, draws.of if draws else None)

    def _write(self, folder: str, step: int, tables: Sequence[pa.Table]) -> None:
        if tables:
            path = step_file(self.out / folder, step)
            write_rows(path, tables)
            self._written.add(path)


def recording_of(
    settings: Record,
    out: Path,
    names: tuple[str, str],
    negatives: Mapping[str, Any],
    splits: tuple[Split, Split | None],
    live: nn.Module | None,
    samples: Samples | None,
    seed: int,
) -> Recording:
    """Choose the report's training sets by the seed, and return the recording of a run."""
    train, held_out = splits
    report = report_sets(settings, len(train.sets), seed)
    draws = Drawn([train.sets[i] for i in report]) if settings.pairs else None
    return Recording(settings, out, names, negatives, train, held_out, live, samples, report, draws)


def report_sets(settings: Record, sets: int, seed: int) -> list[int]:
    """Choose the training sets of the files of pairs, by number: a sample without replacement, in order."""
    if not settings.pairs:
        return []
    order = np.random.default_rng([seed, STREAM, STREAM]).permutation(sets)
    return sorted(order[: settings.report_sets].tolist())


def _step_of(path: Path) -> int:
    digits = path.stem.removeprefix("step-")
    return int(digits) if digits.isdigit() else 0  # 0: a person's copy, which stays
