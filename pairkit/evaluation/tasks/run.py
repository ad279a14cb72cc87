"""`pairkit eval tasks`: lm-eval computes log-likelihoods or answers; scores and intervals are pairkit's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pairkit.errors import RecipeError
from pairkit.evaluation.answers import PROMPTS, Question, write_prompts
from pairkit.evaluation.results import Outcome, write_outcome
from pairkit.evaluation.rows import DataFile
from pairkit.evaluation.tasks.bars import one_style
from pairkit.evaluation.tasks.harness import Tasks, load_tasks, run_tasks
from pairkit.evaluation.tasks.local import read_local
from pairkit.evaluation.tasks.recipe import TasksRecipe
from pairkit.evaluation.tasks.scores import Scored, scored
from pairkit.extras import extra_version
from pairkit.files import stoppable
from pairkit.ownership import owned


class Local(NamedTuple):
    """The rows of tasks that are read from files: JSON lines, and the file."""

    rows: Mapping[str, str]
    files: Mapping[str, DataFile]


def read_files(recipe: TasksRecipe, data: Mapping[str, Path]) -> Local:
    """Read the rows of tasks from files.

    Raises `RecipeError` for a file of a task that is not measured, or with few-shot examples, which come from
    a training set that such a file does not have; `InputError` for rows without a field of the task.
    """
    for task in data:
        if task not in recipe.tasks:
            raise RecipeError(f"--data {task}=...: {task} is not among --tasks {','.join(recipe.tasks)}")
    if data and recipe.fewshot:
        raise RecipeError(
            f"fewshot={recipe.fewshot} takes examples from a training set, which --data does not have: "
            "set fewshot=0, or write a task file for lm-eval and name its directory in include"
        )
    read = {task: read_local(task, path) for task, path in data.items()}
    return Local({task: rows for task, (rows, _) in read.items()}, {t: file for t, (_, file) in read.items()})


def evaluate_tasks(
    recipe: TasksRecipe, local: Local, out: Path, *, limit: int | None = None
) -> dict[str, Any]:
    """Evaluate a model into `out`; return the content of results.json.

    Raises `MissingExtraError` without lm-eval, and what `load_tasks` and `run_tasks` raise.
    """
    version = extra_version("lm-eval")
    message = f"{out}: stopped; what was computed is saved: run the same command again to continue"
    with stoppable(out, lambda: message), owned(out), one_style():
        tasks = load_tasks(recipe, local.rows, out / "tasks")
        results = run_tasks(recipe, tasks, local.rows, out, limit)
        scores = scored(results["samples"])
        write_prompts(out / PROMPTS, [Question(key, (text,)) for key, text in scores.prompts.items()])
        outcome = _outcome(recipe, local, results, scores, version, tasks, limit)
        return write_outcome(out, outcome, recipe.seed)


def _outcome(
    recipe: TasksRecipe,
    local: Local,
    results: Mapping[str, Any],
    scores: Scored,
    version: str,
    tasks: Tasks,
    limit: int | None,
) -> Outcome:
    template = "chat template" if recipe.apply_chat_template else "no chat template"
    about = {
        "tasks": {
            name: {
                "version": results["versions"].get(name),
                "n_shot": results["n-shot"].get(name),
                "hash": (results.get("task_hashes") or {}).get(name),
            }
            for name in results["samples"]
        },
        "lm_eval": version,
        "decoding": {
            "apply_chat_template": recipe.apply_chat_template,
            "chat_template_sha": results.get("chat_template_sha"),
        },
        "data": {name: file._asdict() for name, file in local.files.items()},
        "questions_sha256": _sha256(scores),
    }
    # With what changes the numbers, so that runs that differ in it are not compared.
    return Outcome(
        "tasks",
        f"lm-eval {version}, {recipe.fewshot}-shot, {template}",
        recipe.shown_name,
        scores.measured,
        {},
        scores.details,
        about,
        notes=_notes(local, tasks, limit),
    )


def _sha256(scores: Scored) -> str:
    return hashlib.sha256(json.dumps(sorted(scores.details)).encode()).hexdigest()


def _notes(local: Local, tasks: Tasks, limit: int | None) -> list[str]:
    sentences = [
        f"{name}: {file.rows:,} rows of {file.file}, not of the Hub's dataset"
        for name, file in local.files.items()
    ]
    cut = [name for name, task in tasks.items() if limit is not None and len(task.eval_docs) > limit]
    if cut:
        sentences.append(f"the first {limit:,} prompts of {', '.join(cut)}: no number for a published table")
    return sentences
