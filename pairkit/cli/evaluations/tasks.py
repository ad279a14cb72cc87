"""`pairkit eval tasks`: tasks of lm-eval."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairkit.cli.evaluations.common import LimitFlag, NameFlag, OutFlag, SeedFlag, print_results
from pairkit.cli.overrides import given_flags, overrides
from pairkit.cli.printing import say
from pairkit.errors import UsageError

if TYPE_CHECKING:
    from pairkit.evaluation.tasks.recipe import TasksRecipe
    from pairkit.evaluation.tasks.run import Local


def tasks(
    context: typer.Context,
    model: Annotated[str, typer.Option(metavar="MODEL", help="The model: a Hub id or a directory.")],
    tasks: Annotated[
        str, typer.Option(metavar="TASK,TASK", help="Tasks of lm-eval, such as arc_challenge,piqa.")
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK=FILE", help="The rows of a task from a file, not the Hub; may be repeated."
        ),
    ] = None,
    fewshot: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Examples in the prompt.  [default: 0]")
    ] = None,
    apply_chat_template: Annotated[
        bool, typer.Option("--apply-chat-template", help="Render prompts with the model's chat template.")
    ] = False,
    name: NameFlag = None,
    out: OutFlag = Path("runs/eval/tasks"),
    limit: LimitFlag = None,
    seed: SeedFlag = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the tasks and the recipe; compute nothing.")
    ] = False,
) -> None:
    """Measure a model on tasks of lm-eval, such as multiple choice by log-likelihood.

    Zero-shot and without a chat template unless set otherwise. lm-eval computes (pip install
    'pairkit[eval]'); intervals are by prompt. The same command continues an evaluation that was stopped.

    Examples:

    \b
      pairkit eval tasks --model runs/train/data-dpo/model --tasks arc_challenge,piqa
      pairkit eval tasks --model org/model --tasks arc_challenge --data arc_challenge=arc.jsonl
      pairkit eval tasks --model org/model --tasks mmlu --fewshot 5 --apply-chat-template batch_size=32
    """
    from pairkit import recipes
    from pairkit.evaluation.tasks.recipe import TasksRecipe
    from pairkit.evaluation.tasks.run import evaluate_tasks, read_files

    flags: dict[str, Any] = {"model": model, "tasks": tasks, "name": name, "fewshot": fewshot, "seed": seed}
    flags["apply_chat_template"] = apply_chat_template or None
    fields = given_flags(flags)
    recipe = recipes.validate(TasksRecipe, recipes.merge(fields, overrides(context, TasksRecipe)))
    local = read_files(recipe, _files(data or []))
    if dry_run:
        _print_plan(recipe, local)
        return
    print_results(evaluate_tasks(recipe, local, out, limit=limit), out)


def _files(texts: list[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for text in texts:
        task, equals, path = text.partition("=")
        if not (task and equals and path):
            raise UsageError(f"cannot read --data {text!r}: write TASK=FILE")
        if task in files:
            raise UsageError(f"--data {task}=...: given twice")
        files[task] = Path(path)
    return files


def _print_plan(recipe: TasksRecipe, local: Local) -> None:
    import yaml

    plan = {
        # Those of the Hub are known when they are downloaded.
        "questions": {
            name: local.files[name].rows if name in local.files else "those of the task"
            for name in recipe.tasks
        },
        "steps": {"scores": {"model": recipe.model, "computed": "on this machine, by transformers"}},
        "recipe": recipe.model_dump(mode="json"),
    }
    say(yaml.safe_dump(plan, sort_keys=False), end="")
