"""The memory that trials were predicted to take, beside what they took."""

from __future__ import annotations

from collections.abc import Sequence

from unet3d.sweep.sweep_folder import TrialRecord

PEAK, PREDICTED = "perf/peak_memory_gb", "perf/predicted_memory_gb"


def highest(trial: TrialRecord, metric: str) -> float | None:
    """The largest value of a metric over the trial's epochs, None where it has none."""
    values = [r["metrics"][metric] for r in trial.epochs if metric in r["metrics"]]
    return max(values, default=None)


def memory_sentence(trials: Sequence[TrialRecord]) -> str:
    """Predicted and measured peaks, and the largest underestimate; "" where none are known."""
    both = [
        (predicted, peak, trial.number)
        for trial in trials
        if (predicted := highest(trial, PREDICTED)) and (peak := highest(trial, PEAK)) is not None
    ]
    if not both:
        return ""
    predictions, peaks = [one[0] for one in both], [one[1] for one in both]
    predicted, measured, number = max(both, key=lambda one: one[1] / one[0])
    factor = measured / predicted
    times = f"{factor:.0f}" if factor >= 10 else f"{factor:.2g}"
    return (
        f"Memory of a step was predicted as {_range(predictions)} GB; the measured peaks are "
        f"{_range(peaks)} GB, at the most {times} times the prediction "
        f"(trial {number}). Without a GPU a peak is of all that the training adds to its process."
    )


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"
