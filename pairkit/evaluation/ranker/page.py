"""Pages of rankers: sections of that of one ranker, and the page of all of them side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pairkit.evaluation.ranker.calibration import Bin, Calibration
from pairkit.evaluation.ranker.scores import ACCURACY, BY_LENGTH, BY_MARGIN
from pairkit.evaluation.report.scores import interval_text
from pairkit.rankers.judge.statistics import Rate
from pairkit.reports.html import Html, badge, figures, page, paragraph, section, settings, table, text, tiles

# Of the table of rankers: metric and header.
COLUMNS = {
    ACCURACY: "pairwise accuracy",
    "pairwise_accuracy_over_pairs": "over pairs",
    "top_1": "top 1",
    "kendall_tau": "Kendall's tau",
    "prefers_longer": "prefers longer",
    "log_loss": "log loss",
    "ece": "ECE",
}
_PER_PROMPT = (
    "Intervals are 95 % and by prompt. Another ranker on the same prompts is compared by paired differences: "
    "pairkit eval compare."
)


def sections_of(calibration: Calibration | None, rates: Sequence[Rate]) -> Callable[[], list[Html]]:
    """Return what makes the sections of a ranker: its calibration, and how a judge behaves."""

    def sections() -> list[Html]:
        blocks = []
        if calibration is not None:
            blocks.append(_calibration(calibration))
        if rates:
            blocks.append(_rates(rates))
        return blocks

    return sections


def _calibration(calibration: Calibration) -> Html:
    rows = [
        [
            text(f"{100 * each.low:.0f} to {100 * each.high:.0f} %"),
            text(f"{100 * each.predicted:.1f} %"),
            text(f"{100 * each.right:.1f} % [{100 * each.right_low:.1f}, {100 * each.right_high:.1f}]"),
            text(f"{each.pairs:,}"),
            text(f"{each.prompts:,}"),
        ]
        for each in calibration.bins
    ]
    headers = ["probability", "mean of the bin", "right [95 % interval]", "pairs", "prompts"]
    return section(
        "Calibration",
        calibration_plot("Predicted probability against frequency", calibration.bins),
        table(headers, rows, numeric=(1, 2, 3, 4)),
        note="Of each pair, the probability that the completion with the higher score is better, and how "
        "often the data ranks it higher. On the line it is calibrated, below it too certain.",
    )


def calibration_plot(title: str, bins: Sequence[Bin]) -> Html:
    """Plot the frequency of each bin with its interval against its probability."""
    # Here, because matplotlib is slow to import and only finished evaluations have pages.
    import matplotlib

    from pairkit.reports.canvas import HALF, MUTED, SERIES, STYLE, captioned, draw_axes, svg

    with matplotlib.rc_context(STYLE):
        figure, axes = draw_axes(HALF, 3.4)
        axes.plot([50, 100], [50, 100], color=MUTED, linewidth=1, linestyle="--")
        for each in bins:
            place, color = 100 * each.predicted, SERIES["--s1"]
            axes.plot([place, place], [100 * each.right_low, 100 * each.right_high], color=color, linewidth=2)
            axes.plot(place, 100 * each.right, "o", color=color, markersize=6)
        axes.set_xlim(49, 101)
        axes.set_ylim(0, 102)
        axes.set_xlabel("predicted probability, %")
        axes.set_ylabel("right, %")
        return captioned(title, svg(figure, title), [])


def _rates(rates: Sequence[Rate]) -> Html:
    rows = [
        [
            text(rate.name),
            text(rate.meaning),
            text(f"{rate.share.mean:.3f} [{rate.share.low:.3f}, {rate.share.high:.3f}]"),
            text(f"{rate.of:,}"),
        ]
        for rate in rates
    ]
    headers = ["rate", "", "share [95 % interval]", "of"]
    return section("The judge itself", table(headers, rows, numeric=(2, 3)))


def render(results: Mapping[str, Any], calibrations: Mapping[str, Sequence[Bin]]) -> str:
    """Make the page of all rankers from the content of rankers.json and the bins of those that have some."""
    from pairkit.reports.scores import Point, points

    rankers = results["rankers"]
    headlines = {each["name"]: _headline(each) for each in rankers}
    plot_points = [
        Point(name, metric["value"], metric["low"], metric["high"])
        for name, metric in headlines.items()
        if metric["value"] is not None
    ]
    parts = [
        section(
            "Rankers",
            points("Pairwise accuracy", plot_points, xlabel="%", line=50) if plot_points else Html(""),
            _rankers(rankers),
            *[paragraph(f"Note: {note}.") for note in results["notes"]],
            note=_PER_PROMPT,
        ),
        *_parts(rankers),
        _calibrations(rankers, calibrations),
        _settings(results),
    ]
    data = results["data"]
    return page(
        f"Rankers on {data['file']}",
        [part for part in parts if part is not None],
        summary=f"{len(rankers)} rankers on {results['pairs']:,} pairs of {results['sets']:,} sets, "
        f"{results['prompts']:,} prompts.",
        top=tiles({name: interval_text(metric).partition(" [")[0] for name, metric in headlines.items()}),
    )


def _headline(ranker: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(metric for metric in ranker["metrics"] if metric["name"] == ACCURACY)


def _rankers(rankers: Sequence[Mapping[str, Any]]) -> Html:
    present = [
        name
        for name in COLUMNS
        if any(each["name"] == name for ranker in rankers for each in ranker["metrics"])
    ]
    rows = []
    for ranker in rankers:
        metrics = {each["name"]: each for each in ranker["metrics"]}
        values = [interval_text(metrics[name]) if name in metrics else "" for name in present]
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in ranker["sets_without_score"].items())
        link = Html(f'<a href="{text(ranker["folder"])}/report.html">{text(ranker["name"])}</a>')
        rows.append([link, *map(text, values), badge(reasons, "bad") if reasons else text("")])
    headers = ["ranker", *(COLUMNS[name] for name in present), "sets without a score"]
    return table(headers, rows, numeric=range(1, 1 + len(present)))


def _parts(rankers: Sequence[Mapping[str, Any]]) -> list[Html]:
    """Show the accuracy on parts of the pairs: a row for each part, a column for each ranker."""
    blocks = []
    for title, of in (
        ("By subset", {each["name"]: each["subsets"] for each in rankers}),
        ("By length", {each["name"]: _of(each, BY_LENGTH) for each in rankers}),
        ("By margin of the data's scores", {each["name"]: _of(each, BY_MARGIN) for each in rankers}),
    ):
        labels = list(dict.fromkeys(label for parts in of.values() for label in parts))
        if labels:
            blocks.append(section(title, _grid(labels, of), note="Pairwise accuracy."))
    return blocks


def _grid(labels: Sequence[str], of: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Html:
    rows = []
    for label in labels:
        cells = [parts.get(label) for parts in of.values()]
        count = max(cell["n"] for cell in cells if cell)
        values = ["" if cell is None else interval_text(cell) for cell in cells]
        rows.append([text(value) for value in (label, *values, f"{count:,}")])
    headers = ["", *of, "prompts"]
    return table(headers, rows, numeric=range(1, len(headers)))


def parts_of(ranker: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the accuracy on parts of the pairs, by a label that says which part."""
    return {
        **{f"subset {label}": metric for label, metric in ranker["subsets"].items()},
        **_of(ranker, BY_LENGTH),
        **{f"margin {label}": metric for label, metric in _of(ranker, BY_MARGIN).items()},
    }


