"""`pairkit build`: candidate sets from a source or a recipe."""

from __future__ import annotations

import os
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairkit.cli.defaults import BUILD
from pairkit.cli.mapping import mapping
from pairkit.cli.options import (
    AllowCodeFlag,
    AllowKeyFlag,
    OnExisting,
    OnExistingFlag,
    RecipeFlag,
    TrustFlag,
    field_flag,
)
from pairkit.cli.overrides import given_flags, overrides
from pairkit.cli.printing import say
from pairkit.errors import UsageError

if TYPE_CHECKING:
    from pairkit.pipeline.executors.ray.settings import RaySettings


class Executor(StrEnum):
    """The values of `--executor`."""

    local = "local"
    ray = "ray"


_flag = partial(field_flag, BUILD)
_LONGEST = 200  # bytes of the name of a directory; file systems take 255, and names of other files are longer


def build(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A name of `pairkit sources`, or a dataset id on the Hub."),
    ] = None,
    recipe: RecipeFlag = None,
    path: Annotated[
        str | None,
        _flag("source.path", "PATH", "File, folder, glob or address (s3://...) to read instead of the Hub."),
    ] = None,
    split: Annotated[
        str | None, _flag("source.split", "NAME", "Split of the source.", null="the source's first")
    ] = None,
    revision: Annotated[
        str | None,
        _flag("source.revision", "REV", "Branch, tag or commit of the dataset on the Hub.", null="main"),
    ] = None,
    limit: Annotated[
        int | None, _flag("source.limit", "N", "Read only the first N raw rows.", null="all")
    ] = None,
    map_: Annotated[
        str | None,
        _flag(
            "source.map",
            "FIELD=COLUMN,...",
            "Where the fields of `files` and hub datasets are: a column, a path such as "
            "completions[0].text, or a text in quotes.",
            "--map",
            null="as in the layout",
        ),
    ] = None,
    layout: Annotated[
        str | None,
        _flag(
            "source.layout",
            "NAME",
            "Layout of the rows of `files` and hub datasets; `pairkit inspect` shows those that fit.",
            null="recognized",
        ),
    ] = None,
    score: Annotated[
        str | None,
        _flag(
            "source.score",
            "NAME",
            "Score of source `ultrafeedback`: mean_rating or overall_score.",
            null="mean_rating",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Output directory, or an address such as s3://bucket/folder.  [default: runs/data/NAME]",
        ),
    ] = None,
    staging: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="For an address: directory to build in, which is kept.  [default: one in the cache, removed "
            "after the upload]",
        ),
    ] = None,
    chosen: Annotated[str | None, _flag("mine.chosen", "WHICH", "Chosen completion of a pair: best.")] = None,
    rejected: Annotated[
        str | None,
        _flag(
            "mine.rejected", "WHICH", "Rejected completion of a pair: worst, quantile, random, all or policy."
        ),
    ] = None,
    drop_ranks: Annotated[
        str | None,
        _flag("mine.drop_ranks", "RANKS", "Drop the completions of these ranks: 2 or 2,3.", null="none"),
    ] = None,
    keep_negatives: Annotated[
        int | None, _flag("mine.keep_negatives", "N", "Keep only the N lowest-ranked negatives.", null="all")
    ] = None,
    min_margin: Annotated[
        float | None,
        _flag(
            "mine.min_margin",
            "SCORE",
            "Drop completions that score less than this below the chosen one.",
            null="none",
        ),
    ] = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[=NUMBER]",
            help="Noise to add: word_swap, truncate, token_swap, label_flip=RATE; may be repeated.",
        ),
    ] = None,
    noise_tokenizer: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Tokenizer of token_swap; use that of the model to train."),
    ] = None,
    test_fraction: Annotated[
        float | None, _flag("test_fraction", "SHARE", "Share of the prompts that go to split test.")
    ] = None,
    seed: Annotated[int | None, _flag("seed", "N", "Random seed.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Units of rows processed in parallel.  [default: one per CPU core, at most 4]",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Cache of model responses.  [default: calls.sqlite next to --out]"),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Ask the models about part I of N only, as one job of N; --merge then builds from all.",
        ),
    ] = None,
    merge_: Annotated[
        bool, typer.Option("--merge", help="Build from the results of all jobs that ran with --part.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Retry requests that failed in an earlier build.")
    ] = False,
    executor: Annotated[
        Executor, typer.Option(help="What runs the stages: this process, or Ray Data on a cluster.")
    ] = Executor.local,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT",
            help="Ray cluster to join.  [default: one of this machine, started and ended with the build]",
        ),
    ] = None,
    ray_engines: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Processes with the model of a stage.  [default: as many as there are GPUs for, else 1]",
        ),
    ] = None,
    ray_gpus_per_engine: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="N",
            help="GPUs of each of these processes.  [default: 1 if the cluster has any]",
        ),
    ] = None,
    ray_dashboard: Annotated[
        bool, typer.Option("--ray-dashboard", help="Start Ray's dashboard with the cluster of this machine.")
    ] = False,
    allow_code: AllowCodeFlag = None,
    allow_key: AllowKeyFlag = None,
    trust_remote_code: TrustFlag = False,
    on_existing: OnExistingFlag = OnExisting.resume,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the recipe and the plan; write nothing.")
    ] = False,
) -> None:
    """Build a dataset: read, generate, rank and mine candidate sets.

    Writes the candidate sets, pairs derived from them, and a data card.

    Any recipe field can follow the flags as KEY.SUB=VALUE, also those of the card, such as card.license=mit.
    A recipe given with --recipe replaces the defaults
    shown below, and flags replace both. To resume a build that stopped, run the same command again.

    Duplicate prompts (dedup.KEY), prompts of benchmarks (decontaminate.KEY) and sets whose values are out of
    bounds (filter.NAME.KEY) can be taken out; --dry-run shows how many sets each would drop.

    Examples:

    \b
      pairkit build --source ultrafeedback
      pairkit build --source files --path my.jsonl --map chosen=good,rejected=bad --out s3://bucket/sets
      pairkit build --recipe gsm8k generate.engine=openai generate.model=gpt-5-mini calls.batch=true --dry-run
      pairkit build --recipe ultrafeedback --dry-run --limit 1000 dedup.threshold=0.8 filter.margin.min=1
      pairkit build --recipe gsm8k-verified generate.engine=vllm generate.model=Qwen/Qwen3-8B --part 3/64
      pairkit build sources='[{source: ultrafeedback, weight: 2}, {source: nectar, weight: 1}]' --executor ray
    """
    # Before Arrow is loaded: its own allocator keeps some 50 MiB that are free, and is no faster here.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from pairkit.arrow import without_pandas
    from pairkit.pipeline import build as pipeline
    from pairkit.pipeline import describe
    from pairkit.pipeline.distributed import parts, to_store
    from pairkit.pipeline.executors.ray.settings import check_recipe
    from pairkit.pipeline.recipe import BuildRecipe, load
    from pairkit.recipes import merge
    from pairkit.stores.address import is_address
    from pairkit.trust import only_trusted

    if not allow_code:  # functions of other modules may use pandas
        without_pandas()
    own = None if part is None else parts.parse(part)
    if own is not None and merge_:
        raise UsageError("--part and --merge exclude each other: run the parts first, then --merge")
    if own is not None and executor == Executor.ray:
        raise UsageError("--part is a job of its own on one machine: leave it out, or --executor ray")
    # By their place in the recipe, so that they merge with it like any other mapping.
    flags = {
        "source": {
            "name": source,
            "path": path,
            "split": split,
            "revision": revision,
            "limit": limit,
            "map": mapping(map_),
            "layout": layout,
            "score": score,
        },
        "mine": {
            "chosen": chosen,
            "rejected": rejected,
            "drop_ranks": _ranks(drop_ranks),
            "keep_negatives": keep_negatives,
            "min_margin": min_margin,
            "noise": _noise(noise or [], noise_tokenizer),
        },
        "test_fraction": test_fraction,
        "seed": seed,
    }
    # KEY=VALUE last, because it is the more exact way to name a field.
    given, fields = given_flags(flags), overrides(context, BuildRecipe)
    context.with_resource(only_trusted(merge(given, fields), allow_code or []))
    resolved = load(recipe, given, fields, remote_code=trust_remote_code, allow_keys=allow_key or [])
    # The last part, because a hub id has a slash, which would be a folder.
    name = Path(recipe).stem if recipe else resolved.title.split("/")[-1]
    # Names of several sources together may be longer than a name of a file, and one of them may be anything.
    if out is None and (name in ("", ".", "..") or len(name.encode()) > _LONGEST):
        raise UsageError("the names of the sources make no name of a directory: give --out DIR")
    out = out or str(Path("runs/data") / name)
    on_store = is_address(out)
    if staging is not None and not on_store:
        raise UsageError("--staging is for an --out on a store; leave it out")
    folder = (staging or to_store.staging_of(out)) if on_store else Path(out)
    cluster = _cluster(
        executor,
        address=ray_address,
        engines=ray_engines,
        gpus_per_engine=ray_gpus_per_engine,
        dashboard=ray_dashboard or None,
    )
    if cluster is not None:
        check_recipe(resolved)
    # Before anything is opened for writing.
    if dry_run:
        where = to_store.describe_output(resolved, out, staging) if on_store else None
        say(describe.plan(resolved, folder, where, cache))
        return
    if own is not None:
        done = parts.build_part(
            resolved,
            folder,
            own,
            on_existing=on_existing.value,
            cache=cache,
            retry_failed=retry_failed,
        )
        say(parts.describe(done, folder))
        return
    if merge_:
        results = parts.finished_parts(resolved, folder)
    else:
        parts.refuse_parts(folder)
        results = None
    to_address = partial(to_store.build_to_store, out=out, staging=staging)
    run = to_address if on_store else partial(pipeline.build, out=folder)
    manifest = run(
        resolved,
        on_existing=on_existing.value,
        workers=workers,
        cache=cache,
        retry_failed=retry_failed,
        results=results,
        cluster=cluster,
    )
    if merge_:
        parts.remove_parts(folder)
    say(describe.summary(manifest, out))


