"""Loading tasks and running them with lm-eval, which is imported here, because it needs seconds."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from pairkit.engines.local import fingerprint
from pairkit.engines.transformers import load_transformers
from pairkit.errors import HubError, InputError, PairkitError, RecipeError
from pairkit.evaluation.tasks.local import write_local
from pairkit.evaluation.tasks.recipe import TasksRecipe
from pairkit.schema import short_hash

Tasks = Mapping[str, Any]  # lm-eval's task by name
# What templates and functions of tasks raise for rows without the values that they need.
_OF_ROWS = (ValueError, LookupError, TemplateError)


def load_tasks(recipe: TasksRecipe, local: Mapping[str, str], folder: Path) -> Tasks:
    """Load the tasks with their data; `local` has rows of some (see `read_local`), written to `folder`.

    Raises `RecipeError` for a name that lm-eval does not have, `HubError` for a dataset that the Hub does not
    give, `InputError` for a task that cannot be loaded otherwise.
    """
    from lm_eval.tasks import TaskManager

    # It logs each file that replaces another, which is what was asked for.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager = TaskManager(include_path=list(recipe.include))
    for name in recipe.tasks:
        if name not in manager.task_index:
            near = get_close_matches(name, manager.all_tasks, n=1)
            instead = f"did you mean {near[0]!r}?" if near else "`lm-eval ls tasks` lists all"
            raise RecipeError(f"unknown task of lm-eval {name!r}; {instead}")
    for name, rows in local.items():
        if name not in manager.all_subtasks or manager.task_index[name].yaml_path is None:
            raise RecipeError(f"--data {name}: not a task of lm-eval with a file of its own")
        write_local(folder, name, rows, Path(manager.task_index[name].yaml_path))
    # Alone, because reading all of lm-eval's task files again takes seconds.
    local_manager = TaskManager(include_path=str(folder), include_defaults=False) if local else manager
    tasks: dict[str, Any] = {}
    for name in recipe.tasks:
        try:
            tasks |= (local_manager if name in local else manager).load([name])["tasks"]
        except Exception as error:  # one of a dozen types of datasets, the hub's client, YAML and templates
            if name in local and isinstance(error, _OF_ROWS):
                raise _unusable([name], error) from error
            raise _cannot_load(name, error) from error
    return tasks


def run_tasks(
    recipe: TasksRecipe, tasks: Tasks, local: Collection[str], out: Path, limit: int | None
) -> dict[str, Any]:
    """Compute all tasks and return lm-eval's results with `samples`.

    Every log-likelihood is stored in `out` when it is computed, so that the same call continues one that was
    stopped. Raises `ModelError` for a model that cannot be loaded, `InputError` for rows of `local` tasks
    that lm-eval cannot use.
    """
    from lm_eval import evaluator
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    # The version of a user's own repository, which is not kept: without one git complains on stderr.
    evaluator.get_git_commit_hash = lambda: None
    # As everywhere in pairkit: directories of runs and of adapters are models too.
    engine = load_transformers(recipe.model, revision=recipe.revision)
    model = HFLM(pretrained=engine.model, tokenizer=engine.tokenizer, batch_size=recipe.batch_size)
    # Its key is the text alone, so that another model needs another file.
    key = short_hash([recipe.model, recipe.revision, fingerprint(recipe.model)])
    with _unusable_rows(local):
        results: dict[str, Any] = evaluator.simple_evaluate(
            model=model,
            tasks=list(tasks.values()),
            # Of no task: they are loaded, and its own would read all task files again.
            task_manager=TaskManager(include_defaults=False),
            num_fewshot=recipe.fewshot,
            limit=limit,
            use_cache=str(out / f"lm_eval-{key}"),
            apply_chat_template=recipe.apply_chat_template,
            log_samples=True,
            bootstrap_iters=0,  # intervals are computed here, by prompt
            fewshot_random_seed=recipe.seed,
        )
    return results


@contextmanager
def _unusable_rows(local: Collection[str]) -> Iterator[None]:
    """Turn the errors of templates and functions of tasks whose rows a person gave into one sentence."""
    try:
        yield
    except PairkitError:
        raise
    except _OF_ROWS as error:
        if not local:
            raise
        raise _unusable(local, error) from error


def _unusable(local: Collection[str], error: Exception) -> InputError:
    options = ", ".join(f"--data {task}" for task in local)
    return InputError(
        f"lm-eval cannot use a row of {options} ({type(error).__name__}: {_first_line(error)}): compare its "
        "values with those of the task's own dataset"
    )


def _cannot_load(task: str, error: Exception) -> Exception:
    reason = _first_line(error)
    instead = f"pass its rows with --data {task}=FILE"
    if isinstance(error, (ConnectionError, OSError)):
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        return HubError(f"the data of task {task!r} cannot be read from {endpoint} ({reason}): {instead}")
    return InputError(f"task {task!r} cannot be loaded by lm-eval ({type(error).__name__}: {reason})")


def _first_line(error: Exception) -> str:
    # Libraries write pages of explanation after it.
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
