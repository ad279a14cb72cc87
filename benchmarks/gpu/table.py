"""The results as a page of Markdown."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gpu.jobs import ABSENT, FAILED, NOT_RUN, OK, Result


def page(about: dict[str, Any], results: list[Result], best: dict[str, str]) -> str:
    """Write all parts that ran, and what failed, differs or is missing."""
    parts = [
        f"{about['device']}, torch {about['torch']}, {about['dtype']}; a matrix product runs at "
        f"{about['product_tflops']:.3g} TFLOP/s here; MFU is of {about['peak_tflops']:.3g} TFLOP/s, "
        f"{about['peak_source']}; {about['seconds']:.0f} s in all"
    ]
    for title, lines in (
        ("checks", _checks(results)),
        ("log-prob kernels", _kernels(results, best)),
        ("training steps", _train(results)),
        ("what did not run, or does not agree", _others(results)),
    ):
        if lines:
            parts += [f"### {title}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _checks(results: list[Result]) -> list[str]:
    jobs = dict.fromkeys(one["job"] for one in results if one["part"] == "check")
    lines = [
        "| check | ok | failed | not run | largest error of a log-prob | of a gradient |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for job in jobs:
        some = [one for one in results if one["part"] == "check" and one["job"] == job]
        counts = Counter(one["status"] for one in some)
        errors = {
            key: [e for one in some for e in _numbers(one["values"], key)] for key in ("logp", "gradient")
        }
        cells = [f"{max(values):.1e}" if values else "" for values in errors.values()]
        skipped = counts[NOT_RUN] + counts[ABSENT]
        lines.append(f"| {job} | {counts[OK]} | {counts[FAILED]} | {skipped} | {cells[0]} | {cells[1]} |")
    return lines if jobs else []


def _numbers(values: dict[str, Any], key: str) -> list[float]:
    """Return the numbers of a name, also one level down."""
    nested = [entry[key] for entry in values.values() if isinstance(entry, dict) and key in entry]
    return nested + ([values[key]] if key in values else [])


def _kernels(results: list[Result], best: dict[str, str]) -> list[str]:
    rows = [one for one in results if one["part"] == "kernels" and "seconds" in one["values"]]
    lines = [
        "| shape | kernel | agrees | log-probs off by | gradients off by | ms, forward and backward | GiB |",
        "|---|---|---|--:|--:|--:|--:|",
    ]
    for one in rows:
        values = one["values"]
        name = values["kernel"]
        label = f"**{name}**" if best.get(one["item"]) == name else name
        lines.append(
            f"| {one['item']} | {label} | {'yes' if one['status'] == OK else 'no'} | {values['logp']:.1e} "
            f"| {values['gradient']:.1e} | {1000 * values['seconds']:.1f} | {_gib(values['memory'])} |"
        )
    if not rows:
        return []
    chosen = "; ".join(f"{shape}: {name}" for shape, name in best.items())
    return [*lines, "", f"Bold is the fastest of those that agree ({chosen})."]


def _train(results: list[Result]) -> list[str]:
    rows = [one["values"] for one in results if one["part"] == "train" and "mfu" in one["values"]]
    lines = [
        "| shape | trained | | sets/s | times TRL | tokens/s | MFU | GiB |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    base = {row["shape"]: row["sets_per_second"] for row in rows if row["contender"].startswith("TRL")}
    for row in sorted(rows, key=lambda row: row["shape"]):
        ratio = row["sets_per_second"] / base[row["shape"]] if row["shape"] in base else None
        lines.append(
            f"| {row['shape']} | {row['trained']} | {row['contender']} | {row['sets_per_second']:.2f} "
            f"| {'' if ratio is None else f'{ratio:.2f}'} | {row['tokens_per_second']:,.0f} "
            f"| {row['mfu']:.1%} | {_gib(row['memory'])} |"
        )
    return lines if rows else []


def _others(results: list[Result]) -> list[str]:
    return [
        f"* {one['part']}, {one['job']}, {one['item']}: {one['status']}: {one['reason']}"
        for one in results
        if one["status"] != OK
    ]


def _gib(size: int | None) -> str:
    return "" if size is None else f"{size / 2**30:.2f}"
