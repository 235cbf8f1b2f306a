"""`unet3d predict`: segment scans, on the grid of their files."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from unet3d import machine
from unet3d.config.schema import PredictConfig
from unet3d.datasets.image_files import ITK_SUFFIXES, SUFFIXES
from unet3d.datasets.itk import WRITING, simple_itk
from unet3d.distributed.strategy import warn_of_slow_bfloat16
from unet3d.errors import ConfigError, DataError, RunError, RunStopped
from unet3d.inference.decision import Decision, make_decision
from unet3d.inference.dicom_seg import SUFFIX as DICOM_SUFFIX
from unet3d.inference.dicom_seg import check_dicom_seg, write_dicom_seg
from unet3d.inference.ensemble import Ensemble
from unet3d.inference.label_maps import code_type, encode, labels_of, postprocess_codes
from unet3d.inference.maps import ProbabilityMaps, UncertaintyMaps, Watcher
from unet3d.inference.network import (
    TrainedNetwork,
    check_runs,
    load_trained,
    read_description,
    run_files,
    run_targets,
    start_tensorflow,
)
from unet3d.inference.scan import (
    PreparedScan,
    Scan,
    find_scans,
    input_paths,
    prepare_scan,
    stem,
    write_segmentation,
)
from unet3d.inference.stale import warn_of_stale
from unet3d.preprocessing.geometry import restore
from unet3d.preprocessing.scales import scaled

log = logging.getLogger(__name__)
DICOM_SEG = "dicom_seg"  # PredictConfig.format


def predict(settings: PredictConfig, ensemble: Ensemble) -> list[Path]:
    """Segment all scans of `input` by the mean of the ensemble; returns the files written.

    Raises ConfigError, RunError or DataError before any work where it cannot succeed. In a folder,
    a scan that cannot be used is reported and left out; at the end that raises RunStopped with
    exit code 1.
    """
    from unet3d.config.compose import stored_config

    input_paths(settings.input)  # what is missing shows before a run is fetched
    check_runs(ensemble.runs, settings.output_dir, settings.precision)
    warn_of_stale(ensemble, settings.output_dir)
    described = read_description(run_files(ensemble.runs[0], settings.output_dir).description)
    outputs = run_targets(ensemble.runs[0], settings.output_dir)
    decision = make_decision(
        settings.thresholds, settings.postprocess, outputs, ensemble, settings.output_dir
    )
    trained_on = stored_config(run_files(ensemble.runs[0], settings.output_dir).config).data
    pattern = trained_on.pattern if trained_on.layout == "folders" else None
    scans = find_scans(settings.input, len(described.channels), pattern, described.channels)
    targets = _outputs(settings, scans)
    check_format(settings.format, scans)
    start_tensorflow(settings.threads)
    networks = load_ensemble(
        ensemble.runs,
        settings.output_dir,
        settings.batch_size,
        settings.precision,
        ensemble.weight_of,
    )
    written, bad = [], []
    for scan, path in zip(scans, targets, strict=True):
        start = time.perf_counter()
        try:
            labels = _segment(networks, scan, path, settings, decision)
            if settings.format == DICOM_SEG:
                runs = ",".join(ensemble.runs)
                write_dicom_seg(path, labels, scan.files[0], described.labels, runs)
            else:
                write_segmentation(path, labels, scan.files[0])
        except DataError as error:
            if len(scans) == 1:
                raise
            bad.append(scan.name)
            log.error("%s is left out: %s", scan.name, error)
            continue
        written.append(path)
        log.info("%s: %s after %.1f s", scan.name, path, time.perf_counter() - start)
    if bad:
        raise RunStopped(
            f"{len(written)} of {len(scans)} scans are segmented; left out: {', '.join(bad)}", 1
        )
    return written


def _segment(
    networks: Sequence[TrainedNetwork],
    scan: Scan,
    path: Path,
    settings: PredictConfig,
    decision: Decision,
) -> np.ndarray:
    """The segmentation of a scan; beside `path`, the maps that were asked for are written."""
    maps: dict[str, ProbabilityMaps | UncertaintyMaps] = {}

    def watch(prepared: PreparedScan) -> Sequence[Watcher]:
        if settings.probabilities != "false":
            maps["probabilities"] = ProbabilityMaps(
                prepared, networks[0].targets, npz=settings.probabilities == "npz"
            )
        if settings.uncertainty:
            maps["uncertainty"] = UncertaintyMaps(prepared, networks[0].targets, len(networks))
        return list(maps.values())

    labels = segment_scan(networks, scan, settings.overlap, settings.tta, decision, watch)
    for folder, values in maps.items():
        values.write(path.parent / folder, stem(path), scan)
    return labels


def _outputs(settings: PredictConfig, scans: Sequence[Scan]) -> list[Path]:
    """The output file of each scan. Raises ConfigError where output does not fit input."""
    output = Path(settings.output)
    suffix = DICOM_SUFFIX if settings.format == DICOM_SEG else ".nii.gz"
    is_file = output.name.endswith((*SUFFIXES, DICOM_SUFFIX))
    endings = DICOM_SUFFIX if settings.format == DICOM_SEG else SUFFIXES
    if is_file and not output.name.endswith(endings):
        other = "nifti" if settings.format == DICOM_SEG else DICOM_SEG
        raise ConfigError(
            f"output: {output} does not fit format={settings.format}; type format={other}, or name "
            f"a {suffix} file"
        )
    if output.name.endswith(ITK_SUFFIXES):
        simple_itk(output, *WRITING)  # before the work
    if is_file and os.path.isdir(output):
        raise ConfigError(f"output: {output} is a folder; name a file, or another folder")
    given = input_paths(settings.input)[0]
    if is_file and scans[0].files[0] != given:  # found in a folder
        raise ConfigError(f"output: {output} is one file, but input is a folder; name a folder")
    if not is_file and os.path.isfile(output):
        raise ConfigError(f"output: {output} is neither a folder nor a {suffix} file")
    paths = [output] if is_file else [output / f"{scan.name}{suffix}" for scan in scans]
    for path in paths:
        if any(path.resolve() == file.resolve() for scan in scans for file in scan.files):
            raise ConfigError(f"output: {path} is the scan itself; choose another path")
    ignores_case = _check_writable(paths[0].parent)
    names: dict[str, Path] = {}
    for path in paths:
        same = path.name.casefold() if ignores_case else path.name
        if same in names:
            raise ConfigError(
                f"output: {names[same].name} and {path.name} are one file in {path.parent}; rename "
                "one of the scans, or choose a folder that tells A from a"
            )
        names[same] = path
    return paths


def check_format(name: str, scans: Sequence[Scan]) -> None:
    """ConfigError where the scans cannot be segmented into files of this format."""
    if name != DICOM_SEG:
        return
    check_dicom_seg()
    others = [scan.files[0] for scan in scans if not scan.files[0].is_dir()]
    if others:
        raise ConfigError(
            f"format: dicom_seg is not possible for {others[0]}; it refers to a DICOM series, so "
            "input must be the folder of one, or a folder of such folders"
        )


def _check_writable(folder: Path) -> bool:
    """Whether names in `folder` that differ in upper and lower case alone are one file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".unet3d-probe"
        probe.touch()
        ignores_case = probe.with_name(probe.name.upper()).exists()
        probe.unlink()
        return ignores_case
    except OSError as error:
        raise ConfigError(f"output: {folder} cannot be written to ({error.strerror})") from error


