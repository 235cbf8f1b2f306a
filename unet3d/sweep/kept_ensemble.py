"""The ensemble that `unet3d ensemble` has chosen, as it is kept with its sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from unet3d.errors import RunError
from unet3d.files import read_text, write_text
from unet3d.inference.ensemble import Ensemble
from unet3d.sweep.sweep_folder import SweepFolder

ENSEMBLE = "ensemble.json"
NAME = "ensemble"  # as a configuration of its sweep


@dataclass(frozen=True)
class KeptEnsemble:
    """weights: whole numbers, by run; members: chosen ones, each with a run on every fold.

    dice, single_dice: of the ensemble and of the member that is best alone, on the `cases` cases
    they were chosen by; gain: of one over the other on cases left out of the choice, None with too
    few; better: whether that is more than chance.
    """

    weights: Mapping[str, int]
    dice: float
    single: str
    single_dice: float
    gain: float | None
    gain_interval: tuple[float, float] | None
    better: bool
    cases: int
    members: int


def write_ensemble(path: Path, kept: KeptEnsemble) -> None:
    """Write it, in place of an earlier choice."""
    write_text(path, json.dumps(asdict(kept), indent=1))


def read_ensemble(sweep: SweepFolder) -> Ensemble:
    """The runs that were chosen, with their weights. Raises RunError where none were."""
    name = sweep.path.name
    text = read_text(sweep.path / ENSEMBLE)
    if text is None:
        raise RunError(
            f"configuration: {name} has no ensemble yet; type unet3d ensemble sweep={name}"
        )
    try:
        weights = {str(run): int(weight) for run, weight in json.loads(text)["weights"].items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise RunError(
            f"{sweep.path / ENSEMBLE}: cannot be read ({error}); type unet3d ensemble sweep={name}"
        ) from error
    folds = any("data.fold" in trial.swept for trial in sweep.trials())
    return Ensemble(
        tuple(weights),
        f"sweep={name} configuration={NAME}",
        sweep.path / NAME,
        sweep.facts().run_id,
        folds=folds,
        weights=tuple(weights.values()),
    )
