"""`pairkit eval judge`: a judge is asked about pairs that people have labelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pairkit import __version__, schema
from pairkit.engines import open_engine
from pairkit.engines.asking import Ask, Asking
from pairkit.engines.base import Engine, Request, Result
from pairkit.engines.cache import Cache
from pairkit.engines.recipe import CallSettings
from pairkit.errors import InputError
from pairkit.evaluation.judge import agreement
from pairkit.evaluation.judge.agreement import Measure
from pairkit.evaluation.judge.labels import Pairs
from pairkit.files import replacing, sha256, stoppable, write_json
from pairkit.intervals import Floats
from pairkit.progress import Advance, progress
from pairkit.rankers.judge import statistics
from pairkit.rankers.judge.prompt import Prompt, read_prompts
from pairkit.rankers.judge.ranker import Judge
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.rankers.judge.statistics import Rate
from pairkit.schema import StageResult

SOURCE = "labels"


class EvalJudgeRecipe(JudgeRecipe):
    """A judge, and how calls to its server are made."""

    calls: CallSettings = CallSettings()


class Evaluated(NamedTuple):
    """What was measured: `verdicts` are the first answer's points `[N]`, nan where there is none."""

    verdicts: Floats
    scored: StageResult
    overall: list[Measure]
    by_length: list[Measure]
    by_subset: list[Measure]
    judge: list[Rate]


def questions(recipe: JudgeRecipe, pairs: Pairs) -> int:
    """How many questions the pairs are, before any is asked again."""
    if recipe.protocol == "pointwise":
        texts = (len({first, second}) for first, second in zip(pairs.first, pairs.second, strict=True))
        return len(recipe.prompts) * sum(texts)
    unequal = sum(first != second for first, second in zip(pairs.first, pairs.second, strict=True))
    return unequal * (2 if recipe.both_orders else 1)


def evaluate(recipe: JudgeRecipe, pairs: Pairs, ask: Ask, *, seed: int, advance: Advance) -> Evaluated:
    """Asks the judge about all pairs and compares its verdicts with the labels.

    The answer with the higher score is the verdict; equal scores are a tie, as are equal texts, which are
    not asked about. A pair in quarantine has no verdict.
    """
    sets = _sets(pairs)
    scored = Judge(recipe, read_prompts(recipe), ask, seed).score(sets, advance)
    verdicts = _verdicts(sets["set_id"].to_pylist(), scored.sets)
    lengths = np.array([list(map(len, pairs.first)), list(map(len, pairs.second))], dtype=np.float64).T
    groups = schema.prompt_ids(sets["prompt"])
    return Evaluated(
        verdicts,
        scored,
        agreement.overall(verdicts, pairs.labels, groups, seed=seed),
        agreement.by_length(verdicts, pairs.labels, lengths, groups, seed=seed),
        agreement.by_subset(verdicts, pairs.labels, pairs.subsets, groups, seed=seed),
        statistics.report(scored.counts),
    )


def run(
    recipe: EvalJudgeRecipe, data: Path, pairs: Pairs, out: Path, *, seed: int, retry_failed: bool = False
) -> Evaluated:
    """Opens the recipe's engine, evaluates, and writes `out`.

    results.json, agreement.png, verdicts.parquet (every answer), quarantine.parquet and calls.sqlite, from
    which a run that stopped, or is repeated, takes the answers it has. Raises `InputError` where no pair has
    a verdict, after `out` is written.
    """
    prompts = read_prompts(recipe)
    again = f"{out}: stopped; answers are kept, the same command continues"
    with stoppable(out, lambda: again):
        cache = Cache(out / "calls.sqlite", retry_failed=retry_failed)
        try:
            engine = open_engine(recipe, recipe.calls)
            try:
                done = _ask_engine(recipe, pairs, engine, cache, seed)
            finally:
                engine.close()
        finally:
            cache.close()
        _write(recipe, data, pairs, prompts, done, out, seed)
    if np.isnan(done.verdicts).all():
        first = done.scored.quarantine.slice(0, 1).to_pylist()
        why = f"; the first: {first[0]['reason']}: {first[0]['detail']}" if first else ""
        raise InputError(f"{data}: the judge gave no verdict on any of {len(pairs.first)} pairs{why}")
    return done


def _ask_engine(recipe: JudgeRecipe, pairs: Pairs, engine: Engine, cache: Cache, seed: int) -> Evaluated:
    with progress(f"Asking {engine.name}", questions(recipe, pairs), unit="questions") as advance:

        def no_sets(count: int = 1, /, note: str = "") -> None:
            """The bar counts questions, and shows no second number."""

        ask = asking(engine, cache, advance)
        return evaluate(recipe, pairs, ask, seed=seed, advance=no_sets)