def _of(ranker: Mapping[str, Any], name: str) -> dict[str, Mapping[str, Any]]:
    prefix = f"{name}/"
    return {
        metric["name"].removeprefix(prefix): metric
        for metric in ranker["metrics"]
        if metric["name"].startswith(prefix)
    }


def _calibrations(
    rankers: Sequence[Mapping[str, Any]], calibrations: Mapping[str, Sequence[Bin]]
) -> Html | None:
    if not calibrations:
        return None
    without = [each["name"] for each in rankers if each["name"] not in calibrations]
    none = f" None for {', '.join(without)}, whose scores are not log-odds." if without else ""
    return section(
        "Calibration",
        figures(*[calibration_plot(name, bins) for name, bins in calibrations.items()]),
        note=f"Predicted probability of the preferred completion against how often it is right.{none}",
    )


def _settings(results: Mapping[str, Any]) -> Html:
    values = {
        **{f"data: {name}": value for name, value in results["data"].items() if name != "left_out"},
        "left out": ", ".join(f"{count:,} {reason}" for reason, count in results["left_out"].items())
        or "nothing",
        "seed": results["seed"],
    }
    for ranker in results["rankers"]:
        fields = {name: value for name, value in ranker["ranker"].items() if value is not None}
        values[ranker["name"]] = ", ".join(f"{name}: {value}" for name, value in fields.items())
    return section("Settings", settings(values))
