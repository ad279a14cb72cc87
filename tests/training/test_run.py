"""The training run: exact, resumable, and its result loads."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from support.processes import perturbed
from support.tiny import candidate_sets, completion, model_folder, random_sets, write_data
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.errors import ExistingOutputError, InputError, ModelError, RecipeError
from pairkit.files import sha256
from pairkit.losses import LOSSES, build
from pairkit.losses.building import sampler_settings
from pairkit.models.chat import DEFAULT_TEMPLATE
from pairkit.models.load import load_model
from pairkit.recipes import validate
from pairkit.training.distributed.processes import ALONE
from pairkit.training.evaluate import evaluate
from pairkit.training.logprobs import forward
from pairkit.training.logprobs.forward import score, score_all
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.reference_cache import reference_sums
from pairkit.training.logprobs.selection import PER_TOKEN, SetSelection, micro_batches
from pairkit.training.output.metrics import read_metrics
from pairkit.training.plan import plan
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train
from pairkit.training.step.batch import StepModel, prepare
from pairkit.training.step.examples import Split, examples, split_for
from pairkit.training.step.negatives import draw
from pairkit.training.step.objective import Averages
from pairkit.training.step.order import draw_seeds, sets_before, step_count, step_sets
from pairkit.training.tokens.sets import TokenSet
from pairkit.training.tokens.tokenize import tokenize


def recipe(data: Path, model: Path, loss: str | dict[str, Any] = "dpo", **fields: Any) -> TrainRecipe:
    base = {
        "data": str(data), "model": str(model), "loss": loss, "sets_per_step": 8, "max_steps": 4,
        "max_length": 96, "optimizer": {"learning_rate": 1e-2, "warmup": 0.25},
    }  # fmt: skip
    return validate(TrainRecipe, base | fields)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder).state_dict())


def token_sets(data: Path, model: Path) -> tuple[list[TokenSet], torch.nn.Module]:
    tokenizer = AutoTokenizer.from_pretrained(model)
    planned = plan(recipe(data, model))
    assert tokenizer.vocab_size == planned.tokenizer.vocab_size
    return planned.train.sets, AutoModelForCausalLM.from_pretrained(model).eval()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_log_probs_equal_those_of_one_completion_at_a_time(tmp_path: Path, data: Path, kind: str) -> None:
    sets, model = token_sets(data, model_folder(tmp_path / kind, kind))
    work = [SetSelection.all(item) for item in sets[:6]]
    logps, _, entropy, _ = score(model, work, want=frozenset({"entropy"}))
    assert entropy is not None
    for i, item in enumerate(sets[:6]):
        for j, column in enumerate(item.columns):
            ids = torch.from_numpy(np.concatenate([item.prompt, column.ids])).long()
            with torch.no_grad():
                each = log_softmax(model(ids[None]).logits[0].double(), dim=-1)
            at = torch.arange(len(item.prompt) - 1, len(ids) - 1)
            assert logps.sum[i, j].item() == pytest.approx(each[at, ids[at + 1]].sum().item(), rel=1e-5)
            assert logps.length[i, j] == len(column.ids)
            if j == 0:
                expected = -(each[at].exp() * each[at]).sum(-1).mean().item()
                assert entropy[i, 0].item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(logps.mask.sum(1), torch.tensor([len(item.columns) for item in sets[:6]]))


def cost(sets: Sequence[SetSelection], *, shared: bool) -> int:
    """Tokens that these sets pass: with one prompt each, or as padded rows."""
    if shared:
        return sum(len(one.tokens.prompt) + sum(map(len, one.completions)) for one in sets)
    widths = [len(one.tokens.prompt) + len(ids) for one in sets for ids in one.completions]
    return len(widths) * max(widths)


@pytest.mark.parametrize("shared", [True, False], ids=["packed", "padded"])
def test_micro_batches_hold_the_budget_and_every_set_once(data: Path, model: Path, shared: bool) -> None:
    sets, _ = token_sets(data, model)
    work = [SetSelection(item, (0, 1)) for item in sets]
    for budget in (1, 150, 400, 10**6):
        groups = micro_batches(work, budget, shared=shared)
        assert sorted(i for group in groups for i in group) == list(range(len(work)))
        for group in groups:
            assert len(group) == 1 or cost([work[i] for i in group], shared=shared) <= budget
        for group, after in pairwise(groups):  # none is closed while the next set would fit
            assert cost([work[i] for i in (*group, after[0])], shared=shared) > budget
    assert len(micro_batches(work, 1, shared=shared)) == len(work)
    assert len(micro_batches(work, 10**6, shared=shared)) == 1


def through(loss: Any, network: torch.nn.Module, budget: int = 10**6, live: Any = None) -> StepModel:
    return StepModel(build(loss) if isinstance(loss, str) else loss, network, live, budget, ALONE)


def split_of(loss: Any, sets: list[TokenSet], live: torch.nn.Module, folder: Path) -> Split:
    """Everything that the loss needs to know of the sets, the reference computed by `live`."""

    def compute(wanted: list[TokenSet]) -> Any:
        return reference_sums(wanted, folder / "sums.parquet", lambda: live, tokens_per_micro_batch=10**6)

    return split_for(loss.needs, sets, compute, seed=0, max_length=96)


@pytest.mark.parametrize("loss", [*LOSSES, "dpo:0.5+mcpo+bco:0.2+sft:0.1"])
def test_micro_batches_do_not_change_the_gradient(tmp_path: Path, data: Path, model: Path, loss: str) -> None:
    """Through the whole of a step: draw, scoring pass, statistics, gradient passes of any number."""
    _, network = token_sets(data, model)
    sets = plan(recipe(data, model, loss)).train.sets
    live = perturbed(network)
    found = []
    for budget in (10**6, 300, 1):
        network.zero_grad()
        built = build(loss)
        split = split_of(built, sets, live, tmp_path)
        passes = through(built, network, budget, live if "token_kl" in built.needs else None)
        settings = sampler_settings(built, {} if built.sampler else {"negatives": 2}, "random")
        rows = list(range(7))
        batch = prepare(passes, settings, split, rows, draw_seeds([sets[i] for i in rows], 0, 0))
        value = passes.gradients(batch, Averages()).value
        gradient = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        found.append((value, gradient, built.state_dict()))
    (value, gradient, state), *others = found
    assert gradient.abs().max() > 0
    for other in others:
        assert other[0] == pytest.approx(value, rel=1e-4, abs=1e-6)
        torch.testing.assert_close(other[1], gradient, rtol=1e-3, atol=float(1e-5 * gradient.abs().max()))
        torch.testing.assert_close(other[2], state, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    ("loss", "keywords"),
    [("alpha_dpo", {}), ("alpha_dpo", {"length_normalized": False}), ("beta_dpo", {})],
)
def test_the_first_batch_that_counts_is_that_of_a_policy_that_has_moved(
    tmp_path: Path, data: Path, model: Path, loss: str, keywords: dict[str, Any], bf16: bool
) -> None:
    """Before, policy and reference are the same but for rounding, for which batches of other shapes stand."""
    sets, network = token_sets(data, model)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)  # logits that differ, and so are rounded
    if bf16:
        network.forward = torch.autocast("cpu", torch.bfloat16)(network.forward)
    built = build(loss, **keywords)
    split, rows = split_of(built, sets, network, tmp_path), list(range(len(sets)))

    def steps() -> float:
        passes = through(built, network, 200)
        settings = sampler_settings(built, {}, "worst")
        batch = prepare(passes, settings, split, rows, draw_seeds([sets[i] for i in rows], 0, 0))
        network.zero_grad()
        passes.gradients(batch, Averages())
        return float(built.state_dict()["steps"])

    assert steps() == 0
    torch.optim.AdamW(network.parameters(), lr=1e-3).step()
    assert steps() == 1


@pytest.mark.parametrize("loss", ["alpha_dpo", "amapo", "wpo", "sft+alpha_dpo"])
def test_metrics_are_those_of_the_pairs_of_the_batch(
    tmp_path: Path, data: Path, model: Path, loss: str
) -> None:
    """Sets of unlike size, every pair of them: one micro-batch, several, or one a set have the same means."""
    sets, network = token_sets(data, model)
    assert len({len(item.columns) for item in sets[:7]}) > 1
    found = []
    for budget in (10**6, 300, 1):
        built = build(loss)
        passes = through(built, network, budget)
        batch = prepare(
            passes,
            sampler_settings(built, {}, "all"),
            split_of(built, sets, perturbed(network), tmp_path),
            range(7),
            draw_seeds(sets[:7], 0, 0),
        )
        averages = Averages()
        passes.gradients(batch, averages)
        found.append(averages.means())
    assert {"pair_weight", "adaptive_margin"} & found[0].keys()
    assert found[1] == pytest.approx(found[0], rel=1e-4, abs=1e-5)
    assert found[2] == pytest.approx(found[0], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("loss", "sampling", "passes"),
    [
        ("dpo", "random", 1),
        ("dpo:0.8+simpo+sft:1.0", "random", 1),  # one pass serves all parts
        ("dpo", "mc", 3),  # prompts and chosen; the others without gradient; the drawn ones
        ("bco", "random", 2),  # the statistic of the batch
        ("dpo:0.8+bco:0.2+sft:1.0", "random", 2),
        ("dpo:0.8+bco:0.2+amapo", "mc", 2),  # the numbers of the draw serve the statistics
        ("kto", "random", 2),
        ("tdpo2", "random", 1),
    ],
)
def test_a_step_passes_the_model_as_often_as_it_must(
    tmp_path: Path, data: Path, model: Path, loss: str, sampling: str, passes: int
) -> None:
    """One micro-batch: the gradient pass, and a scoring pass where the draw or a statistic needs it."""
    sets, network = token_sets(data, model)
    built, live = build(loss), perturbed(network)
    split = split_of(built, sets[:6], live, tmp_path)
    assert packs(network, live)  # found out before: that takes passes of its own
    called = {"policy": 0, "live": 0}
    for name, one in (("policy", network), ("live", live)):
        one.register_forward_hook(lambda *_, name=name: called.update({name: called[name] + 1}))
    step = through(built, network, 10**6, live if "token_kl" in built.needs else None)
    settings = sampler_settings(built, {}, sampling)
    batch = prepare(step, settings, split, range(6), draw_seeds(sets[:6], 0, 0))
    step.gradients(batch, Averages())
    assert called == {"policy": passes, "live": 1 if loss == "tdpo2" else 0}


def test_what_a_token_costs_more_is_wanted_by_those_losses_alone() -> None:
    wanting = {name: build(name).needs & PER_TOKEN for name in LOSSES}
    assert {name: set(want) for name, want in wanting.items() if want} == {
        "tdpo1": {"token_kl"}, "tdpo2": {"token_kl"}, "wpo": {"alignment"}, "ld_dpo": {"head_sum"}
    }  # fmt: skip
    assert build("alpha_dpo", margin="token_kl").needs & PER_TOKEN == {"token_kl"}


@pytest.mark.parametrize("sampling", ["mc", "max", "min", "random"])
@pytest.mark.parametrize("negatives", [1, 2, 3])
def test_mcpo_runs_with_every_sampling(
    tmp_path: Path, data: Path, model: Path, sampling: str, negatives: int
) -> None:
    loss = {"name": "mcpo", "sampling": sampling, "negatives": negatives}
    train(recipe(data, model, loss, max_steps=2), tmp_path / "run")
    lines = read_metrics(tmp_path / "run", "train")
    drawn = [sum(count for name, count in line.items() if name.startswith("drawn_")) for line in lines]
    assert drawn == [8 * negatives] * 2


def test_the_draw_follows_the_current_policy(data: Path, model: Path) -> None:
    """max and min pick the columns whose log-ratio, scored by hand, is largest and smallest."""
    sets, network = token_sets(data, model)
    reference = [np.linspace(-40, -10, len(item.columns)).astype(np.float32) for item in sets]
    for sampling, pick in (("max", np.argmax), ("min", np.argmin)):
        loss = build("mcpo", sampling=sampling)
        settings = sampler_settings(loss, {}, "policy")
        seeds = draw_seeds(sets, 0, 0)
        scoring = through(loss, network, 500).scoring(frozenset())
        split = Split(sets, reference)
        every = [SetSelection.all(item) for item in sets]
        work, _ = draw(loss, settings, examples(split, range(len(sets)), every), seeds, scoring)
        for item, known in zip(work, reference, strict=True):
            policy = score(network, [SetSelection.all(item.tokens)]).policy
            ratios = policy.sum[0].detach().numpy() - known
            assert item.columns == (0, 1 + int(pick(ratios[1:])))
    assert all(not p.grad.any() for p in network.parameters() if p.grad is not None)


def test_sampler_settings_come_from_the_loss_the_flags_or_the_data() -> None:
    assert sampler_settings(build("rnce"), {}, "worst")["sampling"] == "random"
    assert sampler_settings(build("mcpo"), {}, "worst")["sampling"] == "mc"
    assert sampler_settings(build("dpo"), {}, "worst")["sampling"] == "worst"
    assert sampler_settings(build("dpo"), {}, "policy")["sampling"] == "mc"
    assert sampler_settings(build("dpo"), {"sampling": "all"}, "worst")["sampling"] == "all"
    assert sampler_settings(build("mcpo"), {"sampling": "max"}, "worst")["sampling"] == "max"
    assert sampler_settings(build("rnce"), {"negatives": 2}, "worst")["negatives"] == 2
    assert sampler_settings(build("mcpo", negatives=3), {"sampling": "max"}, "worst")["negatives"] == 3


@pytest.mark.parametrize(
    "loss", ["infonca", "nca", "lipo", "pro", "rrhf", "exo_rw", "rrhf+sft", "sft+dpo+nca"]
)
def test_a_loss_on_sets_takes_all_of_each_unless_a_word_is_given(loss: str) -> None:
    assert sampler_settings(build(loss), {}, "worst")["sampling"] == "all"
    assert sampler_settings(build(loss), {"negatives": 2}, "worst")["sampling"] == "worst"
    assert sampler_settings(build(loss), {"sampling": "max"}, "worst")["sampling"] == "max"


def test_evaluation_is_the_mean_over_all_pairs(data: Path, model: Path) -> None:
    sets, network = token_sets(data, model)
    reference = [np.zeros(len(item.columns), np.float32) for item in sets]
    dpo = build("dpo")
    found = [evaluate(through(dpo, network, budget), Split(sets, reference)) for budget in (300, 10**6)]
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    margins, losses = [], []
    for item in sets:
        every = score(network, [SetSelection.all(item)]).policy.sum[0].detach().double()
        margins += (0.1 * (every[0] - every[1:])).tolist()
        losses += torch.nn.functional.softplus(-0.1 * (every[0] - every[1:])).tolist()
    assert found[0]["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found[0]["reward_margin"] == pytest.approx(np.mean(margins), rel=1e-4)
    assert found[0]["reward_accuracy"] == pytest.approx(np.mean(np.array(margins) > 0))


@pytest.mark.parametrize("shared", [True, False], ids=["packed", "padded"])
def test_scoring_divides_a_set_that_exceeds_the_budget(
    data: Path, model: Path, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets, network = token_sets(data, model)
    monkeypatch.setattr(forward, "packs", lambda *_: shared)
    work = [SetSelection.all(item) for item in sets]
    with torch.no_grad():
        whole = score(network, work).policy.sum
    for budget in (1, 60, 10**6):
        found = torch.full_like(whole, float("nan"))
        for rows, scored in score_all(network, work, budget):
            taken = [SetSelection(sets[i], columns) for i, columns in rows]
            alone = len(taken) == 1 and len(taken[0].columns) == 1
            assert alone or cost(taken, shared=shared) <= budget
            for (position, columns), values in zip(rows, scored.policy.sum, strict=True):
                found[position, list(columns)] = values[: len(columns)]
        for i, item in enumerate(sets):
            torch.testing.assert_close(found[i, : len(item.columns)], whole[i, : len(item.columns)])


def test_reference_log_probs_are_computed_once_and_found_by_content(
    tmp_path: Path, data: Path, model: Path
) -> None:
    sets, network = token_sets(data, model)
    loads = []

    def load() -> torch.nn.Module:
        loads.append(1)
        return network

    store = tmp_path / "reference.parquet"
    first = reference_sums(sets[:10], store, load, tokens_per_micro_batch=500)
    other_order = reference_sums(sets[9::-1], store, load, tokens_per_micro_batch=99999)
    assert len(loads) == 1
    for one, two in zip(first, reversed(other_order), strict=True):
        assert np.array_equal(one, two)
    reference_sums(sets, store, load, tokens_per_micro_batch=500)
    assert len(loads) == 2
    assert pq.read_metadata(store).num_rows == len({
        (item.prompt.tobytes(), column.ids.tobytes()) for item in sets for column in item.columns
    })  # fmt: skip
    renamed = store.rename(tmp_path / "another.parquet")  # as if it were another model's
    with pytest.raises(InputError, match="not the log-probs of this reference; delete it"):
        reference_sums(sets, renamed, load, tokens_per_micro_batch=500)
    for content in (b"something else", pq.read_table(renamed).select(["logp"])):
        store.write_bytes(content) if isinstance(content, bytes) else pq.write_table(content, store)
        with pytest.raises(InputError, match="delete it"):
            reference_sums(sets, store, load, tokens_per_micro_batch=500)


def test_reference_log_probs_that_were_stopped_go_on_to_the_same_bits(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is stopped: what is kept are whole windows, whose texts share micro-batches."""
    sets, network = token_sets(data, model)
    monkeypatch.setattr("pairkit.training.logprobs.reference_cache.WINDOW", 5)
    whole = reference_sums(sets, tmp_path / "whole", lambda: network, tokens_per_micro_batch=400)
    kept = []
    for groups in range(8):
        store, left = tmp_path / f"{groups}.parquet", iter(range(groups))

        def stopping(*given: Any, left: Iterator[int] = left) -> Iterator[Any]:
            for group in score_all(*given):
                if next(left, None) is None:
                    raise KeyboardInterrupt
                yield group

        with monkeypatch.context() as patch:
            patch.setattr("pairkit.training.logprobs.reference_cache.score_all", stopping)
            with pytest.raises(KeyboardInterrupt):
                reference_sums(sets, store, lambda: network, tokens_per_micro_batch=400)
        kept.append(pq.read_metadata(store).num_rows)
        again = reference_sums(sets, store, lambda: network, tokens_per_micro_batch=400)
        for one, two in zip(whole, again, strict=True):
            assert np.array_equal(one, two)
    assert kept == sorted(kept)
    assert 0 < kept[-1] < sum(len(item.columns) for item in sets)


