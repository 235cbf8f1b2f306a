"""Whether what is kept about runs is of the weights that they have today.

A run that is trained further, or resumed by a sweep, gets other weights; the tables, thresholds and
choices that were made with the earlier ones stay on disk until the next command writes them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from unet3d.errors import RunError
from unet3d.files import read_text, write_text
from unet3d.inference.ensemble import Ensemble
from unet3d.inference.tuned import read_tuned, weights_of

log = logging.getLogger(__name__)
WEIGHTS = "weights.json"  # the CRC-32 of each run's weights that a folder's results are of


def keep_weights(folder: Path, ensemble: Ensemble, output_dir: str) -> None:
    """Note in a folder of results which weights they are of."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / WEIGHTS, json.dumps(weights_of(ensemble, output_dir), indent=1))


def warn_of_stale(ensemble: Ensemble, output_dir: str, renewed: Sequence[Path | None] = ()) -> None:
    """Warn of each result of the runs that is of other weights than today's.

    renewed: folders and files that this command writes anew.
    """
    today = weights_of(ensemble, output_dir)
    again = {
        ensemble.test: f"unet3d evaluate {ensemble.typed}",
        ensemble.out_of_fold: f"unet3d evaluate {ensemble.typed}",
        ensemble.tuned: f"unet3d tune {ensemble.typed}",
        ensemble.folder: f"unet3d ensemble {ensemble.typed.split()[0]}",
    }
    for path, command in again.items():
        if path is None or path in renewed or (then := _weights_then(path)) is None:
            continue
        changed = sorted(run for run in today if run in then and then[run] != today[run])
        if changed:
            log.warning(
                "%s: is of other weights than today's of %s, which %s trained on since; type %s",
                path,
                ", ".join(changed),
                "was" if len(changed) == 1 else "were",
                command,
            )


def _weights_then(path: Path) -> dict[str, str] | None:
    """What a result says; None where there is none, or it says nothing."""
    try:
        if path.suffix == ".json":
            return read_tuned(path).weights if path.exists() else None
        found = json.loads(read_text(path / WEIGHTS) or "null")
    except (RunError, ValueError):  # named where it is used
        return None
    return found if isinstance(found, dict) else None
