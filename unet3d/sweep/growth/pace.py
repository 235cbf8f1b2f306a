"""The pace of a trial, by the metrics that its epochs have recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from unet3d.planning.grow import Pace

LAST_EPOCHS = 5  # that are looked at
DIVIDED = ("input_wait", "step")
UNDIVIDED = ("checkpoint", "record")
AT_START = ("start", "trace")


def measured_pace(
    records: Sequence[Mapping[str, float]], slots: int, cases: int, workers: int = 1
) -> Pace | None:
    """The pace by the metrics of an attempt's epochs, the first of which also has its start."""
    if not records:
        return None
    steady = (records[1:] or records)[-LAST_EPOCHS:]

    def seconds(*parts: str) -> float:
        return mean(sum(one.get(f"perf/{part}_s", 0.0) for part in parts) for one in steady)

    return Pace(
        slots,
        steps=seconds(*DIVIDED),
        all_reduce=seconds("allreduce") if slots > 1 else 0.0,
        validation=seconds("validate"),
        rest=seconds(*UNDIVIDED),
        updates=mean(map(_updates, steady)),
        cases=cases,
        workers=workers,
    )


def _updates(record: Mapping[str, float]) -> float:
    """Updates of the epoch, by what one took."""
    one = record.get("perf/step_ms", 0.0) / 1000
    return sum(record.get(f"perf/{part}_s", 0.0) for part in DIVIDED) / one if one else 0.0


def start_seconds(record: Mapping[str, float]) -> float:
    """What an attempt needed from its process' readiness to the end of its first step."""
    return sum(record.get(f"perf/{part}_s", 0.0) for part in AT_START)