def test_order_is_a_permutation_an_epoch_and_the_last_step_may_be_smaller() -> None:
    assert step_count(10, 4, 1.0, None) == 3
    assert step_count(10, 4, 1.5, None) == 4
    assert step_count(10, 4, 1.0, 7) == 7
    epoch = [step_sets(10, step, 4, 1.0, None, seed=5) for step in range(3)]
    assert sorted(chain(*epoch)) == list(range(10))
    assert len(epoch[2]) == 2
    long = list(chain(*(step_sets(10, step, 4, 1.0, 5, seed=5) for step in range(5))))
    assert sorted(long[10:]) == list(range(10))
    assert long[:10] != long[10:]
    assert [sets_before(10, step, 4, 1.5, None) for step in range(6)] == [0, 4, 8, 12, 15, 15]
    assert [sets_before(10, step, 4, 1.0, 7) for step in (0, 7)] == [0, 28]
    assert [len(step_sets(10, step, 4, 1.5, None, seed=5)) for step in range(5)] == [4, 4, 4, 3, 0]


def test_a_launcher_changes_neither_precision_nor_objective(tmp_path: Path, data: Path, model: Path) -> None:
    """In processes of their own: accelerate reads its environment once in each."""
    for name, environment in {
        "plain": {},
        "launched": {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_MIXED_PRECISION": "bf16"},
    }.items():
        command = [
            sys.executable, "-m", "pairkit", "train", "--loss", "dpo", "--data", str(data), "--model",
            str(model), "--max-steps", "1", "--sets-per-step", "4", "--out", str(tmp_path / name),
            "max_length=96",
        ]  # fmt: skip
        subprocess.run(command, env=os.environ | environment, check=True, capture_output=True)
    one, two = (read_metrics(tmp_path / name, "train")[0] for name in ("plain", "launched"))
    assert one["grad_norm"] == two["grad_norm"] > 0
    assert one["loss"] == two["loss"]


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path, data: Path, model: Path) -> None:
    """Checkpoints after every step; the run is cut back to step 2 as a killed one would be."""
    settings = {"save_every": 1, "keep": 5, "max_steps": 5, "eval_every": 2}
    mcpo = {"name": "mcpo", "beta": 0.1}
    whole = train(recipe(data, model, mcpo, **settings), tmp_path / "whole")
    out = tmp_path / "cut"
    train(recipe(data, model, mcpo, **settings), out)
    for path in sorted((out / "checkpoints").glob("step-*"))[2:]:
        path.rename(tmp_path / path.name)
    (out / "model").rename(tmp_path / "gone")
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "ki')  # as a full disk leaves it
    resumed = train(recipe(data, model, mcpo, **settings), out)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name])
    drop = ("tokens_per_second", "sets_per_second")
    for kind in ("train", "eval"):
        lines = [[{k: v for k, v in line.items() if k not in drop} for line in read_metrics(run, kind)]
                 for run in (tmp_path / "whole", out)]  # fmt: skip
        assert lines[0] == lines[1]


