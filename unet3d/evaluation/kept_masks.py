"""Predicted masks of cases, kept in compressed files until thresholds and parts are chosen."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.config.schema import TuneConfig
from unet3d.datasets.label_files import read_labels
from unet3d.evaluation.held_out import HeldOut, load_group
from unet3d.evaluation.thresholds import levels
from unet3d.inference.maps import Watcher, probabilities
from unet3d.inference.scan import PreparedScan, Scan
from unet3d.preprocessing.case import write_array
from unet3d.preprocessing.geometry import stored_labels
from unet3d.sampling.targets import Targets

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Segmented:
    """A case as the networks see it, in two compressed files.

    masks: uint8 (x, y, z, outputs), levels of probability; of classes uint8 (x, y, z), the largest.
    truth: uint8 (x, y, z), label values. voxel: mm3.
    """

    masks: Path
    truth: Path
    voxel: float


def segment_group(
    group: HeldOut, settings: TuneConfig, targets: Targets, folder: Path
) -> list[Segmented]:
    """Predict the cases of a group, and keep what their masks follow from in `folder`."""
    from unet3d.inference.decision import plain_decision
    from unet3d.inference.predict import segment_scan

    networks = load_group(group, settings)
    found = []
    for case in group.cases:
        start = time.perf_counter()
        label, _ = read_labels(group.dataset.file(case.label))
        keeper = _Keeper(targets, label)
        scan = Scan(case.id, group.dataset.images(case))
        plain = plain_decision(targets)
        segment_scan(networks, scan, settings.overlap, settings.tta, plain, keeper.watch)
        found.append(keeper.keep(folder / f"{len(list(folder.iterdir()))}"))
        log.info("%s: segmented after %.1f s", case.id, time.perf_counter() - start)
    return found


class _Keeper:
    """Takes the masks of a case from the planes of logits as they pass by."""

    def __init__(self, targets: Targets, label: np.ndarray):
        self.targets, self.label = targets, label
        self.voxel = 1.0
        self.masks: np.ndarray = np.zeros(0, np.uint8)
        self.truth: np.ndarray = np.zeros(0, np.uint8)

    def watch(self, scan: PreparedScan) -> Sequence[Watcher]:
        """The watcher of this case."""
        shape = scan.image.shape[:3]
        outputs = () if self.targets.exclusive else (len(self.targets.names),)
        self.masks = np.zeros((*shape, *outputs), np.uint8)
        self.truth = stored_labels(self.label, scan.geometry.as_dict(), shape)
        self.voxel = float(np.prod(scan.spacing))
        return [self.take]

    def take(self, x: int, mean: np.ndarray, members: Sequence[np.ndarray]) -> None:
        """Keep a plane."""
        if self.targets.exclusive:
            self.masks[x] = mean.argmax(axis=-1)
        else:
            self.masks[x] = levels(probabilities(mean, False))

    def keep(self, path: Path) -> Segmented:
        """Write what was kept."""
        path.mkdir()
        write_array(path / "masks.b2nd", self.masks)
        write_array(path / "truth.b2nd", self.truth)
        return Segmented(path / "masks.b2nd", path / "truth.b2nd", self.voxel)


def region_of(
    one: Segmented, targets: Targets, output: int, ignore: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A case's levels of a region, or mask of a class; its truth; voxels of which that is known."""
    import blosc2

    masks: Any = blosc2.open(str(one.masks), mode="r")
    truth: Any = blosc2.open(str(one.truth), mode="r")
    label = truth[:]
    inside = targets.table[label, output] > 0
    mask = masks[:] == output if targets.exclusive else masks[..., output]
    return mask, inside, None if ignore is None else label != ignore
