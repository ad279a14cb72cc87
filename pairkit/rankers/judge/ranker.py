"""The judge as a ranker: tables of candidate sets in, scored sets, quarantine, counts and verdicts out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit import schema
from pairkit.engines.asking import Ask
from pairkit.intervals import Floats
from pairkit.progress import Advance
from pairkit.rankers.judge import iterative, listwise, pointwise, round_robin
from pairkit.rankers.judge.prompt import Prompt, read_prompts
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.rankers.judge.rounds import Rounds
from pairkit.rankers.judge.statistics import COUNTS
from pairkit.rankers.judge.texts import Case, case_of
from pairkit.rankers.named import with_score
from pairkit.schema import StageResult, quarantine_rows
from pairkit.sets import assemble, batches, completions

NAME = "judge"
_COMPARING = {"iterative": iterative.scores, "round_robin": round_robin.scores, "listwise": listwise.scores}
# Named score -> the numbers of each case's texts, None for a case that is out.
_Named = Mapping[str, Sequence[Floats | None]]


def load(recipe: JudgeRecipe, ask: Ask, *, seed: int) -> Judge:
    """The judge of a recipe, who asks through `ask`. Errors as of `prompt.read_prompts`."""
    return Judge(recipe, read_prompts(recipe), ask, seed)


@dataclass(frozen=True)
class Judge:
    """A `Ranker`. The protocol pointwise gives each aspect a named score beside the mean's."""

    recipe: JudgeRecipe
    prompts: Mapping[str, Prompt]
    ask: Ask
    seed: int
    name: str = NAME

    @property
    def prompt_hashes(self) -> dict[str, str]:
        """The sha256 of each prompt's file."""
        return {name: prompt.sha256 for name, prompt in self.prompts.items()}

    def score(self, sets: pa.Table, advance: Advance, /) -> StageResult:
        """Scores all completions but noise; equal texts are asked about once.

        Sets with a question that stays without a verdict go to quarantine (reason `unparsable_verdict`), as
        do sets that the engine cannot be asked about (its reason). Sets in which there is nothing to compare
        come back without a score.
        """
        asked = 0

        def told(questions: int) -> None:
            advance(0, note=f"{asked + questions:,} questions")

        parts = []
        for batch in batches(sets):
            parts.append(self._score(batch, advance, told))
            asked += parts[-1].counts["questions"]
        counts = Counter(dict.fromkeys(COUNTS, 0))
        for part in parts:
            counts.update(part.counts)
        empty = StageResult(schema.SETS.empty_table())
        tables = zip(*((part.sets, part.quarantine, part.verdicts) for part in [empty, *parts]), strict=True)
        scored, quarantine, verdicts = map(pa.concat_tables, tables)
        return StageResult(scored, quarantine, verdicts, dict(counts))

    def _score(self, batch: pa.RecordBatch, advance: Advance, told: Callable[[int], None]) -> StageResult:
        rows = batch.select(["set_id", "prompt", "completions"]).to_pylist()
        fewest = 1 if self.recipe.protocol == "pointwise" else 2
        every = [case_of(row, set_, self.seed) for row, set_ in enumerate(rows)]
        cases = [case for case in every if len(case.texts) >= fewest]
        rounds = Rounds(cases, self.prompts, self.recipe, self.ask, self.seed, told)
        named = self._ask(cases, rounds)
        rounds.counts["sets"] += len(cases)
        advance(sum(one["origin"] != "noise" for row in rows for one in row["completions"]))
        lost = {cases[index].row: problem for index, problem in sorted(rounds.failed.items())}
        sets = pa.Table.from_batches([_with_scores(batch, cases, named)], schema=schema.SETS)
        stays = pa.array([row not in lost for row in range(len(rows))], pa.bool_())
        reasons, details = zip(*lost.values(), strict=True) if lost else ((), ())
        return StageResult(
            sets.filter(stays),
            quarantine_rows("rank", batch.filter(pc.invert(stays)), reasons, details),
            rounds.verdicts(),
            dict(rounds.counts),
        )

    def _ask(self, cases: Sequence[Case], rounds: Rounds) -> _Named:
        if self.recipe.protocol != "pointwise":
            (prompt,) = self.prompts
            return {self.name: _COMPARING[self.recipe.protocol](cases, rounds, prompt, self.seed)}
        rated = pointwise.ratings(cases, rounds, tuple(self.prompts))
        aspects = {
            f"{self.name}.{aspect}": [None if one is None else one[index] for one in rated]
            for index, aspect in enumerate(self.prompts)
        }
        # The mean comes last: it is the score.
        return {**aspects, self.name: [None if one is None else one.mean(axis=0) for one in rated]}


def _with_scores(batch: pa.RecordBatch, cases: Sequence[Case], named: _Named) -> pa.RecordBatch:
    """The batch with each named score; the last one is the score."""
    flat, owner = completions(batch), pc.list_parent_indices(batch["completions"]).to_numpy()
    first = np.searchsorted(owner, np.arange(batch.num_rows))
    for name, numbers in named.items():
        values = np.full(len(flat), np.nan)
        for case, texts in zip(cases, numbers, strict=True):
            if texts is not None:
                for number, places in zip(texts, case.places, strict=True):
                    values[first[case.row] + np.array(places)] = number
        flat = with_score(flat, name, pa.array(values, pa.float64(), from_pandas=True))
    return assemble(batch, flat, owner, np.arange(len(flat)))
