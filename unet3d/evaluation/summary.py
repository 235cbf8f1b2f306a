"""The metrics of all cases: tables, means with confidence intervals, and box plots."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from unet3d.evaluation.region_metrics import ScoreRow
from unet3d.files import write_text
from unet3d.plotting import figure, save_png

RESAMPLES = 10_000
SEED = 0
STATISTICS = ("n", "mean", "std", "median", "ci95_low", "ci95_high")
Summary = dict[str, dict[str, dict[str, float]]]  # region: metric: statistic
PANELS = {"dice": "Dice", "hd95": "HD95, mm", "nsd": "NSD"}


def write_table(
    rows: Sequence[ScoreRow], folder: Path, runs: Mapping[str, str] | None = None
) -> Summary:
    """Write `cases.csv`, `summary.csv`, `summary.json` and `boxplots.png` to `folder`, each whole.

    rows: case, region and metrics by name (units as in `evaluate_masks`); all have the same names.
    Regions and metrics keep the order of their first row. runs: that segmented each case, for a
    column of their own.
    Returns the statistics by region, metric and name of `STATISTICS`. Raises ValueError where there
    are no rows or their metrics differ.
    """
    if not rows:
        raise ValueError("there are no cases to tabulate")
    names = list(rows[0][2])
    for case, region, metrics in rows:
        if set(metrics) != set(names):
            raise ValueError(f"{case}, {region}: metrics {sorted(metrics)}, not {sorted(names)}")
    values = values_by_region(rows, names)
    summary = {
        region: {
            name: dict(zip(STATISTICS, column, strict=True))
            for name, column in zip(names, column_statistics(table).T.tolist(), strict=True)
        }
        for region, table in values.items()
    }
    own = ("run",) if runs else ()
    write_csv(folder / "cases.csv", ("case", "region", *own, *names), _lines(rows, names, runs))
    lines = [
        (region, name, int(cell["n"]), *(f"{cell[key]:.6f}" for key in STATISTICS[1:]))
        for region, found in summary.items()
        for name, cell in found.items()
    ]
    write_csv(folder / "summary.csv", ("region", "metric", *STATISTICS), lines)
    write_text(folder / "summary.json", json.dumps(_without_nan(summary), indent=1))
    _boxplots(values, names, folder / "boxplots.png")
    return summary


def _without_nan(summary: Summary) -> dict[str, dict[str, dict[str, float | None]]]:
    """The same with null for the deviation of a single case, as JSON has no NaN."""
    return {
        region: {
            name: {key: value if np.isfinite(value) else None for key, value in cell.items()}
            for name, cell in found.items()
        }
        for region, found in summary.items()
    }


def values_by_region(rows: Sequence[ScoreRow], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Each region's metrics, float64 (cases, metrics)."""
    regions = dict.fromkeys(region for _, region, _ in rows)
    return {
        wanted: np.array(
            [[metrics[name] for name in names] for _, region, metrics in rows if region == wanted],
            dtype=np.float64,
        )
        for wanted in regions
    }


def column_statistics(values: np.ndarray) -> np.ndarray:
    """Statistics of each column, in the order of `STATISTICS`.

    values: (cases, metrics). std divides by n - 1 and is NaN for a single case; the interval
    is the mean's 95 % percentile bootstrap (Efron 1979) with a fixed seed. A metric that is NaN for
    some cases, as one of the user's own may be, is of the others.
    Returns float64 (6, metrics).
    """
    count, metrics = values.shape
    unknown = np.isnan(values)
    if unknown.any() and metrics > 1:
        return np.hstack([column_statistics(values[:, [index]]) for index in range(metrics)])
    if unknown.any():
        known = values[~unknown[:, 0]]
        return column_statistics(known) if len(known) else np.array([[0.0], *[[np.nan]] * 5])
    random = np.random.default_rng(SEED)
    # How often each case is drawn; one matrix product then resamples all metrics together.
    draws = random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    low, high = np.percentile(draws @ values / count, (2.5, 97.5), axis=0)
    return np.stack(
        [
            np.full(metrics, count),
            values.mean(axis=0),
            values.std(axis=0, ddof=1) if count > 1 else np.full(metrics, np.nan),
            np.median(values, axis=0),
            low,
            high,
        ]
    )


def _lines(
    rows: Sequence[ScoreRow], names: Sequence[str], runs: Mapping[str, str] | None
) -> list[Sequence[object]]:
    return [
        (case, region, *((runs[case],) if runs else ()), *(f"{metrics[n]:.6f}" for n in names))
        for case, region, metrics in rows
    ]


def write_csv(path: Path, header: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """Write a table that appears whole."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    write_text(path, text.getvalue())


def _boxplots(values: dict[str, np.ndarray], names: Sequence[str], path: Path) -> None:
    """One panel per metric of `PANELS`: a box per region, and a point per case."""
    shown = [name for name in PANELS if name in names]
    if not shown:
        return
    width = max(3.0, 1.0 + 0.8 * len(values))
    picture = figure(figsize=(width * len(shown), 4), layout="constrained")
    random = np.random.default_rng(SEED)
    for axis, name in zip(picture.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        columns = [table[:, names.index(name)] for table in values.values()]
        axis.boxplot(columns, tick_labels=list(values), showfliers=False, widths=0.6)
        for place, column in enumerate(columns, start=1):
            # Spread sideways, so that equal values do not hide each other.
            across = place + random.uniform(-0.15, 0.15, column.size)
            axis.plot(across, column, ".", color="tab:blue", alpha=0.5)
        axis.set_title(PANELS[name])
        axis.tick_params(axis="x", labelrotation=25 if max(map(len, values)) > 6 else 0)
        axis.grid(axis="y", alpha=0.3)
        if name != "hd95":
            axis.set_ylim(-0.02, 1.02)
    save_png(picture, path)
