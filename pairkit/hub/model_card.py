"""The model card: what a trained model is, what it was trained on and how, and what it reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

from pairkit.dataset.card_settings import settings_of, with_settings
from pairkit.dataset.markdown import cell, environment, to_yaml
from pairkit.losses.building import trained_by
from pairkit.losses.spec import Trained

# Metrics that come first, in this order; the others follow.
FIRST = ("loss", "reward_accuracy", "reward_margin")
LEFT_OUT = frozenset(
    {"step", "kind", "sets_per_second", "tokens_per_second", "mfu"}
)  # they describe the machine, not the model
# What a hub calls the use of a model, and the words of the card for it, by what its loss trains.
_TASKS: dict[Trained, str] = {
    "policy": "text-generation",
    "reward": "text-classification",
    "pairrm": "text-ranking",
}
_NOUNS: dict[Trained, str] = {"policy": "model", "reward": "reward model", "pairrm": "PairRM ranker"}
_TAGS = ("preference", "candidate-sets", "pairkit")


def render(about: Mapping[str, Any], name: str, *, adapters: bool) -> str:
    """Render the card as Markdown from the content of the model's `pairkit.json`.

    Args:
        name: the repository, from which the example loads.
        adapters: whether only adapters are published, which need the base model.

    Raises `ValueError`, `KeyError` or `TypeError` for content of another form.
    """
    recipe = about["recipe"]
    template = environment().get_template("model.md.jinja")
    try:
        card = template.render(
            front_matter=to_yaml(front_matter(about, adapters=adapters)),
            title=name.split("/")[-1],
            name=name,
            about=about,
            base=about["base_model"],
            base_link=_base_link(about["base_model"], recipe["revision"]),
            adapters=adapters,
            trains=(trains := trained_by(recipe["loss"]["name"])),
            noun=_NOUNS[trains],
            loss=recipe["loss"]["name"],
            parameters=_parameters(about["plan"]),
            metrics=_metrics(about["metrics"]),
            step=about["metrics"].get("held_out", about["metrics"].get("train", {})).get("step"),
            sets=about["plan"]["train_sets"]["used"],
            refused=sum(about["plan"]["train_sets"]["refused"].values()),
            recipe=to_yaml(recipe),
        )
    # Of an entry of another form in the record.
    except jinja2.UndefinedError as error:
        raise ValueError(str(error)) from error
    return with_settings(card, settings_of(about.get("card", {})))


def front_matter(about: Mapping[str, Any], *, adapters: bool) -> dict[str, Any]:
    """Make what the hub reads: library, task, base model, license, tags."""
    base, license = about["base_model"], about["license"]
    loss = about["plan"]["loss"]
    # A loss of several parts has a mapping for each of them.
    parts = [key for key, value in loss.items() if isinstance(value, Mapping)] or [loss["name"]]
    losses = [part.replace("_", "-") for part in parts if part.isidentifier()]  # else a user's own function
    trains = trained_by(about["recipe"]["loss"]["name"])
    # transformers has no class for a PairRM, which pairkit and llm-blender load.
    library = "pairkit" if trains == "pairrm" else "peft" if adapters else "transformers"
    return {
        "library_name": library,
        "pipeline_tag": _TASKS[trains],
        # No license rather than a guessed one.
        **({"license": license} if license else {}),
        **({"base_model": base["name"]} if base and not base["local"] else {}),
        "tags": [
            *losses,
            *(["lora"] if adapters else []),
            *(["reward-model"] if trains == "reward" else []),
            *_TAGS,
        ],
    }


def _base_link(base: Mapping[str, Any] | None, revision: str | None) -> str:
    if base is None:
        return "random weights"
    at = f" at {cell(revision)}" if revision else ""
    name = cell(base["name"])
    return f"the local model {name}" if base["local"] else f"[{name}](https://huggingface.co/{name}){at}"


def _parameters(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List every keyword of the loss, of its parts and of negative sampling, as `block.key`."""
    rows = []
    for block in ("loss", "negatives"):
        for key, value in plan[block].items():
            if isinstance(value, Mapping):
                rows += [{"key": f"{block}.{key}.{sub}", "value": below} for sub, below in value.items()]
            elif key != "name":
                rows.append({"key": f"{block}.{key}", "value": value})
    return rows


def _metrics(metrics: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Make one row per held-out metric, with its value before the first step if there is one."""
    after, before = metrics.get("held_out", {}), metrics.get("before", {})
    names = [*FIRST, *sorted(after.keys() - set(FIRST))]
    return [
        {"name": name, "before": _shown(before.get(name)), "after": _shown(after[name])}
        for name in names
        if name in after and name not in LEFT_OUT
    ]


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
