"""The configurations of a sweep as a table: for the terminal, the page, MLflow, and as files."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unet3d.files import write_text
from unet3d.sweep.budget import HOUR, device_seconds
from unet3d.sweep.report.memory import PEAK, PREDICTED, highest
from unet3d.sweep.sweep_folder import TrialRecord
from unet3d.sweep.verdict.compared import Compared
from unet3d.sweep.verdict.text import shown_p
from unet3d.sweep.verdict.verdict import Verdict
from unet3d.terminal import print_table

HEADINGS = (
    "configuration",
    "trials",
    "mean",
    "deviation",
    "95 % interval",
    "less the best",
    "p",
    "standing",
)
RESULTS_CSV, RESULTS_JSON = "results.csv", "results.json"


def cells(row: Compared) -> tuple[str, ...]:
    """A row as it is read, of HEADINGS."""
    done, count = len(row.configuration.values), len(row.configuration.trials)
    difference, p = "", ""
    if row.against is not None:
        one = row.against.difference
        difference = f"{one.mean:+.4f} {_interval(one.interval(), '+')}".strip()
        p = shown_p(row.against.p)
    return (
        row.name,
        str(done) if done == count else f"{done} of {count}",
        f"{row.estimate.mean:.4f}",
        _number(row.deviation),
        _interval(row.estimate.interval()) or "-",
        difference or "-",
        p or "-",
        row.standing,
    )


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "-"


def _interval(ends: tuple[float, float], sign: str = "") -> str:
    low, high = ends
    return f"[{low:{sign}.4f}, {high:{sign}.4f}]" if math.isfinite(low) else ""


def print_verdict(verdict: Verdict) -> None:
    """The table on the terminal, the answer first and how it was computed last."""
    print(f"result: {verdict.answer}", flush=True)
    if verdict.has_intervals:
        rows = [cells(row) for row in verdict.rows]
        print_table(HEADINGS, rows, ("configuration", "standing"), page=140)
    for line in verdict.method:
        print(f"  {line}", flush=True)


def markdown(verdict: Verdict) -> list[str]:
    """The answer and the table, for MLflow's note."""
    lines = [f"**{verdict.answer}.**", ""]
    if verdict.has_intervals:
        lines += [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
        lines += [f"| {' | '.join(cells(row))} |" for row in verdict.rows]
        lines.append("")
    return lines


def write_results(folder: Path, verdict: Verdict, trials: Sequence[TrialRecord]) -> list[Path]:
    """results.csv, a row for each configuration, and results.json, with the trials as well."""
    rows = [_as_dict(row) for row in verdict.rows]
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)
    write_text(folder / RESULTS_CSV, text.getvalue())
    of = {t.number: row.name for row in verdict.rows for t in row.configuration.trials}
    stored = {
        "answer": verdict.answer,
        "method": list(verdict.method),
        "configurations": rows,
        "trials": [
            {
                "trial": trial.number,
                "configuration": of.get(trial.number, ""),
                "settings": trial.swept,
                "state": trial.result.state,
                "val_dice": trial.result.best,
                "best_epoch": trial.result.best_epoch,
                "seconds": trial.result.seconds,
                "device_hours": device_seconds(trial) / HOUR,
                "predicted_memory_gb": highest(trial, PREDICTED),
                "peak_memory_gb": highest(trial, PEAK),
                "run": trial.result.run_id,
                "command": trial.command,
            }
            for trial in trials
        ],
    }
    write_text(folder / RESULTS_JSON, json.dumps(stored, indent=1))
    return [folder / RESULTS_CSV, folder / RESULTS_JSON]


def _as_dict(row: Compared) -> dict[str, Any]:
    low, high = row.estimate.interval()
    found: dict[str, Any] = {
        "configuration": row.name,
        "trials": len(row.configuration.trials),
        "finished": len(row.configuration.values),
        "mean": row.estimate.mean,
        "deviation": row.deviation,
        "low": low,
        "high": high,
        "interval_over": row.estimate.basis,
        "difference": None,
        "difference_low": None,
        "difference_high": None,
        "p_holm": None,
        "standing": row.standing,
        "seeds_to_decide": row.more,
    }
    if row.against is not None:
        one = row.against.difference
        low, high = one.interval()
        found |= {"difference": one.mean, "difference_low": low, "difference_high": high}
        found["p_holm"] = row.against.p
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in found.items()}