@pytest.mark.parametrize(
    ("budget", "reason", "says"),
    [
        (800, torch.OutOfMemoryError("CUDA out of memory"), "try --tokens-per-micro-batch 400, "),
        (800, RuntimeError("DefaultCPUAllocator: can't allocate memory"), "try --tokens-per-micro-batch 400"),
        (40, torch.OutOfMemoryError("CUDA out of memory"), "a set's longest text has 70 tokens: try max_le"),
    ],
)
def test_a_run_that_does_not_fit_says_what_to_lower(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch,
    budget: int, reason: Exception, says: str,
) -> None:  # fmt: skip
    def full(*_: Any) -> None:
        raise reason

    with monkeypatch.context() as patched:
        patched.setattr("pairkit.training.run.train_steps", full)
        with pytest.raises(ModelError) as error:
            train(recipe(data, model, tokens_per_micro_batch=budget), tmp_path / "run")
    assert f"out of memory with {budget} tokens a micro-batch ({reason}); {says}" in str(error.value)
    train(recipe(data, model, max_steps=1, tokens_per_micro_batch=300), tmp_path / "run")


def test_another_failure_of_torch_is_not_taken_for_too_little_memory(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: Any) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("pairkit.training.run.train_steps", wrong)
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(recipe(data, model), tmp_path / "run")


