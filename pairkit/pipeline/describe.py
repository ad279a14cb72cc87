"""Text for the terminal about what a build will do and what it did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from pairkit.dataset.layout import CARD, LOG, QUARANTINE_FILE
from pairkit.engines.base import REMARKS
from pairkit.engines.model_pool import PoolRecipe
from pairkit.engines.table import ENGINES
from pairkit.masking import masked
from pairkit.pipeline import readings, require_completions, validate
from pairkit.pipeline.batches.plan import plan as plan_batches
from pairkit.pipeline.directory import CACHE, survey
from pairkit.pipeline.inputs import open_input
from pairkit.pipeline.prepass.preview import preview
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.pipeline.stages import stages
from pairkit.progress import shell_quoted
from pairkit.rankers.human.describe import describe_people
from pairkit.rankers.judge.statistics import describe_judges
from pairkit.rankers.panel.agreement import describe_panel
from pairkit.rankers.table import RANKERS, asking, name_of
from pairkit.schema import MANIFEST
from pairkit.sources import Opened

NAMED_FILES = 50  # in a plan
_SOURCES = 20  # of a mixture, in a summary
# Counts of generation that the summary shows, in words.
_SHOWN = {
    "length": "cut off by max_tokens",
    "refused": "refused by the server",
    "refusals": "begin as a refusal",
    "empty": "empty",
    "recorded_ids": "stored with the sampled ids, because their text gives other ids",
    "truncated_dropped": "dropped, cut off by max_tokens",
    "regenerated": "generated again",
    "repeated": "the same as another one of their prompt",
    **REMARKS,
}


def plan(recipe: BuildRecipe, out: Path, output: str | None = None, cache: Path | None = None) -> str:
    """Describe the resolved recipe, the input files and the output, without writing anything.

    Args:
        output: what to say of the output; None: of the directory `out`.
        cache: with `calls.batch`, the answers that need not be submitted; None: those of a build.

    Raises what is wrong with the recipe, as far as `validate.check` finds it.
    """
    opened = open_input(recipe.input, out)
    validate.check(recipe)
    require_completions.check(recipe, opened)
    files = [f"  {path} ({path.stat().st_size:,} bytes)" for path in opened.files[:NAMED_FILES]]
    if len(opened.files) > NAMED_FILES:
        files.append(f"  and {len(opened.files) - NAMED_FILES:,} more files")
    # A text format would have to be read to the end for this.
    rows = "unknown" if opened.total_rows is None else f"{opened.total_rows:,}"
    return "\n".join(
        [
            # With all defaults, because the plan has to show what is used and not what was typed.
            yaml.safe_dump(
                masked(recipe.model_dump(mode="json")), sort_keys=False, allow_unicode=True
            ).rstrip(),
            f"input ({rows} rows):",
            *files,
            *_readings(opened),
            *_parts(opened),
            *_models(recipe, sum(part.taken for part in opened.parts) or opened.total_rows),
            *(plan_batches(recipe, opened, cache or out.parent / CACHE) if recipe.calls.batch else ()),
            *_leaving(recipe, opened),
            f"output: {output or f'{out} (now: {survey(out)})'}",
            "  data/train-*.parquet" + (", data/test-*.parquet" if recipe.test_fraction else ""),
            f"  pairs/ with the same splits, {QUARANTINE_FILE}, {CARD}, {MANIFEST}, {LOG}",
            "dry run: nothing was written",
        ]
    )


def _leaving(recipe: BuildRecipe, opened: Opened) -> list[str]:
    """Describe what the prepass and the filters would take out."""
    steps = [stage.run for stage in stages(recipe) if stage.name == "rank"]

    def rank(sets: pa.Table) -> pa.Table:
        for step in steps:
            sets = step(sets).sets
        return sets

    asks = recipe.generate is not None or bool(asking(recipe.rankings))
    limited = recipe.source is not None and recipe.source.limit is not None
    return preview(recipe.prepass, opened, recipe.unit_rows, limited=limited, rank=None if asks else rank)


def _readings(opened: Opened) -> list[str]:
    """Describe how the files are read, with the place of each field."""
    read = readings.records(opened.readings)
    lines = []
    for record in read:
        first, *others = readings.describe(record, files=len(read) > 1)
        lines += [first, *(f"  {line}" for line in readings.fields(record)), *others]
    return lines


def _parts(opened: Opened) -> list[str]:
    """Describe how much of each source of a mixture is taken."""
    total = sum(part.taken for part in opened.parts)
    return [
        f"source {part.name}: {part.taken:,} of {part.sets:,} sets, {part.taken / total:.1%} of the mixture"
        for part in opened.parts
    ]


def _models(recipe: BuildRecipe, rows: int | None) -> list[str]:
    """Describe which models would generate how much, and which rankers run."""
    lines = []
    for name, writer in recipe.writers.items():
        per_prompt = sum(part.n for part in writer.samples)
        # Of a pool each model completes its share of the prompts, known only when they are drawn.
        total = "" if rows is None or _drawn(recipe) else f", {rows * per_prompt:,} for {rows:,} rows"
        engine = f"{writer.engine}: {ENGINES[writer.engine].help}"
        lines.append(f"{name}: {writer.model}, {per_prompt} completions per prompt{total} ({engine})")
    if pick := _drawn(recipe):
        lines.append(f"generate: {pick} of the {len(recipe.writers)} models complete each prompt")
    for block in recipe.rankings:
        model = getattr(block, "model", None)
        lines.append(f"rank: {name_of(block)}{f', {model}' if model else ''} ({RANKERS[block.ranker].help})")
    return lines


def _sources(counts: Mapping[str, int]) -> list[str]:
    """List how many sets came from each source of a mixture."""
    sets = [
        (name.removeprefix("sets:"), number) for name, number in counts.items() if name.startswith("sets:")
    ]
    lines = [f"  {number:,} sets of source {name}" for name, number in sets[:_SOURCES]]
    if rest := [number for _, number in sets[_SOURCES:]]:
        lines.append(f"  {sum(rest):,} sets of {len(rest):,} more sources, which {CARD} lists")
    return lines


def _drawn(recipe: BuildRecipe) -> int | None:
    return recipe.generate.pick if isinstance(recipe.generate, PoolRecipe) else None


def summary(manifest: Mapping[str, Any], out: Path | str) -> str:
    """Describe the counts, what was left out and why, and the next command."""
    counts = manifest["counts"]
    lines = [f"{out}: {_sizes(counts['train'])} in train"]
    if "test" in counts:
        lines[0] += f", {_sizes(counts['test'])} in test"
    lines += [f"  {line}" for line in readings.lines(manifest.get("readings", []))]
    lines += _sources(counts.get("source", {}))
    for name, number in quarantined(counts).items():
        lines.append(f"  {number:,} in quarantine: {name}")
    alone = sum(
        counts[split].get("sets_without_completions", 0) for split in ("train", "test") if split in counts
    )
    if alone:
        lines.append(f"  {alone:,} sets without completions")
    for name, number in counts["mine"].items():
        # Zeros are left out, because they would hide what did happen.
        if name.startswith("dropped_") and number:
            lines.append(f"  {number:,} completions dropped: {name.removeprefix('dropped_')}")
    generated = counts.get("generate", {})
    for name, number in generated.items():
        if number and name in _SHOWN:
            # Those that were dropped are no longer among the completions.
            of = generated["completions"] + (
                generated["truncated_dropped"] if name == "truncated_dropped" else 0
            )
            lines.append(f"  {number:,} of {of:,} completions: {_SHOWN[name]}")
        if name.startswith("completions:"):
            lines.append(f"  {number:,} completions by {name.removeprefix('completions:')}")
    rankers = (*describe_judges(manifest), *describe_people(manifest), *describe_panel(manifest))
    lines += [f"  {line}" for line in rankers]
    # Only where it can help: other reasons return the same way.
    if any(name.startswith("endpoint_") for name in quarantined(counts)):
        lines.append("  --retry-failed repeats the requests that the server did not answer")
    lines.append(_next(counts, out))
    return "\n".join(lines)


def _next(counts: Mapping[str, Mapping[str, int]], out: Path | str) -> str:
    if counts["train"]["pairs"]:
        return f"next: pairkit train --loss mcpo --data {shell_quoted(str(out))}"
    # With few prompts the hash may send all of them to one split.
    if "test" in counts and counts["test"]["pairs"]:
        return "all pairs are in the split test: build from more rows, or with --test-fraction 0"
    return (
        "no set has a pair yet: generate or rank completions before training with a preference loss; "
        f"completions labeled 1 or 0 train with --loss kto --data {shell_quoted(str(out))}"
    )


def quarantined(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Return `reason` -> rows in quarantine, over all stages, from the nested counts of a manifest."""
    reasons: dict[str, int] = {}
    for stage in counts.values():
        for name, number in stage.items():
            if name.startswith("quarantined_") and number:
                reason = name.removeprefix("quarantined_")
                reasons[reason] = reasons.get(reason, 0) + number
    return reasons


def _sizes(split: Mapping[str, int]) -> str:
    return f"{split['sets']:,} sets, {split['completions']:,} completions, {split['pairs']:,} pairs"
