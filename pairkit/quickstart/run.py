"""`pairkit quickstart`: all of pairkit in minutes on a CPU, without a download.

    start       a tiny model, random weights
    problems    arithmetic problems with their answers                     pairkit build
    rounds      supervised fine-tuning on them, until half are right       pairkit train --loss sft
    sft         the fine-tuned model
    sets        six completions per prompt, verified, with noise           pairkit build --recipe quickstart
    dpo, mcpo   two models trained on the sets, from the same start        pairkit train --loss dpo, mcpo
    report      accuracy of the three on problems that no step has seen

Every step is the function that a command calls, and each is resumed or reused when the quickstart runs
again. The settings are those of the shipped recipes `quickstart` and `quickstart-*`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from rich.text import Text
from transformers.utils import logging as transformers_logging

from pairkit.engines.transformers import load_transformers
from pairkit.evaluation.accuracy import accuracy
from pairkit.files import (
    OnExisting,
    admit,
    names_in,
    partial,
    publish,
    read_record,
    stoppable,
    write_json,
    write_text,
)
from pairkit.intervals import Floats
from pairkit.ownership import owned, spare_annotations
from pairkit.pipeline.build import build
from pairkit.progress import console, log, shown, silenced
from pairkit.quickstart import page
from pairkit.quickstart.model import save_start
from pairkit.quickstart.results import MODELS, Measured, measure, to_json
from pairkit.quickstart.settings import (
    Settings,
    preference_recipe,
    problems_recipe,
    sets_recipe,
    sft_recipe,
)
from pairkit.rankers.verifier import VerifierRecipe
from pairkit.recipes.differences import changed_values
from pairkit.schema import identify
from pairkit.sources import arithmetic
from pairkit.training.run import train
from pairkit.version import __version__

SETTINGS = "quickstart.json"
FOLDERS = ("start", "problems", "rounds", "sft", "sets", "tokens", "reference", "dpo", "mcpo")
# The settings last: until they are removed, what an interrupted deletion left is still ours.
PARTS = (*FOLDERS, "results.json", "report.html", SETTINGS)

# The first model learns in rounds until this share of its answers to the tuning problems is right. A fixed
# number of steps would not do: from one seed to another it differs by half, because addition is learned
# suddenly, once carrying is. It is well below 1 because the sets need wrong answers too.
ENOUGH = 0.4
ROUNDS = 20
MAX_TOKENS = 6  # per answer: three digits and the end, and room to be wrong


def quickstart(out: Path, settings: Settings, *, on_existing: OnExisting = "resume") -> Measured:
    """Run what is not done yet, then write `out`/report.html and `out`/results.json.

    Raises:
        ExistingOutputError: `out` contains something else, or a quickstart with other settings.
        Interrupted: after SIGINT.
        PairkitError: whatever the steps raise.
    """
    # Asked before the lock as well, because locking writes, and a directory of others is never written to.
    if SETTINGS not in names_in(out):
        admit(out, on_existing, holds=None, differences=list)
    resumable = f"stopped; run the same command again to resume from {out}"
    with owned(out), small_and_quiet(), stoppable(out, lambda: resumable):
        _claim(out, settings, on_existing)
        sets = candidate_sets(out, settings)
        for loss in ("dpo", "mcpo"):
            _log_step(
                f"{loss}: {'policy-weighted' if loss == 'mcpo' else 'random'} negatives, from the sft model"
            )
            train(preference_recipe(out, settings, loss), out / loss)
        _log_step("accuracy of the three models on held-out problems")
        right = {
            name: accuracy_of(out / folder / "model", settings, "test", samples=settings.samples)
            for name, folder in MODELS.items()
        }
    results = measure(right, arithmetic.groups(test_problems("test")))
    # Before the page, which is made from the same numbers and can be made again.
    write_json(
        out / "results.json", {"pairkit": __version__, "settings": asdict(settings)} | to_json(results)
    )
    write_text(out / "report.html", page.render(out, settings.seed, settings.samples, results, sets))
    return results


def first_model(out: Path, settings: Settings) -> Path:
    """Make the model of a quickstart that the others start from, if it is not there; return its directory.

    A quickstart with the same settings finds it in `out`. Raises as `quickstart` does.
    """
    if SETTINGS not in names_in(out):
        admit(out, "resume", holds=None, differences=list)
    resumable = f"stopped; run the same command again to resume from {out}"
    with owned(out), small_and_quiet(), stoppable(out, lambda: resumable):
        _claim(out, settings, "resume")
        _first_model(out, settings)
    return out / "sft" / "model"


def _first_model(out: Path, settings: Settings) -> None:
    _log_step("arithmetic problems, and a model that learns to solve about half of them")
    save_start(out / "start")
    build(problems_recipe(settings), out / "problems")
    fine_tune(out, settings)


def candidate_sets(out: Path, settings: Settings) -> dict[str, Any]:
    """Make the candidate sets of the fine-tuned model in `out`/sets, from nothing; return their manifest."""
    _first_model(out, settings)
    _log_step("six completions per problem, verified, and one noisy completion per set")
    return build(sets_recipe(out, settings), out / "sets")


def fine_tune(
    out: Path,
    settings: Settings,
    right: Callable[[Path], float] | None = None,
    enough: float = ENOUGH,
    rounds: int = ROUNDS,
) -> None:
    """Fine-tune in rounds, each a run of its own, until enough answers are right; copy the model to `sft`.

    Rounds that were finished before an interruption are reused: the number of a round decides its recipe.

    Args:
        right: measures the share of right answers of a model; None: on the tuning problems of arithmetic.
        enough: the share at which no further round follows; `rounds`: the most rounds.
    """
    share_of = right or (lambda model: _right(model, settings))
    target = out / "sft" / "model"
    # The rounds are not run again, because their last model is there.
    if target.is_dir():
        return
    model = out / "start" / "config.json"
    for number in range(1, rounds + 1):
        with silenced():
            model = train(sft_recipe(out, settings, number, model), out / "rounds" / f"{number:02d}")
        # On tuning problems, because choosing the round by the reported ones would flatter it.
        share = share_of(model)
        log(f"fine-tuning, round {number}: {share:.0%} of the answers to tuning problems are right")
        if share >= enough or settings.sft_steps is not None:
            break
    temporary = partial(target)  # renamed when whole: the step is skipped if `target` exists
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(model, temporary)
    publish(temporary, target)


def _right(model: Path, settings: Settings) -> float:
    return float(accuracy_of(model, settings, "tuning", samples=2).mean())


def test_problems(split: arithmetic.Split) -> pa.Table:
    """Return the problems of a held-out split as a table of candidate sets."""
    return identify(arithmetic.sets(split), {})


def accuracy_of(model: Path, settings: Settings, split: arithmetic.Split, *, samples: int) -> Floats:
    """Measure the share of `samples` completions at temperature 1 that are right, `[problems]`."""
    return accuracy(
        test_problems(split),
        load_transformers(str(model)),
        VerifierRecipe(),
        samples=samples,
        max_tokens=MAX_TOKENS,
        seed=settings.seed,
    ).values


def _claim(out: Path, settings: Settings, on_existing: OnExisting) -> None:
    """Claim `out` for a quickstart of these settings; delete what an earlier one left, unless it is resumed.

    Only `PARTS` are deleted: files of the user next to them stay.
    """
    record = out / SETTINGS
    names = names_in(out)

    def differences() -> list[str]:
        before = read_record(record, "use --on-existing delete")
        # The version that began it may be another one.
        return changed_values(before, asdict(settings), lambda key: key == "pairkit")

    holds = "a quickstart" if SETTINGS in names else None
    if admit(out, on_existing, holds=holds, differences=differences) == "resume":
        return
    spare_annotations(out / name for name in PARTS if name in names)
    for part in (out / name for name in PARTS if name in names):
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    # After the deletion, because old parts next to new settings would be taken for finished steps.
    write_json(record, {"pairkit": __version__} | asdict(settings))


def _log_step(text: str) -> None:
    console.print(Text.assemble((">", "bold"), f" {shown(text)}"))


@contextmanager
def small_and_quiet() -> Iterator[None]:
    """Compute in one thread, and show no progress bar of transformers.

    Half a million parameters keep one core busy: a second thread would wait more than it helps. And the order
    of summation, so the result, does not depend on a machine's number of cores.
    """
    threads, bars = torch.get_num_threads(), transformers_logging.is_progress_bar_enabled()
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        # As before, because these blocks may be inside of each other.
        if bars:
            transformers_logging.enable_progress_bar()