def test_only_the_last_checkpoints_are_kept(tmp_path: Path, data: Path, model: Path) -> None:
    train(recipe(data, model, save_every=1, keep=2, max_steps=5), tmp_path / "run")
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["step-000003", "step-000004"]


def test_sigint_keeps_the_run_and_it_goes_on(tmp_path: Path, data: Path, model: Path) -> None:
    out = tmp_path / "run"
    command = [
        sys.executable, "-m", "pairkit", "train", "--loss", "dpo", "--data", str(data), "--model", str(model),
        "--max-steps", "100000", "--sets-per-step", "2", "--out", str(out), "max_length=96",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not read_metrics(out, "train") and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "the same command goes on from" in errors
    assert "Traceback" not in errors
    (kept,) = (out / "checkpoints").glob("step-*")
    assert int(kept.name.removeprefix("step-")) == read_metrics(out, "train")[-1]["step"]
    assert not (out / "model").exists()


def test_the_saved_model_loads_and_generates(tmp_path: Path, data: Path, model: Path) -> None:
    folder = train(recipe(data, model, "simpo", max_steps=1), tmp_path / "run")
    tokenizer, loaded = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "old"}], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    assert loaded.generate(**ids, max_new_tokens=3, do_sample=False).shape[1] > ids["input_ids"].shape[1]
    assert (folder / "model.safetensors").is_file()


