"""One launch of two processes that does what several tests look at."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.architectures import ARCHITECTURES
from support.forks import Server
from support.processes import SCRIPT, fork_two, gradients
from support.tiny import model_folder, random_sets, short_run, write_data

from pairkit.files import write_json
from pairkit.losses import LOSSES
from pairkit.recipes import validate
from pairkit.training.distributed.processes import ALONE
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train

SUM = "dpo:0.5+mcpo+bco:0.2+sft:0.1"
BUDGET = 100  # tokens; less than two sets have
LORA = {"r": 4, "alpha": 8}
RUNS: dict[str, dict[str, Any]] = {
    "mcpo": {},
    "tdpo1": {},  # with an online reference
    "mcpo-one": {"loss": "mcpo", "sets_per_step": 1, "gradient_checkpointing": True},  # idle in every step
    "dpo-merged": {"loss": "dpo", "lora": LORA | {"merge": True}},
    "dpo-bf16": {"loss": "dpo", "bf16": True},
    "reward_bt": {},
    "dpo": {},
    "alpha_dpo": {},
    "sft": {"gradient_checkpointing": True},
    "simpo": {"share_prompts": False},
    "mcpo-recomputed": {"loss": "mcpo", "gradient_checkpointing": True},
    "mcpo-adapters": {"loss": "mcpo", "lora": LORA},
    "reward_pl": {"gradient_checkpointing": True},
    "reward-merged": {"loss": "reward_bt", "lora": LORA | {"merge": True}},
    "reward-adapters": {"loss": "reward_mse", "lora": LORA},
}

# A PairRM is whole in every process.
IN_PARTS = [name for name, spec in LOSSES.items() if spec.trains != "pairrm"]


@dataclass
class Launch:
    """What two processes did, and one alone: a few losses, architectures and runs, or all of them.

    Attributes:
        folder: `one/NAME/run` and `two/NAME/run` for each of `runs`, and two runs that the other side began.
        alone: results of `support.processes.gradients` in one process; those of two are in `MODE/RANK.pt`.
    """

    folder: Path
    data: Path
    model: Path
    losses: Sequence[str]
    runs: Sequence[str]
    alone: dict[str, Any] = field(default_factory=dict)

    def recipe(self, name: str, **fields: Any) -> dict[str, Any]:
        base = {"loss": name, "tokens_per_micro_batch": BUDGET, **RUNS[name]}
        return short_run(self.data, self.model, **(base | fields))


def launch_two(folder: Path, forks: Server, *, few: bool) -> Launch:
    """Do everything once in one process and once, in a single launch, in two."""
    result = Launch(
        folder,
        write_data(folder / "sets", random_sets(24), random_sets(8, seed=1)),
        model_folder(folder / "start" / "model"),
        ["kto", "alpha_dpo", "tdpo1", "reward_bt", SUM] if few else [*IN_PARTS, SUM],
        list(RUNS)[:3] if few else list(RUNS),
    )
    names = ("Gemma2", "Mixtral") if few else tuple(ARCHITECTURES)
    data, model = str(result.data), str(result.model)
    result.alone = gradients(data, model, folder / "a.parquet", list(result.losses), ALONE, budget=10**6)
    tasks: list[list[str]] = [["architectures", *names]]
    for mode in ("gradients", "sharded"):
        (folder / mode).mkdir()
        store = str(folder / f"{mode}.parquet")
        tasks.append([mode, data, model, store, str(folder / mode), *result.losses])
    write_json(folder / "tokens.json", short_run(result.data, result.model, "dpo"))
    tasks.append(["tokens", str(folder / "tokens.json"), str(folder / "tokens"), str(folder)])
    tasks.append(["runs", *_single_runs(result)])
    write_json(folder / "tasks.json", tasks)
    fork_two(forks, SCRIPT, "tasks", str(folder / "tasks.json"))
    _begun(folder / "two/mcpo/run", folder / "one/resumed/run")
    train(validate(TrainRecipe, short_run(result.data, result.model, "mcpo")), folder / "one/resumed/run")
    return result


def _single_runs(result: Launch) -> list[str]:
    """Train each recipe in one process; return the recipes' files for two."""
    recipes = []
    for name in result.runs:
        content = result.recipe(name)
        train(validate(TrainRecipe, content), result.folder / "one" / name / "run")
        recipes.append(result.folder / "two" / name / "recipe.json")
        write_json(recipes[-1], content | {"shard": True})
    _begun(result.folder / "one/mcpo/run", result.folder / "two/resumed/run")
    recipes.append(result.folder / "two/resumed/recipe.json")
    write_json(recipes[-1], short_run(result.data, result.model, "mcpo", shard=True))
    return list(map(str, recipes))


def _begun(run: Path, out: Path) -> None:
    """Copy a run as it was when it had its checkpoint of step 2."""
    shutil.copytree(run, out)
    shutil.rmtree(out / "model")
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-000002"]