def load_ensemble(
    runs: Sequence[str],
    output_dir: str,
    batch_size: int,
    precision: str,
    weights: Mapping[str, int] | None = None,
) -> list[TrainedNetwork]:
    """The networks of the runs. weights: of each in the mean, None for equal ones.

    Raises RunError where inputs or outputs differ between them.
    """
    warn_of_slow_bfloat16(precision, machine.opened_gpus())
    networks = [load_trained(run, output_dir, batch_size, precision) for run in runs]
    networks = [replace(one, weight=float((weights or {}).get(one.run, 1))) for one in networks]
    first = networks[0]
    for other in networks[1:]:
        for what, ours, theirs in (
            ("sequences", first.channels, other.channels),
            ("outputs", first.targets.names, other.targets.names),
            ("data.spacing", first.config.data.spacing, other.config.data.spacing),
            ("data.normalize", first.config.data.normalize, other.config.data.normalize),
        ):
            if ours != theirs:
                raise RunError(
                    f"run: {other.run} cannot be averaged with {first.run}: its {what} are "
                    f"{theirs}, not {ours}"
                )
    return networks


def segment_scan(
    networks: Sequence[TrainedNetwork],
    scan: Scan,
    overlap: float,
    tta: bool,
    decision: Decision,
    watch: Callable[[PreparedScan], Sequence[Watcher]] | None = None,
) -> np.ndarray:
    """Label values (x, y, z), uint8, on the grid of the scan's file.

    watch: makes what looks at the planes of logits, given the scan on the network's grid.
    """
    first = networks[0]
    prepared = prepare_scan(scan, first.config.data, first.channels)
    watchers = watch(prepared) if watch else ()
    images = [scaled(prepared.image, network.scales) for network in networks]
    codes = predict_codes(networks, images, overlap, tta, decision.cuts, watchers)
    postprocess_codes(codes, first.targets, prepared.spacing, decision.after)
    return restore(labels_of(codes, first.targets), prepared.geometry.as_dict())


def predict_codes(
    networks: Sequence[TrainedNetwork],
    images: Sequence[np.ndarray],
    overlap: float,
    tta: bool,
    cuts: Sequence[float] = (),
    watchers: Sequence[Watcher] = (),
) -> np.ndarray:
    """The codes (x, y, z) of a scan, from the networks' mean logits.

    images: (x, y, z, channels), the scan as each of the networks expects it. cuts: of `encode`.

    Plane by plane, as the logits of a large volume with many classes may not fit in memory.
    """
    targets = networks[0].targets
    codes: np.ndarray = np.empty(images[0].shape[:3], code_type(targets))
    streams = [
        network.planes(image, overlap, tta) for network, image in zip(networks, images, strict=True)
    ]
    weights = [network.weight for network in networks]
    for x, logits in enumerate(zip(*streams, strict=True)):
        mean = weighted_mean(logits, weights)
        for watcher in watchers:
            watcher(x, mean, logits)
        codes[x] = encode(mean, targets, cuts)
    return codes


def weighted_mean(logits: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """The mean of arrays of one shape; of equal weights exactly their sum over their number."""
    if len(set(weights)) == 1:
        return sum(logits[1:], start=logits[0]) / np.float32(len(logits))
    parts = [one * np.float32(weight) for one, weight in zip(logits, weights, strict=True)]
    return sum(parts[1:], start=parts[0]) / np.float32(sum(weights))
