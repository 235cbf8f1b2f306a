"""Whether probabilities are what they say: the expected calibration error of each region.

Counts alone are kept, so that memory does not grow with cases or volumes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from unet3d.evaluation.summary import write_csv
from unet3d.inference.maps import Watcher, probabilities
from unet3d.inference.scan import PreparedScan
from unet3d.plotting import COLOURS, figure, save_png
from unet3d.preprocessing.geometry import stored_labels
from unet3d.sampling.targets import Targets

BINS = 20  # of equal width
UNLIKELY = 0.01  # probability below which a voxel outside of a region says nothing about it


class Calibration:
    """Counts of voxels by region and probability, over any number of cases.

    counts: float64 (2, 3, regions, BINS); for all voxels, then for those in question, which lie in
    the region or have a probability of UNLIKELY or more: how many, the sum of their probabilities,
    and how many of them lie in the region.
    """

    def __init__(self, targets: Targets, ignore: int | None = None):
        self.targets, self.ignore = targets, ignore
        self.outputs = range(1 if targets.exclusive else 0, len(targets.names))
        self.names = [targets.names[output] for output in self.outputs]
        self.counts: np.ndarray = np.zeros((2, 3, len(self.names), BINS))

    def watch(self, label: np.ndarray) -> Callable[[PreparedScan], Sequence[Watcher]]:
        """What counts the voxels of a case as they are predicted; label: uint8, of its file."""

        def watchers(scan: PreparedScan) -> Sequence[Watcher]:
            truth = stored_labels(label, scan.geometry.as_dict(), scan.image.shape[:3])

            def count(x: int, mean: np.ndarray, members: Sequence[np.ndarray]) -> None:
                self.add(probabilities(mean, self.targets.exclusive), truth[x])

            return [count]

        return watchers

    def add(self, shares: np.ndarray, labels: np.ndarray) -> None:
        """Count voxels: their probabilities (..., outputs) and label values (...)."""
        if self.ignore is not None:
            known = labels != self.ignore
            shares, labels = shares[known], labels[known]
        for index, output in enumerate(self.outputs):
            share, inside = shares[..., output].ravel(), self.targets.table[labels, output].ravel()
            places = np.minimum((share * BINS).astype(np.int64), BINS - 1)
            question = (share >= UNLIKELY) | (inside > 0)
            self.counts[0, :, index] += _counted(places, share, inside)
            self.counts[1, :, index] += _counted(
                places[question], share[question], inside[question]
            )

    def errors(self) -> dict[str, float]:
        """{"ece_<region>": of all voxels, "ece_in_question_<region>": of those in question}."""
        found = {}
        for kind, counts in zip(("ece", "ece_in_question"), self.counts, strict=True):
            for index, name in enumerate(self.names):
                found[f"{kind}_{name}"] = calibration_error(counts[:, index])
        return found

    def write(self, folder: Path) -> None:
        """`calibration.csv`, a row for each bin and region, and the picture `calibration.png`."""
        lines = []
        for index, name in enumerate(self.names):
            for place in range(BINS):
                voxels, total, inside = self.counts[0, :, index, place]
                means = (f"{total / voxels:.6f}", f"{inside / voxels:.6f}") if voxels else ("", "")
                edges = (f"{place / BINS:g}", f"{(place + 1) / BINS:g}")
                lines.append((name, *edges, int(voxels), *means))
        header = ("region", "from", "to", "voxels", "mean_probability", "share_in_region")
        write_csv(folder / "calibration.csv", header, lines)
        _draw(self, folder / "calibration.png")


def _counted(places: np.ndarray, share: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """float64 (3, BINS): voxels, the sum of their probabilities, voxels in the region."""
    weights = (None, share, inside)
    return np.stack([np.bincount(places, weight, BINS) for weight in weights])


def calibration_error(counts: np.ndarray) -> float:
    """Expected calibration error, in [0, 1] (Naeini et al. 2015; Guo et al. 2017).

    counts: (3, bins): voxels, the sum of their probabilities, voxels in the region. The mean over
    the voxels of |mean probability - share in the region| of their bin; NaN without voxels.
    """
    voxels, total, inside = counts
    return float(np.abs(total - inside).sum() / voxels.sum()) if voxels.sum() else float("nan")


def _draw(calibration: Calibration, path: Path) -> None:
    """The reliability diagram, and below it how many voxels each point stands for."""
    picture = figure(figsize=(5, 6.5), layout="constrained")
    above, below = picture.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    above.plot((0, 1), (0, 1), color="grey", linewidth=1, linestyle="--")
    errors = calibration.errors()
    for index, name in enumerate(calibration.names):
        voxels, total, inside = calibration.counts[0, :, index]
        some = voxels > 0
        colour = COLOURS[index % len(COLOURS)]
        label = f"{name}, ECE {errors[f'ece_{name}']:.2g}"
        mean = total[some] / voxels[some]
        above.plot(mean, inside[some] / voxels[some], "o-", color=colour, label=label, ms=4)
        below.plot(mean, voxels[some], "o-", color=colour, ms=3)
    above.set(ylabel="share of voxels in the region", ylim=(-0.02, 1.02))
    above.legend(fontsize="small")
    below.set(xlabel="mean probability", ylabel="voxels", yscale="log", xlim=(-0.02, 1.02))
    for axis in (above, below):
        axis.grid(alpha=0.3)
    save_png(picture, path)
