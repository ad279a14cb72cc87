"""`pairkit build`: candidate sets from a source or a recipe."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from pairkit.cli.overrides import overrides
from pairkit.errors import RecipeError


class OnExisting(StrEnum):
    """What happens where the output directory is not empty."""

    resume = "resume"
    delete = "delete"
    raise_ = "raise"


def build(
    context: typer.Context,
    source: Annotated[str | None, typer.Option(help="A name of `pairkit sources`, or a hub id.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A shipped recipe's name, or a YAML file.")] = None,
    path: Annotated[str | None, typer.Option(help="File, folder or glob to read instead of the hub.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the source.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of the hub data set.")] = None,
    limit: Annotated[int | None, typer.Option(help="Raw rows to read.")] = None,
    map_: Annotated[
        str | None, typer.Option("--map", help="Columns of `files`: prompt=instruction,chosen=good,...")
    ] = None,
    score: Annotated[
        str | None, typer.Option(help="What the source's score is, where it has a choice.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory to write; default runs/data/NAME.")] = None,
    chosen: Annotated[str | None, typer.Option(help="Chosen completion of a pair: best.")] = None,
    rejected: Annotated[str | None, typer.Option(help="Rejected: worst, random, all or policy.")] = None,
    drop_ranks: Annotated[str | None, typer.Option(help="Ranks to drop, as 2 or 2,3.")] = None,
    keep_negatives: Annotated[int | None, typer.Option(help="Lowest-ranked negatives to keep.")] = None,
    min_margin: Annotated[float | None, typer.Option(help="Least score difference to the chosen.")] = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(help="KIND or KIND=NUMBER: word_swap, truncate, token_swap, label_flip=RATE."),
    ] = None,
    noise_tokenizer: Annotated[
        str | None, typer.Option(help="Tokenizer of token_swap: the one to be trained with.")
    ] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Share of the prompts in split test.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything that is drawn.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Units worked on at a time.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="File of answered calls; default calls.sqlite beside --out.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again what has failed before.")
    ] = False,
    on_existing: Annotated[
        OnExisting, typer.Option(help="Continue there, build anew, or refuse.")
    ] = OnExisting.resume,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, write nothing.")
    ] = False,
) -> None:
    """Build a data set: read, generate, rank, mine candidate sets.

    What is written are the sets, pairs of them, and a data card.

    Any recipe field can be given as KEY.SUB=VALUE behind the flags.
    A build that stopped continues when the same command is given again.

    Examples:

    \b
      pairkit build --source ultrafeedback
      pairkit build --source hh_rlhf --path test.jsonl.gz --rejected worst
      pairkit build --source files --path my.jsonl --map chosen=good,rejected=bad
      pairkit build --recipe nectar --out runs/data/few mine.keep_negatives=3
      pairkit build --source ultrafeedback rank.ranker=pairrm rank.model=llm-blender/PairRM-hf
      pairkit build --recipe gsm8k-verified generate.engine=vllm generate.model=Qwen/Qwen3-8B
      pairkit build --recipe ultrafeedback --dry-run
    """
    from pairkit.pipeline import build as pipeline
    from pairkit.pipeline import describe
    from pairkit.pipeline.recipe import BuildRecipe, load

    flags = {
        "source": {
            "name": source,
            "path": path,
            "split": split,
            "revision": revision,
            "limit": limit,
            "map": mapping(map_),
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
    resolved = load(recipe, _given(flags), overrides(context, BuildRecipe))
    name = Path(recipe).stem if recipe else resolved.source.name.split("/")[-1]
    out = out or Path("runs/data") / name
    if dry_run:
        typer.echo(describe.plan(resolved, out))
        return
    manifest = pipeline.build(
        resolved,
        out,
        on_existing=cast("Any", on_existing.value),
        workers=workers,
        cache=cache,
        retry_failed=retry_failed,
    )
    typer.echo(describe.summary(manifest, out))


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given."""
    nested = {key: _given(value) if isinstance(value, dict) else value for key, value in flags.items()}
    return {key: value for key, value in nested.items() if value is not None and value != {}}


def mapping(text: str | None) -> dict[str, str] | None:
    """`field=column,field=column` as a mapping. Raises `RecipeError`."""
    if text is None:
        return None
    parts = [part.partition("=") for part in text.split(",")]
    if not all(key and value for key, _, value in parts):
        raise RecipeError(f"cannot read --map {text!r}: write field=column,field=column")
    return {key.strip(): value.strip() for key, _, value in parts}


def _ranks(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(rank) for rank in text.split(",")]
    except ValueError as error:
        raise RecipeError(f"cannot read --drop-ranks {text!r}: write 2 or 2,3") from error


def _noise(kinds: list[str], tokenizer: str | None) -> dict[str, Any] | None:
    """`word_swap=2` as {"word_swap": {"swaps": 2}}."""
    blocks: dict[str, Any] = {}
    for text in kinds:
        kind, _, number = text.partition("=")
        if kind == "label_flip" and not number:
            raise RecipeError("--noise label_flip needs the share of the sets: label_flip=0.1")
        field = {"label_flip": "rate", "truncate": "count"}.get(kind, "swaps")
        blocks[kind] = {field: number or "1"}
    if tokenizer is not None:
        blocks["token_swap"] = {**blocks.get("token_swap", {}), "tokenizer": tokenizer}
    return blocks or None
