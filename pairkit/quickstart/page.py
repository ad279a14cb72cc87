"""The report of a quickstart as one HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from pairkit.progress import shell_quoted
from pairkit.quickstart.results import MODELS, Measured
from pairkit.reports.blocks import Difference, candidate_sets, differences
from pairkit.reports.html import Html, figures, join, page, section, settings, text, tiles
from pairkit.reports.plots import Curve, curves, interval_bars, palette, smoothed, stacked_bars
from pairkit.training.output.entries import read_metrics

# Fine-tuning has no margin and no negatives to show.
RUNS = {name: folder for name, folder in MODELS.items() if name != "SFT"}
EXAMPLES = 4
WINDOW = 20  # steps; each point of a training curve is the mean of so many
Entries = Sequence[Mapping[str, Any]]


def render(out: Path, seed: int, samples: int, results: Measured, manifest: Mapping[str, Any]) -> str:
    """Write the page from what the runs under `out` wrote; nothing is measured again."""
    colors = palette(MODELS)
    steps = {name: read_metrics(out / folder, "train") for name, folder in RUNS.items()}
    held_out = {name: read_metrics(out / folder, "eval") for name, folder in RUNS.items()}
    return page(
        "pairkit quickstart",
        [
            _accuracy(results, samples, colors),
            _training(steps, held_out, colors),
            _negatives(steps),
            _sets(out, manifest),
            _settings(out, seed),
        ],
        summary=(
            "A tiny model is taught to add until it is right about half of the time. It then completes each "
            "problem six times, a verifier tells right from wrong, and DPO and MC-PO train on the candidate "
            "sets: from the same start, with the same number of steps, alike in everything but how a "
            "negative is drawn."
        ),
        top=tiles({f"{name}, accuracy": f"{100 * bar.mean:.1f} %" for name, bar in results.accuracy.items()}),
    )


def _accuracy(results: Measured, samples: int, colors: Mapping[str, str]) -> Html:
    """Show the accuracy of each model and the paired differences."""
    rows = [Difference(*names, interval) for names, interval in results.differences.items()]
    return section(
        "Accuracy on held-out problems",
        interval_bars("Right answers at temperature 1, with 95 % intervals", results.accuracy, colors),
        differences(rows),
        note=(
            f"{results.problems} problems that no step has seen and no setting was chosen on, {samples} "
            "completions each. Intervals are bootstrapped over problems, a sum and its mirror image drawn "
            "together; differences are paired: the same problems, the same random numbers. They are those "
            "of this one run: another seed trains other models."
        ),
    )


def _training(
    steps: Mapping[str, Entries], held_out: Mapping[str, Entries], colors: Mapping[str, str]
) -> Html:
    """Show margins and log-probs over the steps: of the sampled negatives, and of the held-out sets."""
    names = list(RUNS)
    logps = [("chosen_logp", "chosen", False), ("rejected_logp", "negatives", True)]
    return section(
        "Training",
        figures(
            curves(
                "Reward margin over the drawn negative",
                [_curve(name, steps[name], "reward_margin", colors[name], window=WINDOW) for name in names],
            ),
            curves(
                "Reward margin, held-out sets",
                [_curve(name, held_out[name], "reward_margin", colors[name]) for name in names],
            ),
            curves(
                "Log-prob of what was trained on",
                [
                    _curve(f"{name}, {what}", steps[name], key, colors[name], dashed=dashed, window=WINDOW)
                    for name in names
                    for key, what, dashed in logps
                ],
                ylabel="nats",
            ),
            curves(
                "Log-prob, held-out sets",
                [
                    _curve(f"{name}, {what}", held_out[name], key, colors[name], dashed=dashed)
                    for name in names
                    for key, what, dashed in logps
                ],
                ylabel="nats",
            ),
        ),
        note=(
            "A reward is beta times the log-ratio of policy and reference; the margin is chosen minus "
            f"negative. Left: what each step drew, mean over {WINDOW} steps; the harder the negatives, the "
            "smaller the margin. Right: all negatives of sets that were kept apart, the same for both."
        ),
    )


def _negatives(steps: Mapping[str, Entries]) -> Html:
    """Show where the sampled negatives came from, early and late in each run."""
    rows: dict[str, dict[str, int]] = {}
    for name, entries in steps.items():
        # At least one, because a run may have fewer than three steps.
        third = max(1, len(entries) // 3)
        rows |= {
            f"{name}, first third": _origins(entries[:third]),
            f"{name}, last third": _origins(entries[-third:]),
        }
    return section(
        "Negatives by origin",
        stacked_bars("Drawn negatives: the model's own wrong answers, or noise", rows),
        note=(
            "DPO draws uniformly. MC-PO draws in proportion to the weight that the policy of that step gives "
            "a completion, so that it turns to what the model still believes."
        ),
    )


def _sets(out: Path, manifest: Mapping[str, Any]) -> Html:
    """Show a few candidate sets, and how many completions and sets there are."""
    counts = manifest["counts"]
    usable = counts["mine"]["sets_out"]
    return section(
        "Candidate sets",
        candidate_sets(_examples(out)),
        note=(
            f"{counts['generate']['completions']:,} completions of {counts['source']['rows']:,} problems, "
            f"{counts['rank']['right'] / counts['rank']['checked']:.0%} of them right. {usable:,} problems "
            "were answered both right and wrong and are sets; the others hold no choice and went to "
            "quarantine. Answers are written with their digits reversed, the units first. Noise is the right "
            "answer with two digits exchanged; it has neither rank nor score and counts as below everything."
        ),
    )


def _examples(out: Path) -> list[dict[str, Any]]:
    """Choose the sets with the most completions among the first hundred."""
    first = sorted((out / "sets" / "data").glob("train-*.parquet"))[0]
    # Enough for a few examples, without reading the file.
    rows = pq.ParquetFile(first).read_row_group(0).slice(0, 100).to_pylist()
    # The most, because a set of two shows little of ranks and noise.
    order = sorted(rows, key=lambda row: -len(row["completions"]))  # stable: the first of equals
    return order[:EXAMPLES]


def _settings(out: Path, seed: int) -> Html:
    """Show how each model was trained, and the commands that repeat it."""
    values: dict[str, object] = {"seed": seed}
    # From the runs and not from the settings, because the number of rounds is known only there.
    rounds = sorted(path.parent for path in (out / "rounds").glob("*/recipe.yaml"))
    for name, runs in {"SFT": rounds, **{name: [out / folder] for name, folder in RUNS.items()}}.items():
        recipes = [yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8")) for run in runs]
        # The last round's settings are those of all rounds; only the first is longer.
        last, optimizer = recipes[-1], recipes[-1]["optimizer"]
        steps = f"{sum(recipe['max_steps'] for recipe in recipes)} steps"
        if len(recipes) > 1:
            steps += f" in {len(recipes)} rounds"
        values[name] = (
            f"{_loss_text(last['loss'])}; {steps} of {last['sets_per_step']} sets; AdamW, learning "
            f"rate {optimizer['learning_rate']:g}, {optimizer['schedule']}, warm-up {optimizer['warmup']:g}"
        )
    model, sets = shell_quoted(str(out / "sft" / "model")), shell_quoted(str(out / "sets"))
    by_hand = [
        f"pairkit build --recipe quickstart generate.model={model} --noise-tokenizer {model} --seed {seed}",
        *(
            f"pairkit train --recipe quickstart-{name} --data {sets} --model {model} --seed {seed}"
            for name in RUNS.values()
        ),
    ]
    return section(
        "Settings, and the same by hand",
        settings(values),
        Html(f'<div class="scroll"><pre>{join([text(line) for line in by_hand])}</pre></div>'),
        note=(
            "The recipes are part of the package. They were chosen on problems other than those reported "
            "above, with the same learning rate, steps and sets per step for DPO and MC-PO."
        ),
    )


def _loss_text(loss: Mapping[str, Any]) -> str:
    keywords = ", ".join(f"{key} {value}" for key, value in loss.items() if key != "name")
    return f"{loss['name']} ({keywords})" if keywords else str(loss["name"])


def _origins(entries: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Sum the sampled negatives of some steps by origin."""
    counts: dict[str, int] = {}
    for entry in entries:
        for key, number in entry.items():
            if key.startswith("drawn_"):
                origin = key.removeprefix("drawn_")
                counts[origin] = counts.get(origin, 0) + number
    # Sorted, because a plot has its parts in the order of their first appearance.
    return dict(sorted(counts.items()))


def _curve(
    name: str, entries: Entries, key: str, color: str, *, dashed: bool = False, window: int = 1
) -> Curve:
    # Not every entry has every number.
    points = [entry for entry in entries if key in entry]
    values = smoothed([entry[key] for entry in points], window) if points else []
    return Curve(name, [entry["step"] for entry in points], values, color, dashed)