def _cluster(executor: Executor, **flags: Any) -> RaySettings | None:
    """Return the settings of `--executor ray`. Raises `UsageError` for flags that nothing would read."""
    from pairkit.pipeline.executors.ray.settings import RaySettings
    from pairkit.recipes import validate

    settings = {name: value for name, value in flags.items() if value is not None}
    if executor == Executor.ray:
        return validate(RaySettings, settings)
    if settings:
        name = next(iter(settings)).replace("_", "-")
        raise UsageError(f"--ray-{name} is for --executor ray: add it, or leave --ray-{name} out")
    return None


def _ranks(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(rank) for rank in text.split(",")]
    except ValueError as error:
        raise UsageError(f"cannot read --drop-ranks {text!r}: write 2 or 2,3") from error


def _noise(kinds: list[str], tokenizer: str | None) -> dict[str, Any] | None:
    """Parse `word_swap=2` as {"word_swap": {"swaps": 2}}. Raises `UsageError`."""
    blocks: dict[str, Any] = {}
    for text in kinds:
        kind, _, number = text.partition("=")
        # A default share would silently spoil labels.
        if kind == "label_flip" and not number:
            raise UsageError("--noise label_flip needs the share of sets to flip: label_flip=0.1")
        # What the number means depends on the kind: a share, exchanges, or completions.
        field = {"label_flip": "rate", "word_swap": "swaps", "token_swap": "swaps"}.get(kind, "count")
        # As text, because the recipe checks it and names the field in its error.
        blocks[kind] = {field: number or "1"}
    if tokenizer is not None:
        blocks["token_swap"] = {**blocks.get("token_swap", {}), "tokenizer": tokenizer}
    return blocks or None
