"""`unet3d predict`: scans in, segmentations out, on the grid of the scans."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unet3d.config import ConfigError, PostprocessConfig, PredictConfig
from unet3d.data.errors import DataError
from unet3d.data.geometry import restore
from unet3d.inference.labels import code_type, encode, labels_of, postprocess_codes
from unet3d.inference.scan import Scan, find_scans, prepare, write_segmentation
from unet3d.inference.trained import Trained, check_runs, load_trained
from unet3d.quiet import start_tensorflow
from unet3d.training.errors import RunError, RunStopped

log = logging.getLogger(__name__)


def predict(settings: PredictConfig) -> list[Path]:
    """Segment all scans of `input`; returns the files written.

    Raises ConfigError, RunError or DataError before any work for what cannot work. Of a folder a
    scan that cannot be used is told and left out; RunStopped with exit code 1 tells so at the end.
    """
    scans = find_scans(settings.input)
    targets = _outputs(settings, scans)
    runs = [run.strip() for run in settings.run.split(",")]
    check_runs(runs, settings.output_dir, settings.precision)
    start_tensorflow(settings.threads)
    networks = load_ensemble(runs, settings.output_dir, settings.batch_size, settings.precision)
    written, bad = [], []
    for scan, path in zip(scans, targets, strict=True):
        begun = time.perf_counter()
        try:
            labels = segment_scan(
                networks, scan, settings.overlap, settings.tta, settings.postprocess
            )
            write_segmentation(path, labels, scan.files[0])
        except DataError as error:
            if len(scans) == 1:
                raise
            bad.append(scan.name)
            log.error("%s is left out: %s", scan.name, error)
            continue
        written.append(path)
        log.info("%s: %s after %.1f s", scan.name, path, time.perf_counter() - begun)
    if bad:
        raise RunStopped(
            f"{len(written)} of {len(scans)} scans are segmented; left out: {', '.join(bad)}", 1
        )
    return written


def _outputs(settings: PredictConfig, scans: Sequence[Scan]) -> list[Path]:
    """The file of each scan. Raises ConfigError for an output that does not fit the input."""
    output = Path(settings.output)
    is_file = output.name.endswith((".nii.gz", ".nii"))
    if is_file and output.is_dir():
        raise ConfigError(f"output: {output} is a folder; name a file, or another folder")
    if is_file and Path(settings.input).is_dir():
        raise ConfigError(f"output: {output} is one file, but input is a folder; name a folder")
    if not is_file and output.is_file():
        raise ConfigError(f"output: {output} is neither a folder nor a .nii.gz file")
    paths = [output] if is_file else [output / f"{scan.name}.nii.gz" for scan in scans]
    for path in paths:
        if any(path.resolve() == file.resolve() for scan in scans for file in scan.files):
            raise ConfigError(f"output: {path} is the scan itself; choose another place")
    _check_writable(paths[0].parent)
    return paths


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".unet3d-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"output: {folder} cannot be written to ({error.strerror})") from error


def load_ensemble(
    runs: Sequence[str], output_dir: str, windows: int, precision: str
) -> list[Trained]:
    """The networks of the runs. Raises RunError where they do not see or say the same."""
    networks = [load_trained(run, output_dir, windows, precision) for run in runs]
    first = networks[0]
    for other in networks[1:]:
        for what, ours, theirs in (
            ("sequences", first.channels, other.channels),
            ("outputs", first.targets.names, other.targets.names),
            ("data.spacing", first.config.data.spacing, other.config.data.spacing),
        ):
            if ours != theirs:
                raise RunError(
                    f"run: {other.run} cannot be averaged with {first.run}: its {what} are "
                    f"{theirs}, not {ours}"
                )
    return networks


def segment_scan(
    networks: Sequence[Trained], scan: Scan, overlap: float, tta: bool, after: PostprocessConfig
) -> np.ndarray:
    """Label values (x, y, z), uint8, on the grid of the scan's file."""
    first = networks[0]
    prepared = prepare(scan, first.config.data, first.channels)
    codes = predict_codes(networks, prepared.image, overlap, tta)
    postprocess_codes(codes, first.targets, prepared.spacing, after)
    return restore(labels_of(codes, first.targets), prepared.geometry.as_dict())


def predict_codes(
    networks: Sequence[Trained], image: np.ndarray, overlap: float, tta: bool
) -> np.ndarray:
    """What the networks' mean logits say of an image (x, y, z, channels): codes (x, y, z).

    Plane by plane, since the logits of a large volume with many classes would not fit in memory.
    """
    targets = networks[0].targets
    codes: np.ndarray = np.empty(image.shape[:3], code_type(targets))
    streams = [network.planes(image, overlap, tta) for network in networks]
    for x, logits in enumerate(zip(*streams, strict=True)):
        codes[x] = encode(sum(logits[1:], start=logits[0]), targets)
    return codes
