"""`pairkit eval`: what is measured of a model or a judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairkit.cli.build import mapping
from pairkit.cli.overrides import SETTINGS, overrides

if TYPE_CHECKING:
    from pairkit.evaluation.judge.labels import Pairs
    from pairkit.evaluation.judge.run import EvalJudgeRecipe, Evaluated

app = typer.Typer(help="Measure a model or a judge.", no_args_is_help=True)


@app.command(context_settings=SETTINGS)
def judge(
    context: typer.Context,
    data: Annotated[
        Path, typer.Option(help="A file in LLMBar's or PandaLM's layout, or any other with --map.")
    ],
    model: Annotated[
        str | None, typer.Option(help="The judge: a hub id, a directory, or a name that a server knows.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="pairwise (the default), pointwise, listwise; also iterative, round_robin."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="A shipped prompt (mcpo, mt_bench, nectar) or a .txt file.")
    ] = None,
    map_: Annotated[
        str | None,
        typer.Option(
            "--map",
            help="prompt=COLUMN,first=COLUMN,second=COLUMN,label=COLUMN; several annotators: label=a+b+c.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where results go.")] = Path("runs/eval/judge"),
    limit: Annotated[int | None, typer.Option(min=1, help="Rows to read.")] = None,
    seed: Annotated[int, typer.Option(help="Of marks, orders, retries and the bootstrap.")] = 0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again what ended in a problem before.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be asked, ask nothing.")
    ] = False,
) -> None:
    """Measure a judge's agreement with human labels.

    Agreement comes with intervals, by the answers' length difference, beside order bias, flips and ties.
    Any field of a judge's recipe can follow the flags as KEY=VALUE. Answers are kept in --out, so that the
    same command asks nothing twice.

    Examples:

    \b
      pairkit eval judge --data llmbar.jsonl --model Qwen/Qwen3-4B-Instruct-2507
      pairkit eval judge --data testset-v1.json --model gpt-5-mini engine=openai calls.concurrency=16
      pairkit eval judge --data llmbar.jsonl --model my-judge engine=openai base_url=http://localhost:8000/v1
      pairkit eval judge --data my.csv --map prompt=q,first=a,second=b,label=human --model J --prompt mt_bench
      pairkit eval judge --data llmbar.jsonl --model J --protocol pointwise "aspects=[helpfulness]" --dry-run
    """
    from pairkit import recipes
    from pairkit.evaluation.judge.labels import read_pairs
    from pairkit.evaluation.judge.run import EvalJudgeRecipe, run

    given = {"model": model, "prompt": prompt, "protocol": protocol}
    flags = {key: value for key, value in given.items() if value is not None}
    content = recipes.merge(flags, overrides(context, EvalJudgeRecipe))
    if content.get("protocol") == "pairwise":
        content["protocol"] = "iterative"  # of two completions, one comparison
    recipe = recipes.validate(EvalJudgeRecipe, content)
    pairs = read_pairs(data, mapping(map_), limit)
    if dry_run:
        _plan(recipe, pairs)
        return
    done = run(recipe, data, pairs, out, seed=seed, retry_failed=retry_failed)
    _print(pairs, done)
    typer.echo(f"\n{out / 'results.json'}, agreement.png, verdicts.parquet, quarantine.parquet")


def _plan(recipe: EvalJudgeRecipe, pairs: Pairs) -> None:
    import yaml

    from pairkit.evaluation.judge.run import questions
    from pairkit.rankers.judge.prompt import read_prompts

    prompts = {
        name: f"version {prompt.header.version}, sha256 {prompt.sha256[:16]}"
        for name, prompt in read_prompts(recipe).items()
    }
    described = {
        "pairs": len(pairs.first),
        "left_out": dict(pairs.left_out),
        "annotators": pairs.labels.shape[1],
        "questions": questions(recipe, pairs),
        "prompts": prompts,
        "judge": recipe.model_dump(mode="json"),
    }
    typer.echo(yaml.safe_dump(described, sort_keys=False), nl=False)


def _print(pairs: Pairs, done: Evaluated) -> None:
    from rich.console import Console

    from pairkit.evaluation.judge.run import without_verdict

    console = Console(highlight=False)
    lost = {**pairs.left_out, **without_verdict(done)}
    why = f"; left out: {', '.join(f'{count:,} {reason}' for reason, count in lost.items())}" if lost else ""
    console.print(
        f"{len(pairs.first) - sum(without_verdict(done).values()):,} pairs judged{why}", markup=False
    )
    for title, measures in (
        ("agreement with people", done.overall),
        ("by length, ties half", done.by_length),
        ("by subset, ties half", done.by_subset),
    ):
        rows = [(one.name, one.meaning, one.value, one.pairs) for one in measures]
        console.print(*_table(title, "pairs", rows))
    rates = [(one.name, one.meaning, one.share, one.of) for one in done.judge]
    console.print(*_table("the judge itself", "of", rates))


def _table(title: str, of: str, rows: list[tuple[str, str, Any, int]]) -> list[Any]:
    """The table, or nothing where there are no rows."""
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return []
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("")
    table.add_column("value [95 %]", justify="right", no_wrap=True)
    table.add_column(of, justify="right", no_wrap=True)
    for name, meaning, interval, count in rows:
        value = f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
        table.add_row(Text(name), Text(meaning), Text(value), f"{count:,}")
    return [table]
