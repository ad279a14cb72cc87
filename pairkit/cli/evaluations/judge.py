"""`pairkit eval judge`: measure a judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairkit.cli.mapping import mapping
from pairkit.cli.overrides import given_flags, overrides
from pairkit.cli.printing import say
from pairkit.cli.tables import print_table

if TYPE_CHECKING:
    from pairkit.evaluation.judge.labels import Pairs
    from pairkit.evaluation.judge.run import EvalJudgeRecipe, JudgeEvaluation
    from pairkit.evaluation.plan import Planned


def judge(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Pairs with a preference: RewardBench's (prompt, chosen, rejected), Chatbot Arena's "
            "(conversation_a, conversation_b, winner), LLMBar's or PandaLM's layout, or any file with --map.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The judge: a Hub id, a directory, or a model name of a server."),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(metavar="NAME", help="pairwise, pointwise or listwise; also iterative, round_robin."),
    ] = "pairwise",
    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="A shipped prompt or a .txt file.  [default: mcpo, which is pairwise; nectar for listwise]",
        ),
    ] = None,
    map_: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN,...",
            help="Columns of prompt, first, second and label, or of prompt, chosen and rejected; and of "
            "subset. label=a+b has two annotators.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Output directory.")] = Path("runs/eval/judge"),
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Use only the first N rows.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Random seed.")] = 0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again the questions that failed before.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print calls, tokens and cost, and the recipe; ask nothing.")
    ] = False,
) -> None:
    """Measure a judge's agreement with human labels.

    Prints agreement with intervals, overall, by length of the answers and by subset, then order bias, flips
    and ties.
    Any field of a judge's recipe can follow the flags as KEY=VALUE. Answers are saved in --out, so that the
    same command never asks a question twice.

    Examples:

    \b
      pairkit eval judge --data llmbar.jsonl --model Qwen/Qwen3-4B-Instruct-2507
      pairkit eval judge --data testset-v1.json --model gpt-5-mini engine=openai calls.concurrency=16
      pairkit eval judge --data llmbar.jsonl --model my-judge engine=openai base_url=http://localhost:8000/v1
      pairkit eval judge --data my.csv --map prompt=q,first=a,second=b,label=human --model J --prompt mt_bench
      pairkit eval judge --data reward-bench.parquet --model J --prompt five_steps
      pairkit eval judge --data llmbar.jsonl --model J --protocol pointwise "aspects=[helpfulness]" --dry-run
    """
    from pairkit import recipes
    from pairkit.evaluation.judge.labels import read_pairs
    from pairkit.evaluation.judge.plan import plan_judge
    from pairkit.evaluation.judge.run import EvalJudgeRecipe, run_judge_evaluation, sets_of
    from pairkit.evaluation.plan import rehearsal

    fields = {"model": model, "prompt": prompt, "protocol": protocol}
    flags = given_flags(fields)
    # KEY=VALUE wins over a flag, as in the other commands.
    content = recipes.merge(flags, overrides(context, EvalJudgeRecipe))
    if content.get("protocol") == "pairwise":
        content["protocol"] = "iterative"  # two completions are one comparison
    recipe = recipes.validate(EvalJudgeRecipe, content)
    pairs = read_pairs(data, mapping(map_), limit)
    if dry_run:
        with rehearsal(out, recipe.calls, retry_failed=retry_failed) as running:
            # All pairs are asked about together.
            calls = plan_judge(recipe, sets_of(pairs), running, seed, len(pairs.first))
        _print_plan(recipe, pairs, calls)
        return
    evaluation = run_judge_evaluation(recipe, data, pairs, out, seed=seed, retry_failed=retry_failed)
    _print(pairs, evaluation)
    say(f"\nwrote {out / 'results.json'}, report.html, agreement.png, verdicts.parquet, quarantine.parquet")


def _print_plan(recipe: EvalJudgeRecipe, pairs: Pairs, calls: Planned) -> None:
    import yaml

    from pairkit.evaluation.judge.run import count_questions
    from pairkit.evaluation.plan import describe_plan
    from pairkit.masking import masked
    from pairkit.rankers.judge.prompt import read_prompts

    prompts = {
        name: f"version {prompt.header.version}, sha256 {prompt.sha256[:16]}"
        for name, prompt in read_prompts(recipe).items()
    }
    plan = {
        "pairs": len(pairs.first),
        "left_out": dict(pairs.left_out),
        "annotators": pairs.labels.shape[1],
        "questions": count_questions(recipe, pairs),
        "steps": describe_plan({"verdicts": calls}, recipe.calls),
        "prompts": prompts,
        "judge": masked(recipe.model_dump(mode="json")),
    }
    # In this order, from what is asked to how.
    say(yaml.safe_dump(plan, sort_keys=False), end="")


def _print(pairs: Pairs, evaluation: JudgeEvaluation) -> None:
    from pairkit.evaluation.judge.run import without_verdict

    without_verdicts = without_verdict(evaluation)
    lost = {**pairs.left_out, **without_verdicts}
    why = f"; left out: {', '.join(f'{count:,} {reason}' for reason, count in lost.items())}" if lost else ""
    say(f"{len(pairs.first) - sum(without_verdicts.values()):,} pairs judged{why}")
    for title, measures in (
        ("agreement with people", evaluation.overall),
        ("by length, a tie counts 1/2", evaluation.by_length),
        ("by subset, a tie counts 1/2", evaluation.by_subset),
    ):
        rows = [(measure.name, measure.meaning, measure.value, measure.pairs) for measure in measures]
        for table in _table(title, "pairs", rows):
            print_table(table)
    rates = [(rate.name, rate.meaning, rate.share, rate.of) for rate in evaluation.judge]
    for table in _table("the judge itself", "of", rates):
        print_table(table)


def _table(title: str, of: str, rows: list[tuple[str, str, Any, int]]) -> list[Any]:
    """Return the table as a list, empty if there are no rows."""
    from rich.table import Table
    from rich.text import Text

    from pairkit.progress import shown

    if not rows:
        return []
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("")
    table.add_column("value [95 %]", justify="right", no_wrap=True)
    table.add_column(of, justify="right", no_wrap=True)
    for name, meaning, interval, count in rows:
        value = f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
        # Text objects, because names of subsets may contain brackets.
        table.add_row(Text(shown(name)), Text(shown(meaning)), Text(value), f"{count:,}")
    return [table]
