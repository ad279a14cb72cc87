"""What tests run as one of several processes, under torchrun, and alone to compare with.

processes.py gradients DATA MODEL REFERENCE OUT LOSS...   writes the gradients of a step to OUT/RANK.pt
processes.py sharded DATA MODEL REFERENCE OUT LOSS...     the same, with a model that each holds a part of
processes.py architectures NAME...                        compares each one in parts with the whole one
processes.py runs RECIPE.json...                          trains each recipe to the directory of its file,
                                                          and writes what each step did to RANK.pt there; of
                                                          skips=RECIPE.json step 2 of the last process is NaN
processes.py skips RECIPE.json...                         the same, of all
processes.py steps CASES.json DATA MODEL OUT STEPS        takes steps of losses with their keywords, and
                                                          writes their outcomes to OUT/RANK.pt
processes.py tokens RECIPE.json STORE OUT                 writes its sets, and what it tokenized, to RANK.json
processes.py segments RUN.json...                         trains each: its recipe, directory and segment
processes.py tasks TASKS.json                             all of a list of such commands, one after another:
                                                          a launch takes seconds before it does anything
"""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support.architectures import select_all, sets, tiny
from support.forks import Server
from support.steps import start_from
from support.training import network_of, patch_kind
from support.watched import watched

from pairkit.losses import build
from pairkit.losses.building import sampler_settings
from pairkit.recipes import validate
from pairkit.training.distributed.processes import Processes, current_processes
from pairkit.training.distributed.sharding import gather_tensors, shard
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.reference_cache import reference_sums
from pairkit.training.plan import Plan, plan
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import split_for
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare
from pairkit.training.step.segment import Segment
from pairkit.training.tokens.store import TokenStore
from pairkit.training.tokens.tokenize import token_batches

SCRIPT = __file__
TESTS = str(Path(__file__).parents[1])


