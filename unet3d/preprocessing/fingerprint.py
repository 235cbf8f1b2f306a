"""The fingerprint of a data set (Isensee et al. 2021): sizes, spacings, intensities, volumes.

A case is measured while it is preprocessed, and the figures are kept in its case.json;
<store>/fingerprint.json summarises them over all cases, including those of the test split.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.files import write_text
from unet3d.preprocessing.first_read import read_description
from unet3d.preprocessing.store import Store

log = logging.getLogger(__name__)
FILE, PICTURE = "fingerprint.json", "fingerprint.png"
PERCENTILE_SAMPLE = 10_000  # voxels of a channel from which its percentiles are taken
QUANTILES = {"min": 0, "p10": 10, "median": 50, "p90": 90, "max": 100}  # over the cases


@dataclass(frozen=True)
class Intensities:
    """A channel of a case within the foreground, in the file's units; 0 voxels if it is empty."""

    voxels: int = 0
    mean: float = 0.0
    sd: float = 0.0
    p0_5: float = 0.0
    p50: float = 0.0
    p99_5: float = 0.0


@dataclass(frozen=True)
class CaseFingerprint:
    """The figures of one case.

    cropped: voxels (x, y, z) after the crop, at the file's `spacing` in mm. shape,
    stored_spacing: the same after data.spacing. intensities: of each channel. voxels: of each
    label, on the stored grid.
    """

    id: str
    cropped: tuple[int, ...]
    spacing: tuple[float, ...]
    shape: tuple[int, ...]
    stored_spacing: tuple[float, ...]
    intensities: tuple[Intensities, ...]
    voxels: dict[int, int]

    def volume(self, values: Iterable[int]) -> float:
        """ml of all voxels with one of these label values."""
        count = sum(self.voxels.get(value, 0) for value in values)
        return count * prod(self.stored_spacing) / 1000

    def extent(self) -> tuple[float, ...]:
        """mm along x, y and z after the crop."""
        return tuple(n * mm for n, mm in zip(self.cropped, self.spacing, strict=True))


def measure_intensities(inside: np.ndarray, mean: float) -> Intensities:
    """The figures of a channel, except its sd, from its foreground voxels and their mean.

    inside: float32 (n,). Percentiles come from a reproducible sample.
    """
    sample = inside
    if len(inside) > PERCENTILE_SAMPLE:
        random = np.random.Generator(np.random.Philox(0))
        sample = inside[random.integers(0, len(inside), PERCENTILE_SAMPLE)]
    low, middle, high = np.percentile(sample, (0.5, 50, 99.5)).tolist()
    return Intensities(len(inside), mean, 0.0, low, middle, high)


def case_record(
    intensities: Sequence[Intensities],
    voxels: dict[int, int],
    labelled: dict[int, list[float]] | None = None,
) -> dict[str, Any]:
    """The `fingerprint` entry of case.json. labelled: values of a sequence where there is a label.

    The latter only of CT, by which it is normalised.
    """
    record = {"intensities": [asdict(one) for one in intensities], "voxels": voxels}
    return {**record, "labelled": labelled} if labelled else record


def read_cases(store: Store) -> list[CaseFingerprint]:
    """The fingerprint of each case of the store."""
    return [_read_case(store, case) for case in store.cases]


def _read_case(store: Store, case_id: str) -> CaseFingerprint:
    found = read_description(store.path / "cases" / case_id)
    geometry, record = found["geometry"], found["fingerprint"]
    stored = store.cases[case_id]
    return CaseFingerprint(
        id=case_id,
        cropped=tuple(geometry["cropped"]),
        spacing=tuple(geometry["spacing"][axis] for axis in geometry["axes"]),
        shape=stored.shape,
        stored_spacing=stored.spacing,
        intensities=tuple(Intensities(**one) for one in record["intensities"]),
        voxels={int(value): count for value, count in record["voxels"].items()},
    )


def over_cases(values: Any) -> dict[str, Any]:
    """Quantiles over the cases, of numbers (cases,) or of vectors (cases, n)."""
    table = np.asarray(values, dtype=np.float64)
    return {
        name: np.round(np.percentile(table, share, axis=0), 5).tolist()
        for name, share in QUANTILES.items()
    }


def fingerprint_summary(
    store: Store, cases: Sequence[CaseFingerprint], regions: dict[str, list[int]]
) -> dict[str, Any]:
    """The fingerprint over all cases. regions: name -> label values, data.regions."""
    total = sum(prod(case.shape) for case in cases)

    def structure(values: list[int]) -> dict[str, Any]:
        voxels = [sum(case.voxels.get(value, 0) for value in values) for case in cases]
        return {
            "values": values,
            "cases": sum(count > 0 for count in voxels),
            "share": sum(voxels) / total,
            "volume_ml": over_cases([case.volume(values) for case in cases]),
        }

    return {
        "cases": len(cases),
        "shape": over_cases([case.shape for case in cases]),
        "spacing_mm": over_cases([case.stored_spacing for case in cases]),
        "file_spacing_mm": over_cases([case.spacing for case in cases]),
        "extent_mm": over_cases([case.extent() for case in cases]),
        "channels": {
            name: _channel([case.intensities[index] for case in cases])
            for index, name in enumerate(store.channels)
        },
        "labels": {name: structure([value]) for value, name in store.labels.items()},
        "regions": {name: structure(list(values)) for name, values in regions.items()},
    }


def _channel(each: list[Intensities]) -> dict[str, Any]:
    """Mean and sd over all foreground voxels of all cases, and quantiles of the cases' figures."""
    filled = [one for one in each if one.voxels] or [Intensities()]
    weights = np.array([max(one.voxels, 1) for one in filled], dtype=np.float64)
    means, deviations = (np.array([getattr(one, k) for one in filled]) for k in ("mean", "sd"))
    mean = np.average(means, weights=weights)
    variance = np.average(deviations**2 + (means - mean) ** 2, weights=weights)
    figures = {k: over_cases([getattr(one, k) for one in filled]) for k in ("p0_5", "p50", "p99_5")}
    return {"mean": float(mean), "sd": float(np.sqrt(variance)), **figures}


def write_fingerprint(store: Store, regions: dict[str, list[int]] | None) -> None:
    """Write <store>/fingerprint.json: the summary, followed by each case."""
    cases = read_cases(store)
    summary = fingerprint_summary(store, cases, regions or {})
    content = {**summary, "of_case": {case.id: _case_fields(case) for case in cases}}
    write_text(store.path / FILE, json.dumps(content, indent=1))


def _case_fields(case: CaseFingerprint) -> dict[str, Any]:
    fields = asdict(case)
    del fields["id"]
    volumes = {value: round(case.volume([value]), 4) for value in case.voxels}
    return {**fields, "volume_ml": volumes}


def refresh_fingerprint(store: Store, regions: dict[str, list[int]] | None) -> None:
    """Write fingerprint.json of a complete store where it is missing or has other regions."""
    path = store.path / FILE
    try:
        found = json.loads(path.read_text())
        before = {name: region["values"] for name, region in found["regions"].items()}
        if before == (regions or {}) and list(found["of_case"]) == list(store.cases):
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        write_fingerprint(store, regions)
    except OSError as error:  # another user's store, read-only here, which can be used all the same
        log.warning("data: %s was not updated (%s)", path, error.strerror)


def picture_path(store: Store) -> Path:
    """Where `unet3d doctor` draws the fingerprint."""
    return store.path / PICTURE