def asking(engine: Engine, cache: Cache | None, advance: Advance) -> Ask:
    """`asking.complete` that tells of each question when it is answered for the first time."""
    asked: set[int] = set()

    def ask(requests: Sequence[Request]) -> list[Result]:
        texts = [hash(str(request.prompt)) for request in requests]
        again = sum(text in asked for text in texts)
        note = f"{again:,} asked again" if again else ""
        done: dict[int, Result] = {}
        with Asking(engine, cache) as calls:
            calls.add(requests)
            while ready := calls.results():
                done |= dict(ready)
                new = {texts[number] for number, _ in ready} - asked
                asked.update(new)
                advance(len(new), note=note)
        return [done[number] for number in range(len(requests))]

    return ask


def _sets(pairs: Pairs) -> pa.Table:
    """The pairs as candidate sets of two, in their order."""
    rows = [
        {
            "source": SOURCE,
            "prompt": prompt,
            "completions": [{"text": text, "origin": "source", "scores": []} for text in (first, second)],
            "metadata": "{}",
        }
        for prompt, first, second in zip(pairs.prompts, pairs.first, pairs.second, strict=True)
    ]
    return schema.identify(pa.Table.from_pylist(rows, schema=schema.UNIDENTIFIED), {})


def _verdicts(set_ids: Sequence[str], scored: pa.Table) -> Floats:
    """1 where the first of two completions has the higher score, 1/2 where they are equal, else 0; or nan."""
    flat = pc.list_flatten(scored["completions"])
    numbers = pc.struct_field(flat, "score").to_numpy().astype(np.float64).reshape(-1, 2)
    points = (np.sign(numbers[:, 0] - numbers[:, 1]) + 1) / 2
    texts = np.array(pc.struct_field(flat, "text").to_pylist(), dtype=object).reshape(-1, 2)
    points[texts[:, 0] == texts[:, 1]] = 0.5
    found = dict(zip(scored["set_id"].to_pylist(), points, strict=True))
    return np.array([found.get(set_id, np.nan) for set_id in set_ids], dtype=np.float64)


def _write(
    recipe: EvalJudgeRecipe,
    data: Path,
    pairs: Pairs,
    prompts: dict[str, Prompt],
    done: Evaluated,
    out: Path,
    seed: int,
) -> None:
    from pairkit.evaluation.judge.plot import plot

    for name, table in (("verdicts", done.scored.verdicts), ("quarantine", done.scored.quarantine)):
        with replacing(out / f"{name}.parquet") as temporary:
            pq.write_table(table, temporary, compression="zstd")
    with replacing(out / "agreement.png") as temporary:
        plot(done.by_length, temporary)
    write_json(out / "results.json", results(recipe, data, pairs, prompts, done, seed))


def results(
    recipe: EvalJudgeRecipe,
    data: Path,
    pairs: Pairs,
    prompts: dict[str, Prompt],
    done: Evaluated,
    seed: int,
) -> dict[str, Any]:
    """All that was measured and what it was measured with, as JSON values."""
    return {
        "pairkit": __version__,
        "data": {
            "file": data.name,
            "sha256": sha256(data),
            "rows": pairs.rows,
            "left_out": dict(pairs.left_out),
            "left_out_rows": pairs.details,
        },
        "judge": recipe.model_dump(mode="json", exclude={"calls"}),
        "prompts": {
            name: {"version": prompt.header.version, "sha256": prompt.sha256}
            for name, prompt in prompts.items()
        },
        "seed": seed,
        "pairs": len(pairs.first),
        "pairs_judged": int((~np.isnan(done.verdicts)).sum()),
        "pairs_without_verdict": without_verdict(done),
        "agreement": [_measure(measure) for measure in done.overall],
        "by_length": [_measure(measure) for measure in done.by_length],
        "by_subset": [_measure(measure) for measure in done.by_subset],
        "judge_statistics": [
            {
                "name": rate.name,
                "meaning": rate.meaning,
                "count": rate.number,
                "of": rate.of,
                **_of(rate.share),
            }
            for rate in done.judge
        ],
        "counts": done.scored.counts,
    }


def without_verdict(done: Evaluated) -> dict[str, int]:
    """The pairs without a verdict, by the reason of their quarantine."""
    return dict(Counter(done.scored.quarantine["reason"].to_pylist()))


def _measure(measure: Measure) -> dict[str, Any]:
    return {
        "name": measure.name,
        "meaning": measure.meaning,
        "pairs": measure.pairs,
        **_of(measure.value),
    }


def _of(interval: Any) -> dict[str, float]:
    return {"value": interval.mean, "low": interval.low, "high": interval.high}