def two_processes(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a script with its arguments, or `--module NAME ...`, as two processes that know of each other."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONWARNINGS": "default",
        "PYTHONPATH": os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    done = subprocess.run([*launch, *command], capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stderr[-6000:]
    return done


def fork_two(forks: Server, *command: str) -> None:
    """Run a script with its arguments as two such forks, in the environment that torchrun sets."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    size, address = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, {"MASTER_ADDR": "127.0.0.1"}
    environment = os.environ | size | address | {"MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": ""}
    started = [
        forks.start(*command, environment=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in (0, 1)
    ]
    try:
        codes = [one.wait(280) for one in started]
        assert codes == [0, 0], started[codes[0] == 0].communicate()[1][-6000:]
    finally:
        for one in started:
            one.kill()


def perturbed(network: torch.nn.Module) -> torch.nn.Module:
    """Make a reference that differs from the policy."""
    other = copy.deepcopy(network)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return other


def gradients(
    data: str,
    model: str,
    store: Path,
    names: list[str],
    processes: Processes,
    *,
    budget: int,
    sets: int = 7,
    in_parts: bool = False,
) -> dict[str, Any]:
    """Compute, by loss: the objective, the gradient of all parameters, the loss's state, on the first sets.

    Seven sets are uneven for two processes; the budget gives them different numbers of micro-batches.
    """
    models = {}
    for loss in map(build, names):
        if loss.trains not in models:
            network = network_of(loss, Path(model))
            pair = network, perturbed(network)
            models[loss.trains] = [shard(one, processes, bf16=False) for one in pair] if in_parts else pair
    results = {}
    for name in names:
        loss = build(name)
        network, live = models[loss.trains]
        planned = plan(TrainRecipe(data=data, model=model, loss={"name": name}, max_length=96))
        chosen = planned.train.sets[:sets]

        def compute(wanted: list[Any]) -> Any:
            return reference_sums(
                wanted, store, lambda: models["policy"][1], tokens_per_micro_batch=budget, processes=processes
            )

        split = split_for(loss.needs, chosen, compute, seed=0, max_length=96)
        needs_live = "token_kl" in loss.needs
        through = StepModel(loss, network, live if needs_live else None, budget, processes)
        settings = sampler_settings(loss, {} if loss.sampler else {"negatives": 2}, "policy")
        network.zero_grad()
        batch = prepare(through, settings, split, range(len(chosen)), draw_seeds(chosen, 0, 0))
        value = through.gradients(batch, Averages()).value
        if not in_parts:
            processes.add_gradients(network)
        grads = [gather_tensors(p.grad, keep=True) for p in network.parameters() if p.grad is not None]
        gradient = [grad.flatten() for grad in grads]
        total = sum(processes.collect(value))
        results[name] = {"value": total, "gradient": torch.cat(gradient), "state": loss.state_dict()}
    return results


def architectures(names: Sequence[str], processes: Processes) -> None:
    """Compare log-probs and gradients of models in parts with whole ones, each process with other sets."""
    work = select_all(sets())
    for name in names:
        whole, in_parts = tiny(name), shard(tiny(name), processes, bf16=False)
        mine = work[processes.rank :: processes.size]
        with torch.no_grad():
            torch.testing.assert_close(
                score(in_parts, mine).policy.sum, score(whole, mine).policy.sum, rtol=1e-4, atol=1e-4
            )
        score(in_parts, mine).policy.sum.sum().backward()
        score(whole, work).policy.sum.sum().backward()
        for (label, parameter), part in zip(whole.named_parameters(), in_parts.parameters(), strict=True):
            expected, found = parameter.grad, gather_tensors(part.grad, keep=True)
            if expected is None:
                assert found is None or not found.any(), (name, label)
                continue
            atol = 1e-4 * float(expected.abs().max())
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=atol, msg=f"{name} {label}")


def nowhere_finite(patch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """In these steps (from 1) make a weight NaN, and with it whatever the model computes."""
    current, weights = {}, {}

    def seeds(sets: Any, seed: int, step: int) -> torch.Tensor:
        current["step"] = step + 1
        return draw_seeds(sets, seed, step)

    def broken(through: StepModel, *given: Any) -> Any:
        if current["step"] in steps:
            weight = next(through.model.parameters()).data
            weights[current["step"]] = (weight, weight.clone())
            weight.fill_(torch.nan)
        return prepare(through, *given)

    def mended(self: StepModel, *given: Any, real: Any = StepModel.gradients) -> tuple[float, int]:
        result = real(self, *given)
        if current["step"] in weights:
            weight, before = weights.pop(current["step"])
            weight.copy_(before)
        return result

    patch.setattr("pairkit.training.loop.draw_seeds", seeds)
    patch.setattr("pairkit.training.loop.prepare", broken)
    patch.setattr(StepModel, "gradients", mended)


def tokens(settings: TrainRecipe, store: Path, processes: Processes) -> dict[str, Any]:
    """Return the training sets, and the splits that this process tokenized itself."""
    made = []

    def batches(tables: Any, *given: Any, **named: Any) -> Any:
        made.append(settings.eval_split if made else settings.train_split)
        for table in tables:
            time.sleep(0.2)  # the other process has to wait
            yield from token_batches([table], *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch_kind(patch, tokens=batches)
        patch.setattr("pairkit.training.tokens.store.SIGN_SECONDS", 0.1)
        planned = plan(settings, TokenStore(store, processes=processes))
    return {"tokenized": made, "sets": plain_sets(planned)}


def plain_sets(planned: Plan) -> list[Any]:
    """Return the training sets in values that JSON knows."""
    return [
        [item.set_id, item.prompt.tolist(), [[c.ids.tolist(), *c[1:]] for c in item.columns], item.label]
        for item in planned.train.sets
    ]


def run(processes: Processes, mode: str, *arguments: str) -> None:
    if mode == "tasks":
        for task in json.loads(Path(arguments[0]).read_text()):
            print("task", task[0], file=sys.stderr)
            run(processes, *task)
    elif mode == "skips":
        run(processes, "runs", *(f"skips={path}" for path in arguments))
    elif mode == "architectures":
        architectures(arguments, processes)
    elif mode == "tokens":
        settings = validate(TrainRecipe, json.loads(Path(arguments[0]).read_text()))
        result = tokens(settings, Path(arguments[1]), processes)
        (Path(arguments[2]) / f"{processes.rank}.json").write_text(json.dumps(result))
    elif mode == "runs":
        for argument in arguments:
            path = Path(argument.removeprefix("skips="))
            with pytest.MonkeyPatch.context() as patch:
                if argument.startswith("skips=") and processes.rank == processes.size - 1:
                    nowhere_finite(patch, {2})
                with watched() as steps:
                    train(validate(TrainRecipe, json.loads(path.read_text())), path.parent / "run")
            torch.save(steps, path.parent / f"{processes.rank}.pt")
    elif mode == "segments":
        for argument in arguments:
            content = json.loads(Path(argument).read_text())
            segment = content["segment"]
            segment["start"] = segment["start"] and Path(segment["start"])
            train(validate(TrainRecipe, content["recipe"]), Path(content["out"]), segment=Segment(**segment))
    elif mode == "steps":
        cases, data, model, out, steps = arguments
        folder = Path(out) / f"reference-{processes.rank}"
        folder.mkdir()
        start = start_from(Path(data), Path(model), folder)
        outcomes = [
            start.steps((name, keywords), budget=100, steps=int(steps), processes=processes)._asdict()
            for name, keywords in json.loads(Path(cases).read_text())
        ]
        torch.save(outcomes, Path(out) / f"{processes.rank}.pt")
    elif mode in ("gradients", "sharded"):
        data, model, store, out, *names = arguments
        in_parts = mode == "sharded"
        result = gradients(data, model, Path(store), names, processes, budget=300, in_parts=in_parts)
        torch.save(result, Path(out) / f"{processes.rank}.pt")
    processes.wait()


if __name__ == "__main__":
    run(current_processes(), *sys.argv[1:])
