"""What else a network says about each voxel: probabilities, and how sure an ensemble is.

Both are taken from the planes of logits as they pass by, on the network's grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from unet3d.inference.nnunet_files import with_background, write_nnunet_files
from unet3d.inference.scan import PreparedScan, Scan, write_shares
from unet3d.preprocessing.geometry import restore_values
from unet3d.sampling.targets import Targets

# Called with x, the mean logits of that plane, (y, z, outputs), and those of each network.
Watcher = Callable[[int, np.ndarray, Sequence[np.ndarray]], None]


def probabilities(logits: np.ndarray, exclusive: bool) -> np.ndarray:
    """float32 (..., outputs) in [0, 1]: the softmax where exclusive, else a sigmoid each."""
    if exclusive:
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)
    return np.exp(-np.logaddexp(np.float32(0), -logits))


def entropy(shares: np.ndarray, exclusive: bool) -> np.ndarray:
    """Entropy (...) of probabilities (..., outputs), as a share of the largest possible one.

    Of classes that is log(outputs); regions are taken as independent, so that it is their mean.
    """
    if exclusive:
        return _each_entropy(shares).sum(axis=-1) / np.log(shares.shape[-1])
    both = _each_entropy(shares) + _each_entropy(1 - shares)
    return both.mean(axis=-1) / np.log(2)


def _each_entropy(shares: np.ndarray) -> np.ndarray:
    """-p log p, 0 at 0."""
    return -shares * np.log(np.maximum(shares, np.finfo(np.float32).tiny))


class ProbabilityMaps:
    """The probability of each output, from the mean logits. values: float16 (x, y, z, outputs).

    npz: written in the manner of nnU-Net, see `write_nnunet_files`.
    """

    def __init__(self, scan: PreparedScan, targets: Targets, npz: bool = False):
        self.scan, self.targets, self.npz = scan, targets, npz
        shape = (*scan.image.shape[:3], len(targets.names))
        self.values: np.ndarray = np.zeros(shape, np.float16)

    def __call__(self, x: int, mean: np.ndarray, members: Sequence[np.ndarray]) -> None:
        self.values[x] = probabilities(mean, self.targets.exclusive)

    def write(self, folder: Path, name: str, scan: Scan) -> None:
        """On the scan's grid: <folder>/<output>/<name>.nii.gz for each, or <folder>/<name>.npz."""
        if self.npz:
            outputs = np.stack([values.astype(np.float16).T for _, values in self._restored()])
            names = self.targets.names
            if self.targets.single_labels and not self.targets.exclusive:
                outputs, names = with_background(outputs), ("background", *names)
            path = folder / f"{name}.npz"
            write_nnunet_files(path, outputs, names, scan.files[0], self.scan.geometry)
            return
        for output, values in self._restored():
            write_shares(folder / output / f"{name}.nii.gz", values, scan.files[0])

    def _restored(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each output's name and its values (x, y, z) on the grid of the scan's file."""
        geometry = self.scan.geometry.as_dict()
        for index, output in enumerate(self.targets.names):
            outside = float(self.targets.exclusive and index == 0)
            yield output, restore_values(self.values[..., index], geometry, outside)


class UncertaintyMaps:
    """How unsure a prediction is, voxel by voxel; float16 (x, y, z), see `entropy`.

    entropy: of the members' mean probabilities. mutual_information: that less the mean entropy of
    the members, which is what they disagree about (Houlsby et al. 2011; for ensembles
    Lakshminarayanan et al. 2017, Smith and Gal 2018); kept for several members only.
    """

    def __init__(self, scan: PreparedScan, targets: Targets, members: int):
        self.scan, self.exclusive = scan, targets.exclusive
        names = ("entropy", "mutual_information")[: 2 if members > 1 else 1]
        self.values: dict[str, np.ndarray] = {
            name: np.zeros(scan.image.shape[:3], np.float16) for name in names
        }

    def __call__(self, x: int, mean: np.ndarray, members: Sequence[np.ndarray]) -> None:
        shares = [probabilities(logits, self.exclusive) for logits in members]
        total = entropy(sum(shares[1:], start=shares[0]) / len(shares), self.exclusive)
        self.values["entropy"][x] = total
        if len(members) > 1:
            own = [entropy(share, self.exclusive) for share in shares]
            self.values["mutual_information"][x] = np.maximum(total - np.mean(own, axis=0), 0)

    def write(self, folder: Path, name: str, scan: Scan) -> None:
        """A file for each measure, on the scan's grid: <folder>/<measure>/<name>.nii.gz."""
        for measure, values in self.values.items():
            restored = restore_values(values, self.scan.geometry.as_dict(), 0.0)
            write_shares(folder / measure / f"{name}.nii.gz", restored, scan.files[0])