def test_metrics_and_the_run_directory(tmp_path: Path, data: Path, model: Path) -> None:
    out = tmp_path / "run"
    train(recipe(data, model, max_steps=4, eval_every=2), out)
    first, middle, last = read_metrics(out, "eval")
    assert [line["step"] for line in (first, middle, last)] == [0, 2, 4]
    assert {"reward_accuracy", "reward_margin", "chosen_logp", "rejected_logp", "entropy"} <= set(first)
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-5)  # the policy is the reference
    assert first["reward_accuracy"] == pytest.approx(0.5)
    steps = read_metrics(out, "train")
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert {"grad_norm", "learning_rate", "tokens_per_second", "sets_per_second"} <= set(steps[0])
    assert list((out / "tensorboard").glob("events*"))
    record = json.loads((out / "run.json").read_text())
    assert record["plan"]["train_sets"] == {"used": 24, "refused": {}}
    assert record["data"] == sha256(data / "pairkit.json")
    assert yaml.safe_load((out / "recipe.yaml").read_text()) == record["recipe"]
    (start,) = record["starts"]
    assert start["device"].startswith("cpu: ")
    assert start["processes"] == 1
    assert start["versions"]["torch"] == torch.__version__
    assert (tmp_path / "reference").is_dir()
    assert (out / "refused.jsonl").read_text() == ""


