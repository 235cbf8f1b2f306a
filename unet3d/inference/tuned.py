"""What `unet3d tune` has chosen for an ensemble, as a file: thresholds and post-processing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unet3d.config.schema import PostprocessConfig
from unet3d.errors import RunError
from unet3d.files import read_text, write_text
from unet3d.inference.ensemble import Ensemble
from unet3d.preprocessing.checksum import file_crc32
from unet3d.run_folder import run_folder

Steps = dict[str, PostprocessConfig]  # by region


@dataclass(frozen=True)
class Tuned:
    """A choice for each region. weights: of each run, the CRC-32 of those it was made with.

    thresholds: probabilities; empty for classes. at_half, at_thresholds: the post-processing of
    masks at 0.5 (of classes: the largest), and of those at the chosen thresholds. cases: how many
    it was chosen on. dice: the mean Dice of each step, by region and step.
    """

    weights: dict[str, str]
    thresholds: dict[str, float]
    at_half: Steps
    at_thresholds: Steps
    cases: int
    dice: dict[str, dict[str, float]] = field(default_factory=dict)


def weights_of(ensemble: Ensemble, output_dir: str) -> dict[str, str]:
    """The CRC-32 of the best weights of each run."""
    return {
        run: file_crc32(run_folder(output_dir, run).best_weights) for run in sorted(ensemble.runs)
    }


def write_tuned(path: Path, tuned: Tuned) -> None:
    """Write it, in place of an earlier choice."""
    steps = {
        name: {region: _plain(one) for region, one in getattr(tuned, name).items()}
        for name in ("at_half", "at_thresholds")
    }
    write_text(path, json.dumps({**asdict(tuned), **steps}, indent=1))


def _plain(steps: PostprocessConfig) -> dict[str, Any]:
    return {"min_volume": steps.min_volume, "largest": steps.largest}


def tuned_of(ensemble: Ensemble, output_dir: str, key: str) -> Tuned:
    """What was chosen for the runs. key: the setting that asks for it.

    Raises RunError where nothing was, or where it was for other runs or other weights.
    """
    again = f"unet3d tune {ensemble.typed}"
    if ensemble.tuned is None:
        raise RunError(
            f"{key}: auto is what unet3d tune has chosen for one run or for a sweep; for "
            f"{ensemble.typed} type the values themselves"
        )
    if not ensemble.tuned.exists():
        raise RunError(f"{key}: nothing is chosen for {ensemble.typed} yet; type {again}")
    tuned = read_tuned(ensemble.tuned)
    if tuned.weights != weights_of(ensemble, output_dir):
        raise RunError(
            f"{key}: {ensemble.tuned} was chosen for other runs than today's {ensemble.typed}, or "
            f"before they were trained on; type {again}"
        )
    return tuned


def read_tuned(path: Path) -> Tuned:
    """Read a file of `write_tuned`, or one that a user has edited. Raises RunError."""
    text = read_text(path)
    if text is None:
        raise RunError(f"postprocess: {path} cannot be read; type auto, none, or a tuned.json")
    try:
        found = json.loads(text)
        return Tuned(
            {str(run): str(crc) for run, crc in found["weights"].items()},
            {str(name): _share(value) for name, value in found["thresholds"].items()},
            _steps(found["at_half"]),
            _steps(found["at_thresholds"]),
            int(found["cases"]),
            dict(found.get("dice", {})),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path}: is not a file of unet3d tune ({type(error).__name__}: {error}); tune again, "
            "or put back a copy"
        ) from error


def _share(value: Any) -> float:
    if not 0 < float(value) < 1:
        raise ValueError(f"threshold {value} is not between 0 and 1")
    return float(value)


def _steps(found: Mapping[str, Mapping[str, Any]]) -> Steps:
    return {
        str(name): PostprocessConfig(
            min_volume=float(one["min_volume"]), largest=bool(one["largest"])
        )
        for name, one in found.items()
    }
