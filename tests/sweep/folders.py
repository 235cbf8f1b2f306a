"""Writes the folder that a sweep leaves, without a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COMMAND = "python sweep.py -m 'lr=interval(1e-4,1e-1)' model.norm=batch,group"


def write_sweep(output_dir: Path, name: str, run_id: str | None = None) -> Path:
    """A sweep without trials; returns its folder."""
    folder = output_dir / "sweeps" / name
    folder.mkdir(parents=True)
    facts = {"name": name, "run_id": run_id, "command": COMMAND, "differs": []}
    (folder / "sweep.json").write_text(json.dumps(facts))
    return folder


def write_trial(
    sweep: Path,
    number: int,
    swept: dict[str, str],
    curve: list[float],
    state: str = "finished",
    **result: Any,
) -> Path:
    """A trial with the val/dice of `curve`, one per epoch; state "open" leaves its end out."""
    folder = sweep / "trials" / f"{number:012x}"
    folder.mkdir(parents=True)
    settings = [f"{key}={value}" for key, value in swept.items()]
    described = {
        "number": number,
        "name": ", ".join(settings) or f"trial {number}",
        "differs": swept,
        "command": " ".join(["python", "train.py", *settings]),
        "epochs": 20,
    }
    (folder / "trial.json").write_text(json.dumps(described))
    lines = [
        {"epoch": epoch, "time": 0, "metrics": {"train/loss": 1.5 - value, "val/dice": value}}
        for epoch, value in enumerate(curve, start=1)
    ]
    (folder / "epochs").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if state != "open":
        best = max(curve, default=None)
        how = {
            "state": state,
            "best": best,
            "best_epoch": 0 if best is None else curve.index(best) + 1,
            "epochs": len(curve),
            "run_id": f"{number:032x}",
            **result,
        }
        (folder / "ended.json").write_text(json.dumps(how))
    return folder