def test_sets_that_are_not_used_are_counted_and_listed(tmp_path: Path, model: Path) -> None:
    tie = candidate_sets([("no choice", [completion("a", 1), completion("b", 1)])])
    folder = write_data(tmp_path / "data", pa.concat_tables([random_sets(3), tie]))
    train(recipe(folder, model, max_steps=1), tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["plan"]["train_sets"] == {"used": 3, "refused": {"no_choice": 1}}
    (line,) = map(json.loads, (tmp_path / "run" / "refused.jsonl").read_text().splitlines())
    assert (line["split"], line["set_id"], line["reason"]) == ("train", tie["set_id"][0].as_py(), "no_choice")


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("constant", [0, 0.5, 1, 1, 1, 1, 1, 1]),
        ("linear", [0, 0.5, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ("cosine", [0, 0.5, *(0.5 * (1 + np.cos(np.pi * k / 6)) for k in range(6))]),
    ],
)
def test_the_learning_rate_follows_its_schedule(
    tmp_path: Path, data: Path, model: Path, schedule: str, shares: list[float]
) -> None:
    """Eight steps, the first two of them warm-up."""
    optimizer = {"learning_rate": 1e-3, "schedule": schedule, "warmup": 0.25}
    train(recipe(data, model, "simpo", max_steps=8, optimizer=optimizer), tmp_path / "run")
    rates = [line["learning_rate"] for line in read_metrics(tmp_path / "run", "train")]
    assert rates == pytest.approx([1e-3 * share for share in shares])


def test_dpo_learns_what_the_sets_say(tmp_path: Path, model: Path) -> None:
    """Chosen texts say "red", rejected ones "blue": held-out reward accuracy rises to (nearly) 1."""
    texts = [(str(i), "red " * (1 + i % 3), "blue " * (1 + i % 3)) for i in range(40)]
    rows = [(prompt, [completion(red, 1), completion(blue, 2)]) for prompt, red, blue in texts]
    folder = write_data(tmp_path / "data", candidate_sets(rows[:32]), candidate_sets(rows[32:]))
    train(recipe(folder, model, "mcpo", max_steps=20), tmp_path / "run")
    before, after = read_metrics(tmp_path / "run", "eval")
    assert before["reward_accuracy"] == pytest.approx(0.5)
    assert after["reward_accuracy"] > 0.95
    assert after["reward_margin"] > 0


def test_from_a_configuration_with_a_tokenizer_trained_on_the_data(tmp_path: Path, data: Path) -> None:
    config = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
              "num_attention_heads": 2, "vocab_size": 5, "max_position_embeddings": 128}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    settings = {"tokenizer": "bpe:320", "max_steps": 1}
    one = train(recipe(data, tmp_path / "config.json", "dpo", **settings), tmp_path / "one")
    two = train(recipe(data, tmp_path / "config.json", "dpo", **settings), tmp_path / "two")
    assert AutoTokenizer.from_pretrained(one).vocab_size <= 320
    for name, value in weights(one).items():
        assert torch.equal(value, weights(two)[name])


