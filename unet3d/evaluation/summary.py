"""The metrics of all cases: tables, means with confidence intervals, and box plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from unet3d.evaluation.region_metrics import ScoreRow
from unet3d.files import write_text
from unet3d.plotting import figure, save_png

RESAMPLES = 10_000
SEED = 0
STATISTICS = ("n", "mean", "std", "median", "ci95_low", "ci95_high")
PANELS = {"dice": "Dice", "hd95": "HD95, mm", "nsd": "NSD"}


def write_table(rows: Sequence[ScoreRow], folder: Path) -> dict[str, float]:
    """Write `cases.csv`, `summary.csv` and `boxplots.png` to `folder`, each whole or not at all.

    rows: case, region and metrics by name (units as in `evaluate_masks`); all have the same names.
    Regions and metrics keep the order of their first row.
    Returns the mean of each metric over a region's cases, as {"<metric>_<region>": mean}. Raises
    ValueError where there are no rows or their metrics differ.
    """
    if not rows:
        raise ValueError("there are no cases to tabulate")
    names = list(rows[0][2])
    for case, region, metrics in rows:
        if set(metrics) != set(names):
            raise ValueError(f"{case}, {region}: metrics {sorted(metrics)}, not {sorted(names)}")
    values = values_by_region(rows, names)
    statistics = {region: column_statistics(table) for region, table in values.items()}
    write_text(folder / "cases.csv", _csv(("case", "region", *names), _case_lines(rows, names)))
    lines = [
        (region, name, int(table[0, column]), *(f"{value:.6f}" for value in table[1:, column]))
        for region, table in statistics.items()
        for column, name in enumerate(names)
    ]
    write_text(folder / "summary.csv", _csv(("region", "metric", *STATISTICS), lines))
    _boxplots(values, names, folder / "boxplots.png")
    return {
        f"{name}_{region}": float(table[STATISTICS.index("mean"), column])
        for region, table in statistics.items()
        for column, name in enumerate(names)
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
    is the mean's 95 % percentile bootstrap (Efron 1979) with a fixed seed.
    Returns float64 (6, metrics).
    """
    count, metrics = values.shape
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


def _case_lines(rows: Sequence[ScoreRow], names: Sequence[str]) -> list[Sequence[object]]:
    return [
        (case, region, *(f"{metrics[name]:.6f}" for name in names))
        for case, region, metrics in rows
    ]


def _csv(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()


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