def test_gradient_checkpointing_and_bf16(tmp_path: Path, data: Path, model: Path) -> None:
    plain = weights(train(recipe(data, model, max_steps=2), tmp_path / "plain"))
    less = weights(train(recipe(data, model, max_steps=2, gradient_checkpointing=True), tmp_path / "less"))
    for name, value in plain.items():
        torch.testing.assert_close(less[name], value, rtol=1e-5, atol=1e-6)
    half = train(recipe(data, model, max_steps=2, dtype="bfloat16"), tmp_path / "half")
    assert json.loads((half / "config.json").read_text())["dtype"] == "bfloat16"
    assert all(np.isfinite(line["loss"]) for line in read_metrics(tmp_path / "half", "train"))
    mixed = weights(train(recipe(data, model, max_steps=2, bf16=True), tmp_path / "mixed"))
    assert all(value.dtype == torch.float32 for value in mixed.values())
    assert any(not torch.equal(value, plain[name]) for name, value in mixed.items())
    first = read_metrics(tmp_path / "mixed", "train")[0]
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-6)  # policy and reference in one precision


def test_the_record_of_a_run_says_how_each_part_of_it_was_started(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, record = tmp_path / "run", tmp_path / "run" / "run.json"
    train(recipe(data, model, max_steps=2, save_every=1), out)
    complete = record.read_bytes()
    monkeypatch.setattr("pairkit.training.output.directory.device_name", lambda _: "another")
    train(recipe(data, model, max_steps=2, save_every=1), out)
    assert record.read_bytes() == complete  # nothing was done
    for budget in (300, 400):
        shutil.rmtree(out / "model")
        train(recipe(data, model, max_steps=2, save_every=1, tokens_per_micro_batch=budget), out)
    content = json.loads(record.read_text())
    assert [start["device"].split(":")[0] for start in content["starts"]] == ["cpu", "another"]
    assert content["recipe"]["tokens_per_micro_batch"] == 400


def test_existing_runs(tmp_path: Path, data: Path, model: Path) -> None:
    out = tmp_path / "run"
    train(recipe(data, model, max_steps=1), out)
    stamp = (out / "model" / "config.json").stat().st_mtime_ns
    train(recipe(data, model, max_steps=1), out)
    assert (out / "model" / "config.json").stat().st_mtime_ns == stamp
    with pytest.raises(ExistingOutputError, match=r"run \(max_steps 1 -> 2\);"):
        train(recipe(data, model, max_steps=2), out)
    other = recipe(data, model, {"name": "dpo", "beta": 0.2}, max_steps=1, optimizer={"warmup": 0.25})
    with pytest.raises(
        ExistingOutputError, match=r"run \(loss.beta None -> 0.2; optimizer.learning_rate 0.01 -> 5e-07\);"
    ):
        train(other, out)
    train(recipe(data, model, max_steps=1, tokens_per_micro_batch=99, keep=7), out)  # it ends in the same
    with pytest.raises(ExistingOutputError, match="on-existing"):
        train(recipe(data, model, max_steps=1), out, on_existing="raise")
    train(recipe(data, model, max_steps=2), out, on_existing="delete")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(ExistingOutputError, match="holds no training run"):
        train(recipe(data, model), tmp_path / "mine", on_existing="delete")


def test_bad_recipes(data: Path, model: Path) -> None:
    for fields, message in [
        ({"loss": "dpoo"}, "did you mean 'dpo'"),
        ({"loss": {"name": "dpo", "beta": -1}}, "dpo.beta is in (0, inf)"),
        ({"loss": {"beta": 1}}, "needs a name"),
        ({"negatives": {"sampling": "hard"}}, "value of negatives.sampling"),
        (
            {"loss": {"name": "mcpo", "sampling": "min"}, "negatives": {"sampling": "max"}},
            "negatives.sampling and loss.sampling say the same thing",
        ),
        (
            {"loss": {"name": "rnce+sft", "rnce": {"negatives": 2}}, "negatives": {"negatives": 2}},
            "negatives.negatives and loss.negatives say the same thing",
        ),
        ({"loss": "mcpo", "negatives": {"sampling": "worst"}}, "unknown value of negatives.sampling"),
        ({"max_prompt_length": 96}, "leaves no room"),
        ({"set_per_step": 3}, "did you mean 'sets_per_step'"),
        ({"optimizer": {"lr": 3}}, "optimizer.lr"),
    ]:
        with pytest.raises(RecipeError) as error:
            recipe(data, model, **({"loss": "dpo"} | fields))
        assert message in str(error.value)


def test_bad_data_and_models(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="not a built dataset"):
        train(recipe(tmp_path, model), tmp_path / "a")
    unranked = candidate_sets([("x", [completion("a"), completion("b")]), ("y", [completion("c")])])
    with pytest.raises(InputError, match="2 sets unranked"):
        train(recipe(write_data(tmp_path / "unranked", unranked), model), tmp_path / "b")
    single = candidate_sets([("x", [completion("a", 1)])])
    with pytest.raises(InputError, match="1 sets no_choice"):
        train(recipe(write_data(tmp_path / "single", single), model), tmp_path / "c")
    with pytest.raises(InputError, match="it has: test, train"):
        train(recipe(data, model, train_split="validation"), tmp_path / "d")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # else it tries for 20 s
    with pytest.raises(ModelError, match="is there a network"):
        train(recipe(data, Path("nobody/nothing"), tokenizer="bpe:400"), tmp_path / "e0")
    with pytest.raises(ModelError, match="cannot be loaded"):
        train(recipe(data, tmp_path / "nowhere"), tmp_path / "e")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text((model / "config.json").read_text())
    with pytest.raises(ModelError, match="start from random weights"):
        train(recipe(data, tmp_path / "empty", tokenizer=str(model)), tmp_path / "f")
    with pytest.raises(RecipeError, match="bpe:N"):
        train(recipe(data, model, tokenizer="bpe:12"), tmp_path / "g")
    with pytest.raises(ModelError, match="the tokenizer that belongs to it"):
        train(recipe(data, model, tokenizer="bpe:400"), tmp_path / "h")
    for left in "abcdefgh":
        assert not (tmp_path / left).exists()


def test_a_tokenizer_may_have_special_tokens_that_the_model_has_no_row_for(
    tmp_path: Path, data: Path
) -> None:
    folder = model_folder(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(folder)
    assert len(tokenizer) > AutoModelForCausalLM.from_pretrained(folder).config.vocab_size
    train(recipe(data, folder, max_steps=1), tmp_path / "run")
    assert len(read_metrics(tmp_path / "run", "train")) == 1


def test_no_dropout_is_left_in_a_loaded_model(tmp_path: Path) -> None:
    """Whatever its configuration calls it: two passes over one text agree in training mode too."""
    config = {"model_type": "roformer", "is_decoder": True, "vocab_size": 50, "hidden_size": 16,
              "embedding_size": 16,
              "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
              "hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    network = load_model(
        str(tmp_path / "config.json"), revision=None, dtype="float32", attention=None,
        trust_remote_code=False, vocabulary=50, seed=0,
    ).train()  # fmt: skip
    one, two = (network(input_ids=torch.arange(10)[None]).logits for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_text_longer_than_the_models_positions_is_refused(tmp_path: Path, kind: str) -> None:
    """The real lengths count, not the limit that the recipe gives them."""
    long = [("x", [completion("red " * 60, 1), completion("blue", 2)])]
    folder = write_data(tmp_path / "data", random_sets(8), candidate_sets(long))
    small = model_folder(tmp_path / "model", kind)
    with pytest.raises(
        ModelError, match=r"has \d+ tokens with its completion, .* positions for 128: give max_l"
    ):
        plan(recipe(folder, small, max_length=1000))
    assert plan(recipe(folder, small, max_length=128)).longest == 128
    assert plan(recipe(folder, small, max_length=1000, eval_split="none")).longest < 128


def test_kto_puts_completions_behind_other_prompts(tmp_path: Path, data: Path, model: Path) -> None:
    planned = plan(recipe(data, model, "kto", max_length=1000))
    own = [len(item.prompt) + len(column.ids) for item in planned.train.sets for column in item.columns]
    prompt = max(len(item.prompt) for item in planned.train.sets)
    assert planned.longest == prompt + max(len(c.ids) for item in planned.train.sets for c in item.columns)
    assert planned.longest > max(own)
    assert plan(recipe(data, model, "kto", max_length=max(own))).longest == max(own)


def test_the_plan_says_how_long_texts_and_steps_are(data: Path, model: Path) -> None:
    planned = plan(recipe(data, model))
    tokens, sets = planned.describe()["tokens"], planned.train.sets
    assert tokens["longest"] == max(
        len(item.prompt) + len(column.ids)
        for item in [*sets, *planned.held_out.sets]
        for column in item.columns
    )
    every = tokens["prompt"] + tokens["completion"]
    assert tokens["a_step"] == round(every / 24 * 8)
    for settings, steps in (({"epochs": 1.0}, 1), ({"epochs": 1.5, "sets_per_step": 10}, 4)):
        one = plan(recipe(data, model, max_steps=None, **({"sets_per_step": 128} | settings)))
        assert one.steps == steps
        assert one.describe()["tokens"]["a_step"] == round(every * settings["epochs"] / steps)


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "train",
        "--loss",
        "dpo",
        "--data",
        str(data),
        "--model",
        str(model),
        "--dry-run",
        "max_length=96",
    ]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    planned = plan(recipe(data, model, sets_per_step=128, max_steps=None))
    printed = yaml.safe_load(shown.stdout)
    assert {key: printed[key] for key in planned.describe()} == planned.describe()
    assert printed["out"] == "runs/train/sets-dpo"
    assert not list(tmp_path.iterdir())


def test_tokenize_reads_tables_in_parts(model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = DEFAULT_TEMPLATE
    table, seen = random_sets(10), []
    both = [
        tokenize(parts, tokenizer, max_length=96, max_prompt_length=50, wanted="ranked", advance=seen.append)
        for parts in ([table], [table[:3], table[3:]])
    ]
    assert seen == [10, 3, 7]
    for one, two in zip(both[0].sets, both[1].sets, strict=True):
        assert one.set_id == two.set_id
        assert np.array_equal(one.columns[-1].ids, two.columns[-1].ids)
